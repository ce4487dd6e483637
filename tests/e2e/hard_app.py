"""An application that does what applications should not, for tests/e2e/test_hard_app.py."""

from __future__ import annotations

from typing import Any


def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    if environ["PATH_INFO"] == "/take":
        environ["gunicorn.socket"].sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        return []
    if environ["PATH_INFO"] == "/interrupt":
        raise KeyboardInterrupt
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]
