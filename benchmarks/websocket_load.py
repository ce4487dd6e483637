"""Load for WebSocket echo servers: raw frames, made before, over sockets in one epoll.

    python websocket_load.py PORT CONNECTIONS BYTES SECONDS

Each connection has one message under way. Prints JSON: messages a second, all messages (with those of the
warm-up), latency in milliseconds, the share of its own core that it used (near 1 it is the load that was measured, not
the server).
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import sys
import time

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
WARM_UP = 0.5  # seconds


def head(size: int, mask: int) -> bytes:
    """Of a whole binary frame."""
    if size <= 125:
        return bytes([0x82, mask | size])
    if size <= 0xFFFF:
        return bytes([0x82, mask | 126]) + size.to_bytes(2)
    return bytes([0x82, mask | 127]) + size.to_bytes(8)


def masked(payload: bytes) -> bytes:
    """A client's frame."""
    key = os.urandom(4)
    body = bytes(byte ^ key[index & 3] for index, byte in enumerate(payload))
    return head(len(payload), 0x80) + key + body


def opened(port: int) -> socket.socket:
    """A WebSocket after its handshake. Raises OSError when the server does not answer with 101."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(HANDSHAKE)
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        data = connection.recv(1)
        if not data:
            break
        answer += data
    if not answer.startswith(b"HTTP/1.1 101"):
        connection.close()
        raise OSError(f"answered {answer[:80]!r}")
    return connection


def echoed(connection: socket.socket, frame: bytes, answer: bytes) -> None:
    """Check one echo. Raises OSError for another answer."""
    connection.sendall(frame)
    got = b""
    while len(got) < len(answer):
        data = connection.recv(len(answer) - len(got))
        if not data:
            raise OSError("closed the connection instead of an echo")
        got += data
    if got != answer:
        raise OSError(f"echoed {got[:40]!r}")


def measure(port: int, count: int, size: int, seconds: float) -> dict[str, float]:
    """Echo for a while."""
    payload = os.urandom(size)
    frame, answer = masked(payload), head(size, 0) + payload
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(opened(port)) for _ in range(count)]
        for connection in connections:
            echoed(connection, frame, answer)
            connection.setblocking(False)
        warm_up = echo(connections, frame, len(answer), WARM_UP)
        used = time.process_time()
        latencies = sorted(echo(connections, frame, len(answer), seconds))
        used = time.process_time() - used
    return {
        "rate": len(latencies) / seconds,
        "messages": len(warm_up) + len(latencies),
        "p50_ms": latencies[len(latencies) // 2] * 1000,
        "p99_ms": latencies[len(latencies) * 99 // 100] * 1000,
        "client_cpu": used / seconds,
    }


def echo(connections: list[socket.socket], frame: bytes, size: int, seconds: float) -> list[float]:
    """Keep one frame under way on each connection; then wait for the last ones. The latencies within the time.

    size: of an answer. Raises OSError when a connection ends, or does not take a whole frame.
    """
    clock, buffer = time.perf_counter, bytearray(1 << 18)
    latencies: list[float] = []
    with select.epoll() as poll:
        state = {each.fileno(): [each.recv_into, each.send, size, clock()] for each in connections}
        end = clock() + seconds
        for fd, (_, send, _, _) in state.items():
            poll.register(fd, select.EPOLLIN)
            send(frame)
        under_way = len(state)
        while under_way:
            for fd, _ in poll.poll(10):
                entry = state[fd]
                got = entry[0](buffer)
                if not got:
                    raise OSError("closed a connection under load")
                entry[2] -= got
                if entry[2]:
                    continue
                now = clock()
                if now >= end:
                    under_way -= 1
                    continue
                latencies.append(now - entry[3])
                entry[2], entry[3] = size, now
                if entry[1](frame) != len(frame):
                    raise OSError("does not take a whole frame")
    return latencies


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))))
