"""The environ of a request (PEP 3333, and RFC 3875 for the CGI names).

Strategy: what is the same for all requests of a listener is one template; what follows from the head is in the head
(http/plain_head.py). A request has the union of both, and sets the few keys that are its own.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeAlias

from greenserve.http.forwarded import Client, ForwardedReader, Site
from greenserve.http.head import RequestHead
from greenserve.http.plain_head import field_of, is_told, line_variables
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

    __slots__ = ("_base", "_said", "_trust")

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
        self._said = False
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
            **dict.fromkeys(_OWN_KEYS),  # so that each copy has room for them at once
        }

    def build(self, head: RequestHead, remote_addr: str, remote_port: str, body: Any) -> Environ:
        """The environ of one request. body: what becomes wsgi.input. remote_addr is "" for a Unix socket's peer.

        Raises BadRequest and HeaderFieldsTooLarge for what a trusted proxy must not say.
        """
        environ: Environ = self._base | head.cgi
        environ["wsgi.input"] = body
        client = self._hear(head, environ) if head.told else None
        if client is None:
            environ["REMOTE_ADDR"] = remote_addr
            environ["REMOTE_PORT"] = remote_port
        else:
            environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = client
            environ[PEER] = remote_addr, remote_port
        return environ

    def client_of(self, head: RequestHead) -> Client | None:
        """The client that a trusted proxy names; None when the peer itself is the client. Raises as `build` does."""
        return self._trust.read(head.cgi)[0] if head.told and self._trust is not None else None

    def _hear(self, head: RequestHead, environ: Environ) -> Client | None:
        """Put what a trusted proxy says into the environ, and return the client; remove what others say."""
        trust = self._trust
        if trust is None:
            for key in head.cgi:
                name = field_of(key)
                if name is not None and is_told(name):
                    del environ[key]
                    self._say_removed(name)
            return None
        for key in trust.unwanted:
            environ.pop(key, None)
        client, site = trust.read(head.cgi)
        environ.update(_keys_of(site, environ.get("HTTP_HOST", ""), environ["wsgi.url_scheme"]))
        if site.scheme == "http":  # where the connection has TLS
            environ.pop("HTTPS", None)
        return client

    def _say_removed(self, name: str) -> None:
        """Once is enough for the operator of a proxy that is not named yet; strangers must not fill the log."""
        if not self._said:
            self._said = True
            logger.info(
                "a request had the field %s, which is removed because its peer is not in trusted_proxies, and so are "
                "others of this kind; if the peer is a proxy of yours, add its address: --trusted-proxies ADDRESS",
                name,
            )


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


_OWN_KEYS = ("REMOTE_ADDR", "REMOTE_PORT", "wsgi.input", *line_variables("", "", "", "", ""))
_DEFAULT_PORTS = {"http": "80", "https": "443"}


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
