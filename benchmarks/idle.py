"""Many idle keep-alive connections: what each costs the server, and how fast it answers a new one meanwhile."""

from __future__ import annotations

import resource
import socket
import statistics
import struct
import time
from dataclasses import dataclass

from benchmarks.process import ServerProcess

REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n\r\n"
WARMING_CONNECTIONS = 64
WARMING_TURNS = 20
FRESH_REQUESTS = 20
SETTLE_SECONDS = 1.0  # for a server that frees in the background
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # thousands of sockets in TIME_WAIT would slow the next server's turn


class NotIdle(Exception):
    """The connections could not be opened, or did not stay open."""


@dataclass(frozen=True, slots=True)
class Idle:
    """kib: memory for each connection. fresh_ms: median of the new requests meanwhile; worst_ms: the slowest."""

    kib: float
    fresh_ms: float
    worst_ms: float


def hold_idle(server: ServerProcess, count: int) -> Idle:
    """Open `count` connections, one request on each, and look at the server while they rest. Raises NotIdle."""
    raise_descriptor_limit(count + 200)
    opened: list[socket.socket] = []
    try:
        _open(server.port, WARMING_CONNECTIONS, opened)
        for _ in range(WARMING_TURNS):
            for connection in opened:
                _request(connection)
        _close(opened)
        time.sleep(SETTLE_SECONDS)
        before = server.memory_kib()
        _open(server.port, count, opened)
        time.sleep(SETTLE_SECONDS)
        after = server.memory_kib()
        fresh = [_fresh_ms(server.port) for _ in range(FRESH_REQUESTS)]
        lost = sum(not _is_open(connection) for connection in opened)
        if lost:
            raise NotIdle(f"closed {lost} of {count} idle connections")
    except OSError as error:
        raise NotIdle(f"{type(error).__name__} with {len(opened)} of {count} connections open: {error}") from error
    finally:
        _close(opened)
    return Idle((after - before) / count, statistics.median(fresh), max(fresh))


def raise_descriptor_limit(needed: int) -> None:
    """Let this process, and the servers it starts, open so many files. Raises NotIdle where the system forbids it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise NotIdle(f"needs {needed} open files and the system allows {hard} (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _open(port: int, count: int, opened: list[socket.socket]) -> None:
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", port), timeout=10)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        opened.append(connection)
        _request(connection)


def _request(connection: socket.socket) -> None:
    connection.sendall(REQUEST)
    received = b""
    while not received.endswith(b"Hello, World!"):
        data = connection.recv(65536)
        if not data:
            raise NotIdle(f"closed the connection after {received[:60]!r}")
        received += data


def _fresh_ms(port: int) -> float:
    start = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        _request(connection)
        return (time.perf_counter() - start) * 1000


def _is_open(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def _close(opened: list[socket.socket]) -> None:
    while opened:
        opened.pop().close()
