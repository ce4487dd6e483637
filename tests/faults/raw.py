"""A client that speaks in bytes and does all that is not done; and what /proc says of the server."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.e2e.server_process import ServerProcess

PATIENCE = 20.0  # seconds; what takes longer has failed


def get(path: str = "/", *fields: str, version: str = "1.1") -> bytes:
    return "\r\n".join([f"GET {path} HTTP/{version}", "Host: test", *fields, "", ""]).encode()


def post(path: str = "/echo", *fields: str) -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: test", *fields, "", ""]).encode()


class Raw:
    """One connection."""

    def __init__(self, host: str, port: int, timeout: float = PATIENCE) -> None:
        self.socket = socket.create_connection((host, port), timeout)
        self._file: Any = None

    @property
    def file(self) -> Any:
        if self._file is None:
            self._file = self.socket.makefile("rb")
        return self._file

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def shut(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self.socket.close()

    def head(self) -> tuple[int, dict[str, str]]:
        """Read a response's head: status and fields. (0, {}) at the end of the connection."""
        line = self.file.readline()
        if not line:
            return 0, {}
        fields = {}
        while (field := self.file.readline()) not in (b"\r\n", b""):
            name, _, value = field.decode("latin-1").partition(":")
            fields[name.lower()] = value.strip()
        return int(line.split()[1]), fields

    def answer(self) -> tuple[int, bytes]:
        """Read a response of known length. (0, b"") when the connection ended before."""
        status, fields = self.head()
        size = int(fields.get("content-length", 0))
        body = self.file.read(size)
        assert len(body) == size, "cut off"
        return status, body

    def at_end(self) -> bool:
        """Whether the server closes without another byte; a reset counts."""
        try:
            return self.file.read(1) == b""
        except ConnectionResetError:
            return True


def facts(server: ServerProcess) -> dict[str, int]:
    """What the process holds, this request left out."""
    connection = Raw(server.host, server.port)
    try:
        connection.send(get("/facts", "Connection: close"))
        found: dict[str, int] = json.loads(connection.answer()[1])
    finally:
        connection.close()
    return found


def settled(server: ServerProcess, holds: Callable[[dict[str, int]], bool]) -> dict[str, int]:
    """The facts, once they are as expected: the server learns of a close a moment later."""
    deadline = time.monotonic() + PATIENCE
    while not holds(found := facts(server)):
        assert time.monotonic() < deadline, found
    return found


def rss(server: ServerProcess) -> int:
    """The server's resident memory, bytes."""
    return _memory(server, "VmRSS:")


def peak(server: ServerProcess) -> int:
    """The most that it ever was."""
    return _memory(server, "VmHWM:")


def _memory(server: ServerProcess, name: str) -> int:
    for line in Path(f"/proc/{server.pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise AssertionError(name)


def cpu(server: ServerProcess) -> float:
    """The processor time that the server has used, seconds."""
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
