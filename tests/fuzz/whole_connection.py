"""A whole connection to a server at work: for each request that the parser finds in the bytes there is one response, in
order, and it is that request's.
"""

from __future__ import annotations

import io
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

from tests.http.support import Begun, Message, Refused, play
from tests.server.live import PATIENCE, serving

from .engine import Check


def say(environ: Any, start_response: Any) -> list[bytes]:
    """An application that says what it was called with."""
    said = repr((environ["REQUEST_METHOD"], environ["wsgi.input"].read())).encode()
    start_response("200 OK", [("Content-Length", str(len(said)))] if len(said) % 2 else [])  # or in chunks
    return [said[:7], said[7:]]


@contextmanager
def connection() -> Iterator[Check]:
    """Serve as long as inputs are checked."""
    with tempfile.TemporaryDirectory() as directory:
        path = str(Path(directory, "socket"))
        with serving(say, bind=f"unix:{path}"):
            yield lambda data: _check(path, data)


def _check(path: str, data: bytes) -> None:
    outcomes = play([data], eof=True)
    answers = _answers(path, data, [each.head.method for each in outcomes if isinstance(each, Message | Begun)])
    for outcome in outcomes:
        match outcome:
            case Message():
                status, body = next(answers)
                head = outcome.head
                expected = b"" if head.method == "HEAD" else repr((head.method, outcome.body)).encode()
                assert (status, body) == (200, expected)
            case Refused():
                assert next(answers)[0] == outcome.status
            case Begun():
                pass  # what follows says how it is refused
    assert next(answers, None) is None


def _answers(path: str, data: bytes, methods: list[str]) -> Iterator[tuple[int, bytes]]:
    """Send `data`, and the end of it; give the responses, as the standard library reads them."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(path)
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: sock.recv(1 << 16), b""))
    stream = _Stream(received)
    for method in [*methods, None]:  # a head that is refused has no method
        if stream.at_end():
            return
        response = HTTPResponse(stream, method=method)  # type: ignore[arg-type]  # it asks for `makefile` alone
        response.begin()
        yield response.status, response.read()
    assert stream.at_end(), "more responses than requests"


class _Stream(io.BytesIO):
    """What came, as HTTPResponse wants it: it closes its file after each response."""

    def makefile(self, _mode: str) -> io.BytesIO:
        return self

    def close(self) -> None:
        pass

    def at_end(self) -> bool:
        return self.tell() == len(self.getvalue())
