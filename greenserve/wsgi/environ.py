"""The environ of a request (PEP 3333, and RFC 3875 for the CGI names).

Strategy: what is the same for all requests of a listener is one template; what a header section adds is worked out once
and kept in `Fields.derived`, since identical sections are one object; a request copies that and sets the few keys that
are its own. It is kept from the second time on: most of what never comes again would only be copied once more.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeAlias
from urllib.parse import unquote_to_bytes

from greenserve.http.fields import Fields
from greenserve.http.forwarded import NAMES, Client, ForwardedReader, Site
from greenserve.http.head import RequestHead
from greenserve.version import VERSION
from greenserve.wsgi.file_wrapper import FileWrapper

Environ: TypeAlias = dict[str, Any]

logger = logging.getLogger("greenserve.server")

SERVER_SOFTWARE = f"greenserve/{VERSION}"
PEER = "greenserve.peer"  # (address, port) of the connection, where REMOTE_ADDR is what a proxy has said


class EnvironTemplate:
    """Makes the environs of the requests that come through one listener from peers that are trusted alike.

    server_name, server_port: what the listener is bound to, whatever Host says: PEP 3333 has applications prefer Host.
    extra: further keys that every request gets. trust: None for peers that are not trusted: then the fields by which
    proxies speak of their clients are removed, since an application might believe them.
    """

    __slots__ = ("_base", "_keys", "_trust")

    def __init__(
        self,
        server_name: str,
        server_port: str,
        scheme: str = "http",
        *,
        extra: Mapping[str, Any] | None = None,
        trust: ForwardedReader | None = None,
    ) -> None:
        self._trust = trust
        self._keys = _Keys(trust)
        self._base: Environ = {
            "SERVER_NAME": server_name,
            "SERVER_PORT": server_port,
            "SERVER_SOFTWARE": SERVER_SOFTWARE,
            "GATEWAY_INTERFACE": "CGI/1.1",
            "SCRIPT_NAME": "",
            "wsgi.version": (1, 0),
            "wsgi.errors": ErrorStream(),
            # Another green thread may call the application while this one waits: what a thread-safe application
            # expects.
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "wsgi.file_wrapper": FileWrapper,
            "wsgi.input_terminated": True,
            "greenserve.trailers": (),  # a chunked request has its own: see RequestBody.trailers
            **_scheme_keys(scheme),
            **(extra or {}),
        }

    def build(self, head: RequestHead, remote_addr: str, remote_port: str, body: Any) -> Environ:
        """The environ of one request. body: what becomes wsgi.input. remote_addr is "" for a Unix socket's peer.

        Raises BadRequest and HeaderFieldsTooLarge for what a trusted proxy must not say.
        """
        derived = head.derived
        environ: Environ
        client: Client | None
        if derived is None or derived[0] is not self:
            environ, client = self._with_head(head)
        else:
            environ, client = derived[1].copy(), derived[2]
        if client is None:
            environ["REMOTE_ADDR"] = remote_addr
            environ["REMOTE_PORT"] = remote_port
        else:
            environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = client
            environ[PEER] = remote_addr, remote_port
        environ["wsgi.input"] = body
        return environ

    def client_of(self, head: RequestHead) -> Client | None:
        """The client that a trusted proxy names; None when the peer itself is the client. Raises as `build` does."""
        derived = head.derived
        if derived is None or (derived[0] is not self and derived[1] is not self):
            return None if self._trust is None else self._trust.read(head.fields)[0]
        client: Client | None = derived[2]
        return client

    def _with_head(self, head: RequestHead) -> tuple[Environ, Client | None]:
        """What every request with this very head has in common; and the client, where a proxy has said it."""
        derived = head.fields.derived
        environ: Environ
        if derived is None or derived[0] is not self:
            environ, client = self._with_fields(head.fields)
            head.fields.derived = _ONCE if derived is None else (self, environ.copy(), client)
        else:
            environ, client = derived[1].copy(), derived[2]
        environ["REQUEST_METHOD"] = head.method
        environ["PATH_INFO"] = head.path if "%" not in head.path else unquote_to_bytes(head.path).decode("latin-1")
        environ["QUERY_STRING"] = head.query
        environ["RAW_URI"] = environ["REQUEST_URI"] = head.target
        environ["SERVER_PROTOCOL"] = "HTTP/1.1" if head.http_version == "1.1" else "HTTP/1.0"
        head.derived = (None, self, client) if head.derived is None else (self, environ.copy(), client)
        return environ, client

    def _with_fields(self, fields: Fields) -> tuple[Environ, Client | None]:
        environ = self._base.copy()
        keys = self._keys
        for name, value in fields.items:
            key = keys[name]
            if key not in environ:
                environ[key] = value
            elif key == "HTTP_COOKIE":  # RFC 6265 §5.4 has one field with "; "; RFC 9113 §8.2.3 lets clients split it
                environ[key] += "; " + value
            elif key not in ("CONTENT_LENGTH", "CONTENT_TYPE"):
                environ[key] += ", " + value  # RFC 9110 §5.3; PEP 3333 leaves only one key for it
        environ.pop(_REMOVED, None)
        trust = self._trust
        if trust is None or not fields.has_any(trust.names):
            return environ, None
        client, site = trust.read(fields)
        environ.update(_keys_of(site, environ.get("HTTP_HOST", ""), environ["wsgi.url_scheme"]))
        if site.scheme == "http":  # where the connection has TLS
            environ.pop("HTTPS", None)
        return environ, client


@lru_cache(maxsize=256)
def _keys_of(site: Site, host: str, scheme: str) -> Environ:
    """The keys that say what the client sees of the server. host, scheme: as the proxy sees it."""
    environ: Environ = {}
    if site.scheme is not None:
        scheme = site.scheme
        environ |= _scheme_keys(scheme)
    if site.host is not None:
        environ["HTTP_HOST"] = host = site.host
    if site.scheme is not None or site.host is not None or site.port is not None:
        colon = host.rfind(":", host.rfind("]") + 1)  # those in the brackets are an IPv6 address's
        port = host[colon + 1 :] if colon >= 0 else ""
        # Often 80 is the port of a proxy behind the one that ends TLS: no client has typed https://example.com:80.
        if host and not port and site.port not in (None, "80", "443"):
            environ["HTTP_HOST"] = f"{host.removesuffix(':')}:{site.port}"
        environ["SERVER_PORT"] = site.port or port or _DEFAULT_PORTS[scheme]
    if site.prefix:
        environ["SCRIPT_NAME"] = site.prefix
    return environ


def _scheme_keys(scheme: str) -> Environ:
    """HTTPS is what CGI applications look at: PEP 3333."""
    return {"wsgi.url_scheme": "https", "HTTPS": "on"} if scheme == "https" else {"wsgi.url_scheme": scheme}


_ONCE = (None,)  # what has come once: nothing is derived yet that would be worth its copy
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_REMOVED = ""  # the key of what is removed


class _Keys(dict[str, str]):
    """The key of each field name, which is worked out once."""

    def __init__(self, trust: ForwardedReader | None) -> None:
        super().__init__({"content-type": "CONTENT_TYPE", "content-length": "CONTENT_LENGTH"})
        self._trust = trust
        self._said = False

    def __missing__(self, name: str) -> str:
        key = self._key_of(name)
        if len(self) < _KEPT_COUNT and len(name) <= _KEPT_LENGTH:
            self[name] = key
        return key

    def _key_of(self, name: str) -> str:
        # "X_Forwarded_For" would become the same key as "X-Forwarded-For", which a proxy in front may vouch for.
        if "_" in name:
            return _REMOVED
        if not self._counts(name):
            self._say_removed(name)
            return _REMOVED
        return "HTTP_" + name.upper().replace("-", "_")

    def _counts(self, name: str) -> bool:
        """Whether the field is kept: from a peer that is not trusted, none is by which proxies speak of clients."""
        if self._trust is None:
            return not (name.startswith("x-forwarded-") or name in ("forwarded", "x-real-ip"))
        return name not in NAMES or name in self._trust.names

    def _say_removed(self, name: str) -> None:
        """Once is enough for the operator of a proxy that is not named yet; strangers must not fill the log."""
        if self._trust is None and not self._said:
            self._said = True
            logger.info(
                "a request had the field %s, which is removed because its peer is not in trusted_proxies, and so are "
                "others of this kind; if the peer is a proxy of yours, add its address: --trusted-proxies ADDRESS",
                name,
            )


_KEPT_COUNT = 1024
_KEPT_LENGTH = 64  # no registered field has a longer name; the names that are kept are the clients' choice


class ErrorStream:
    """wsgi.errors: standard error, as it is at the moment of writing, so that a replaced sys.stderr is honoured.

    Nothing is written where there is none, as `print` has it.
    """

    __slots__ = ()

    def write(self, text: str) -> int:
        """Write text."""
        return sys.stderr.write(text) if sys.stderr is not None else len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write several."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush."""
        if sys.stderr is not None:
            sys.stderr.flush()
