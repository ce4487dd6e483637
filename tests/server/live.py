"""A real server in a thread, and a client that speaks in bytes."""

from __future__ import annotations

import socket
from typing import Any, Self

from greenserve.server import Server
from greenserve.settings import TcpAddress, UnixAddress

PATIENCE = 10.0  # seconds; a client's read that takes longer has failed


class Connection:
    """A client's connection, blocking, with a deadline on everything."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.file = sock.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def head(self) -> tuple[int, dict[str, str]]:
        """Read a response's head: status, and fields by lower-case names. (0, {}) when the connection has ended."""
        line = self.file.readline()
        if not line:
            return 0, {}
        assert line.startswith(b"HTTP/1.1 "), line
        fields = {}
        while (field := self.file.readline()) not in (b"\r\n", b""):
            name, _, value = field.decode("latin-1").partition(":")
            fields[name.lower()] = value.strip()
        return int(line.split()[1]), fields

    def close(self) -> None:
        self.file.close()
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Client(Connection):
    """One connection to a server of this process."""

    def __init__(self, server: Server, index: int = 0) -> None:
        address = server.addresses[index]
        if isinstance(address, UnixAddress):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(PATIENCE)
            sock.connect(address.path)
        else:
            assert isinstance(address, TcpAddress)
            sock = socket.create_connection((address.host, address.port), timeout=PATIENCE)
        super().__init__(sock)

    def get(self, path: str = "/", *, headers: str = "") -> bytes:
        """Send a GET and return the body of its answer."""
        self.send(f"GET {path} HTTP/1.1\r\nHost: test\r\n{headers}\r\n".encode())
        return self.response()[2]

    def response(self, *, body: bool = True) -> tuple[int, dict[str, str], bytes]:
        """Read one response: status, fields (lower-case names), body."""
        status, fields = self.head()
        assert status, "the server closed the connection"
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
