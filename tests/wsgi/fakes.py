"""A connection made of lists, so that the WSGI layer is tested without a socket."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from greenserve.http.limits import Limits
from greenserve.http.parser import RequestParser
from greenserve.http.response import DefaultHeaders
from greenserve.wsgi import EnvironTemplate, Gateway
from greenserve.wsgi.body_reader import EMPTY, BodyReader, Source

DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"
DEFAULTS = DefaultHeaders(date=DATE)


class Pieces(Source):
    """A request body that comes in pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)

    def read_body(self) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""


class Wire(Pieces):
    """A connection that remembers each send, and the body of its request."""

    def __init__(self, *pieces: bytes, settled: bool = True) -> None:
        super().__init__(*pieces)
        self.worker = SimpleNamespace(default_headers=DEFAULTS, early_hints="direct")
        self.stream = self
        self.settled = settled
        self.gateway: Gateway | None = None
        self.sends: list[bytes] = []
        self.ends: list[bytes] = []  # those of the sends after which nothing of the response follows
        self.files: list[tuple[int, int, int]] = []

    def send(self, data: bytes) -> None:
        self.sends.append(data)

    def finish(self, data: bytes) -> None:
        self.sends.append(data)
        self.ends.append(data)

    def finish_large(self, *pieces: bytes) -> None:
        self.sends += pieces
        self.ends.append(pieces[-1])

    def finish_file(self, fd: int, offset: int, count: int) -> None:
        self.files.append((fd, offset, count))

    def give_way(self) -> None:
        pass

    def settle(self) -> bool:
        return self.settled


def head_of(raw: bytes) -> Any:
    parser = RequestParser(Limits())
    parser.receive_data(raw)
    return parser.next_event()


def get(path: str = "/", *, method: str = "GET", version: str = "1.1", headers: str = "") -> Any:
    return head_of(f"{method} {path} HTTP/{version}\r\nHost: example.com\r\n{headers}\r\n".encode("latin-1"))


def call(application: Any, request: Any = None, wire: Wire | None = None) -> tuple[Wire, Gateway]:
    """Run `application` for one request; returns what went over the wire, and the gateway."""
    wire = wire if wire is not None else Wire()
    request = request if request is not None else get()
    gateway = wire.gateway = Gateway(wire, request)
    body = EMPTY
    if request.content_length or request.chunked:
        gateway.body = wire
        body = BodyReader(wire)
    environ = EnvironTemplate("127.0.0.1", "8000").build(request, "127.0.0.9", "5", body)
    gateway.run(application, environ)
    return wire, gateway
