"""What plain HTTP is answered with where everything else is HTTPS: redirected, apart from ACME's challenges.

Strategy. It is a WSGI application, whose requests come through a listener like any other: parsed, limited, with
deadlines, in the access log.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable
from typing import Any

from greenserve.settings import Address

MARK = "greenserve.redirect"  # in the environ of what has come through its listener
CHALLENGES = "/.well-known/acme-challenge/"  # RFC 8555 §8.3
MAX_CHALLENGE = 4096  # bytes; a token, a dot and a thumbprint are about a hundred
_TOKEN = re.compile(r"[A-Za-z0-9_-]+")  # RFC 8555 §8.1: base64url, so no name that leads anywhere
_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]*)?")  # RFC 3986 §3.2.2, without what no browser sends

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Redirect:
    """Answers 308 (RFC 9110 §15.4.9: the method stays) to the same URL with https.

    address: of its listener. port: of the URLs; 443 is left out of them. acme_dir: the webroot of challenges.
    """

    def __init__(self, address: Address, port: int, acme_dir: str | None) -> None:
        self.address = address
        self._port = "" if port == 443 else f":{port}"
        self._challenges = None if acme_dir is None else os.path.abspath(acme_dir) + CHALLENGES  # noqa: PTH100 - a text

    def before(self, application: Application) -> Application:
        """`application`, except for what has come through the redirect's listener."""

        def choose(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            return self(environ, start_response) if MARK in environ else application(environ, start_response)

        return choose

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request."""
        path = environ["PATH_INFO"]
        if self._challenges is not None and path.startswith(CHALLENGES):
            return self._challenge(path.removeprefix(CHALLENGES), environ["REQUEST_METHOD"], start_response)
        host = _HOST.fullmatch(environ.get("HTTP_HOST", ""))
        if host is None:
            return _say(start_response, "400 Bad Request", b"The field Host must say which server is meant.\n")
        # The target as it came: what is decoded in PATH_INFO could not be put together again. It may be absolute.
        target = re.sub(r"^[^/?*]+://[^/?]*", "", environ["REQUEST_URI"])
        if not target.startswith("/"):
            target = "/" + target.removeprefix("*")
        start_response(
            "308 Permanent Redirect",
            [("Location", f"https://{host[1]}{self._port}{target}"), ("Content-Length", "0")],
        )
        return []

    def _challenge(self, token: str, method: str, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if method not in ("GET", "HEAD"):
            start_response("405 Method Not Allowed", [("Allow", "GET, HEAD"), ("Content-Length", "0")])
            return []
        content = _read_file(f"{self._challenges}{token}") if _TOKEN.fullmatch(token) else None
        if content is None:
            return _say(start_response, "404 Not Found", b"There is no such challenge.\n")
        return _say(start_response, "200 OK", content, "application/octet-stream")


def _say(
    start_response: Callable[..., Any], status: str, body: bytes, kind: str = "text/plain; charset=utf-8"
) -> list[bytes]:
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]


def _read_file(path: str) -> bytes | None:
    """A small regular file; None for anything else. A FIFO is not waited for, and no link is followed."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        found = os.fstat(fd)
        return os.read(fd, MAX_CHALLENGE) if stat.S_ISREG(found.st_mode) and found.st_size <= MAX_CHALLENGE else None
    finally:
        os.close(fd)
