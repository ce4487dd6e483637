"""A real server in a thread, and a client that speaks in bytes."""

from __future__ import annotations

import socket
from typing import Any, Self

from greenserve.server import Server
from greenserve.settings import TcpAddress, UnixAddress

PATIENCE = 10.0  # seconds; a client's read that takes longer has failed


class Client:
    """One connection to a server, blocking, with a deadline on everything."""

    def __init__(self, server: Server, index: int = 0) -> None:
        address = server.addresses[index]
        if isinstance(address, UnixAddress):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(PATIENCE)
            self.socket.connect(address.path)
        else:
            assert isinstance(address, TcpAddress)
            self.socket = socket.create_connection((address.host, address.port), timeout=PATIENCE)
        self.file = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def get(self, path: str = "/", *, headers: str = "") -> bytes:
        """Send a GET and return the body of its answer."""
        self.send(f"GET {path} HTTP/1.1\r\nHost: test\r\n{headers}\r\n".encode())
        return self.response()[2]

    def response(self, *, body: bool = True) -> tuple[int, dict[str, str], bytes]:
        """Read one response: status, fields (lower-case names), body."""
        line = self.file.readline()
        assert line, "the server closed the connection"
        assert line.startswith(b"HTTP/1.1 "), line
        fields = {}
        while (field := self.file.readline()) not in (b"\r\n", b""):
            name, _, value = field.decode("latin-1").partition(":")
            fields[name.lower()] = value.strip()
        status = int(line.split()[1])
        if not body or status in (100, 204, 304):
            return status, fields, b""
        if fields.get("transfer-encoding") == "chunked":
            return status, fields, self._chunked()
        if "content-length" in fields:
            data = self.file.read(int(fields["content-length"]))
            assert len(data) == int(fields["content-length"]), "cut off"
            return status, fields, data
        return status, fields, self.file.read()

    def _chunked(self) -> bytes:
        pieces = []
        while size := int(self.file.readline(), 16):
            pieces.append(self.file.read(size))
            assert self.file.read(2) == b"\r\n"
        assert self.file.readline() == b"\r\n"
        return b"".join(pieces)

    def at_end(self) -> bool:
        """Wait for the server to close; says whether it did so in order, without sending more."""
        return self.file.read() == b""

    def close(self) -> None:
        self.file.close()
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serving(application: Any, **options: Any) -> Server:
    """A server on a free port; a context manager."""
    return Server(application, **({"bind": "127.0.0.1:0"} | options))


def hello(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def echo(environ: Any, start_response: Any) -> list[bytes]:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["REQUEST_METHOD"].encode(), b" ", environ["PATH_INFO"].encode("latin-1"), b" ", body]
