"""A client that sends bytes, also such as no other client would; and what /proc says of the server."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

from tests.e2e.server_process import ServerProcess
from tests.server.live import Connection
from tests.waiting import PATIENCE
from tests.wire import get


class Raw(Connection):
    """One connection to a server process."""

    def __init__(self, host: str, port: int, timeout: float = PATIENCE, receive_buffer: int = 0) -> None:
        """receive_buffer: bytes; a small one keeps the kernels from taking much of what is not read."""
        sock = socket.socket()
        sock.settimeout(timeout)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            sock.connect((host, port))
        except OSError:
            sock.close()
            raise
        super().__init__(sock)

    def shut(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with a reset."""
        reset_at_close(self.socket)
        self.close()

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


def reset_at_close(sock: socket.socket) -> None:
    """Have `close` reset the connection."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def facts(server: ServerProcess) -> dict[str, int]:
    """What the process holds, this request left out."""
    with Raw(server.host, server.port) as connection:
        connection.send(get("/facts", "Connection: close"))
        found: dict[str, int] = json.loads(connection.answer()[1])
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
