"""The environ of a request (PEP 3333, and RFC 3875 for the CGI names).

Strategy: what is the same for all requests of a listener is one template; what a header section adds is worked out once
and kept in `Fields.derived`, since identical sections are one object; a request copies that and sets the few keys that
are its own.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, TypeAlias
from urllib.parse import unquote_to_bytes

from greenserve.http.fields import Fields
from greenserve.http.head import RequestHead
from greenserve.version import VERSION
from greenserve.wsgi.file_wrapper import FileWrapper

Environ: TypeAlias = dict[str, Any]

SERVER_SOFTWARE = f"greenserve/{VERSION}"


class EnvironTemplate:
    """Makes the environs of the requests that come through one listener.

    server_name, server_port: what the listener is bound to, whatever Host says: PEP 3333 has applications prefer Host.
    extra: further keys that every request gets.
    """

    __slots__ = ("_base",)

    def __init__(
        self, server_name: str, server_port: str, scheme: str = "http", *, extra: Mapping[str, Any] | None = None
    ) -> None:
        self._base: Environ = {
            "SERVER_NAME": server_name,
            "SERVER_PORT": server_port,
            "SERVER_SOFTWARE": SERVER_SOFTWARE,
            "GATEWAY_INTERFACE": "CGI/1.1",
            "SCRIPT_NAME": "",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": scheme,
            "wsgi.errors": ErrorStream(),
            # Another green thread may call the application while this one waits: what a thread-safe application
            # expects.
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "wsgi.file_wrapper": FileWrapper,
            "wsgi.input_terminated": True,
            "greenserve.trailers": (),  # a chunked request has its own: see RequestBody.trailers
            **(extra or {}),
        }

    def build(self, head: RequestHead, remote_addr: str, remote_port: str, body: Any) -> Environ:
        """The environ of one request. body: what becomes wsgi.input. remote_addr is "" for a Unix socket's peer."""
        derived = head.derived
        if derived is None or derived[0] is not self:
            derived = head.derived = (self, self._with_head(head))
        environ: Environ = derived[1].copy()
        environ["REMOTE_ADDR"] = remote_addr
        environ["REMOTE_PORT"] = remote_port
        environ["wsgi.input"] = body
        return environ

    def _with_head(self, head: RequestHead) -> Environ:
        """What every request with this very head has in common."""
        derived = head.fields.derived
        if derived is None or derived[0] is not self:
            derived = head.fields.derived = (self, self._with_fields(head.fields))
        environ: Environ = derived[1].copy()
        environ["REQUEST_METHOD"] = head.method
        environ["PATH_INFO"] = head.path if "%" not in head.path else unquote_to_bytes(head.path).decode("latin-1")
        environ["QUERY_STRING"] = head.query
        environ["RAW_URI"] = environ["REQUEST_URI"] = head.target
        environ["SERVER_PROTOCOL"] = "HTTP/1.1" if head.http_version == "1.1" else "HTTP/1.0"
        return environ

    def _with_fields(self, fields: Fields) -> Environ:
        environ = self._base.copy()
        for name, value in fields.items:
            # "X_Forwarded_For" would become the same key as "X-Forwarded-For", which a proxy in front may vouch for.
            if "_" in name:
                continue
            key = _KEYS.get(name) or _key_of(name)
            if key not in environ:
                environ[key] = value
            elif key == "HTTP_COOKIE":  # RFC 6265 §5.4 has one field with "; "; RFC 9113 §8.2.3 lets clients split it
                environ[key] += "; " + value
            elif key not in ("CONTENT_LENGTH", "CONTENT_TYPE"):
                environ[key] += ", " + value  # RFC 9110 §5.3; PEP 3333 leaves only one key for it
        return environ


_KEYS = {"content-type": "CONTENT_TYPE", "content-length": "CONTENT_LENGTH"}


def _key_of(name: str) -> str:
    return "HTTP_" + name.upper().replace("-", "_")


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
