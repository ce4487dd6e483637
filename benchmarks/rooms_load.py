"""Receivers of broadcasts: thousands of sockets in one epoll, which count bytes.

    python rooms_load.py PORT DIALECT RECEIVERS FLOOD PACED

DIALECT: `plain` or `socketio`. First FLOOD broadcasts are asked for at once, and it is measured how many messages
arrive in a second; then PACED ones, one in PACE seconds, and how long each message takes from the server's call to its
arrival. Prints JSON.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import threading
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.idle import raise_descriptor_limit

SIZE = 125  # bytes of a message
PACE = 0.5  # seconds
PATIENCE = 60.0  # seconds
SHORTEST = 100  # bytes: what is shorter is not a broadcast
HANDSHAKE = (
    b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
SOCKETIO_CONNECT = b"\x81\x82\0\0\0\x0040"  # a text frame "40", masked with zeros


def opened(port: int, dialect: str) -> socket.socket:
    """A receiver that is in the room. Raises OSError."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    path = b"/socket.io/?EIO=4&transport=websocket" if dialect == "socketio" else b"/"
    connection.sendall(HANDSHAKE % path)
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        data = connection.recv(1)
        if not data:
            break
        answer += data
    if not answer.startswith(b"HTTP/1.1 101"):
        raise OSError(f"answered {answer[:80]!r}")
    if dialect == "socketio":
        if not frame(connection).startswith(b"0{"):
            raise OSError("no Engine.IO")
        connection.sendall(SOCKETIO_CONNECT)
        if not frame(connection).startswith(b"40{"):
            raise OSError("no Socket.IO")
    return connection


def frame(connection: socket.socket) -> bytes:
    """The payload of one short frame."""
    size = exactly(connection, 2)[1]
    if size == 126:
        size = int.from_bytes(exactly(connection, 2))
    return exactly(connection, size)


def exactly(connection: socket.socket, size: int) -> bytes:
    """So many bytes."""
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise OSError("closed the connection")
        data += piece
    return data


class Receivers:
    """All the sockets, in one epoll."""

    def __init__(self, port: int, dialect: str, count: int) -> None:
        raise_descriptor_limit(count + 200)
        self._port = port
        self._sockets = [opened(port, dialect) for _ in range(count)]
        self._poll = select.epoll()
        for each in self._sockets:
            each.setblocking(False)
            self._poll.register(each.fileno(), select.EPOLLIN)
        self._by_fd = {each.fileno(): each for each in self._sockets}
        self._frame_size = self._calibrate()

    def _calibrate(self) -> int:
        """Bytes of one broadcast on the wire: all have the same length."""
        self._ask(1, 0)
        sizes = set()
        for _ in self._sockets:
            size = self._arrived_bytes()
            sizes.add(size)
        if len(sizes) != 1:
            raise OSError(f"one broadcast came in {sorted(sizes)} bytes")
        return sizes.pop()

    def _arrived_bytes(self) -> int:
        """Wait for one socket, and take what it has."""
        while True:
            for fd, _ in self._poll.poll(PATIENCE, 1):
                data = self._by_fd[fd].recv(65536)
                if len(data) < SHORTEST:
                    raise OSError(f"sent {data!r}")
                return len(data)
            raise OSError("a broadcast did not arrive")

    def _ask(self, count: int, interval: float) -> None:
        url = f"http://127.0.0.1:{self._port}/go?count={count}&size={SIZE}&interval={interval}"
        threading.Thread(target=lambda: urllib.request.urlopen(url).read(), daemon=True).start()

    def flood(self, count: int) -> float:
        """Messages that arrive in a second."""
        left = count * len(self._sockets) * self._frame_size
        receive = {fd: each.recv_into for fd, each in self._by_fd.items()}
        buffer, poll = bytearray(1 << 18), self._poll.poll
        self._ask(count, 0)
        begin = last = 0.0
        while left:
            events = poll(PATIENCE, 512)
            if not events:
                raise OSError(f"{left // self._frame_size} messages did not arrive")
            begin = begin or time.monotonic()
            for fd, _ in events:
                got = receive[fd](buffer)
                if not got:
                    raise OSError("closed a receiver under load")
                left -= got
            last = time.monotonic()
        return count * len(self._sockets) / (last - begin)

    def paced(self, count: int) -> list[float]:
        """How long each message took, in seconds, sorted."""
        latencies: list[float] = []
        expected = count * len(self._sockets)
        self._ask(count, PACE)
        while len(latencies) < expected:
            events = self._poll.poll(PATIENCE, 512)
            if not events:
                raise OSError(f"{expected - len(latencies)} messages did not arrive")
            for fd, _ in events:
                data = self._by_fd[fd].recv(65536)
                now = time.monotonic_ns()
                latencies += [(now - int(stamp)) / 1e9 for stamp in data.split(b"@")[1::2]]
        return sorted(latencies)


def measure(port: int, dialect: str, count: int, flood: int, paced: int) -> dict[str, float]:
    """Both."""
    receivers = Receivers(port, dialect, count)
    used, begin = time.process_time(), time.monotonic()
    rate = receivers.flood(flood)
    share = (time.process_time() - used) / (time.monotonic() - begin)
    latencies = receivers.paced(paced)
    return {
        "rate": rate,
        "p50_ms": latencies[len(latencies) // 2] * 1000,
        "p99_ms": latencies[len(latencies) * 99 // 100] * 1000,
        "client_cpu": share,
    }


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[3:6]]
    print(json.dumps(measure(int(sys.argv[1]), sys.argv[2], *numbers)))
