"""Attackers in one epoll, and a healthy client.

    python attacks_load.py ATTACK PORT SECONDS      the attackers; SECONDS: how long at the most
    python attacks_load.py healthy PORT SECONDS

The attackers print `ready` when they are all connected, and in the end how many the server has closed, and the time
of the last one since then. The healthy client asks every PACE seconds, on a kept connection and on new ones in turns;
the time of an answer counts from when it was to be asked for, so that waits that hold up the client count too.
Both print JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.idle import RESET_ON_CLOSE, raise_descriptor_limit

PACE = 0.005  # seconds
PATIENCE = 60.0  # seconds
HELLO = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
ANSWER_END = b"Hello, World!"
CHUNKED = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Attack:
    """What each of `count` connections does: send `first`, then `more` again and again: each `pause` seconds, or, with
    0, as fast as it is taken; with None nothing more. reads: takes what comes. buffer: bytes of its receive buffer.
    """

    count: int
    first: bytes
    more: bytes = b""
    pause: float | None = None
    reads: bool = True
    buffer: int = 0


ATTACKS = {
    "slowloris": Attack(2000, b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"y", 1.0),
    "slow readers": Attack(2000, b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n", reads=False, buffer=4096),
    "withheld bodies (not read)": Attack(2000, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n"),
    "withheld bodies (read)": Attack(2000, b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n"),
    "bodies that trickle": Attack(2000, b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 99999\r\n\r\n", b"y", 1.0),
    "chunks that trickle": Attack(2000, CHUNKED, b"1\r\nx\r\n", 1.0),
    "floods of one-byte chunks": Attack(4, CHUNKED, b"1\r\nx\r\n" * 10_000, 0),
    "endless pipelines": Attack(10, HELLO * 100, HELLO * 100, 0),
}


def attack(plan: Attack, port: int, seconds: float) -> dict[str, float]:
    """Attack until the server has closed all of them, or the time is over."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))  # or the healthy client would wait for this process
    raise_descriptor_limit(plan.count + 200)
    opened = {each.fileno(): each for each in (connected(port, plan) for _ in range(plan.count))}
    print("ready", flush=True)
    began, last, due = time.monotonic(), 0.0, time.monotonic()
    interest = (select.EPOLLIN if plan.reads else select.EPOLLRDHUP) | (select.EPOLLOUT if plan.pause == 0 else 0)
    with select.epoll() as poll:
        for fd in opened:
            poll.register(fd, interest)
        while opened and (now := time.monotonic()) < began + seconds:
            if plan.pause and now >= due:
                due += plan.pause
                for each in opened.values():
                    push(each, plan.more)
            for fd, events in poll.poll(max(0.0, min(due - now, 0.1) if plan.pause else 0.1)):
                if events & select.EPOLLOUT:
                    push(opened[fd], plan.more)
                if events & ~select.EPOLLOUT and is_gone(opened[fd], events, plan):
                    poll.unregister(fd)
                    opened.pop(fd).close()
                    last = time.monotonic() - began
    left = len(opened)
    for each in opened.values():
        each.close()
    return {"gone": plan.count - left, "left": left, "last": last}


def connected(port: int, plan: Attack) -> socket.socket:
    """One attacker, which has sent the beginning."""
    sock = socket.socket()
    if plan.buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, plan.buffer)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    sock.settimeout(PATIENCE)
    sock.connect(("127.0.0.1", port))
    sock.sendall(plan.first)
    sock.setblocking(False)
    return sock


def push(sock: socket.socket, data: bytes) -> None:
    """Send what is taken at once. A part of `data` may be cut off: what matters is that it never ends."""
    try:
        sent = sock.send(data)
        while sent % len(data) and sent < len(data):  # to the end of this one, or the framing would be broken
            sock.setblocking(True)
            sent += sock.send(data[sent:])
    except OSError:
        pass
    finally:
        sock.setblocking(False)


def is_gone(sock: socket.socket, events: int, plan: Attack) -> bool:
    """Whether the server has closed it."""
    if not plan.reads:
        return True
    try:
        return not sock.recv(1 << 18)
    except BlockingIOError:
        return bool(events & (select.EPOLLERR | select.EPOLLHUP))
    except OSError:
        return True


class Failed(Exception):
    """An answer was wrong, or did not come."""


def healthy(port: int, seconds: float) -> dict[str, float]:
    """Ask in an even pace, and say how long the answers took, in milliseconds."""
    with contextlib.suppress(PermissionError):  # it stands for one on a machine of its own
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    took, failures = [], 0
    kept = fresh(port)
    due = began = time.perf_counter()
    asks: list[Callable[[], object]] = [lambda: ask(kept), lambda: ask_once(port)]
    while due < began + seconds:
        time.sleep(max(0.0, due - time.perf_counter()))
        try:
            asks[len(took) % 2]()
        except (OSError, Failed) as error:
            failures += 1
            print(f"failed: {error!r}", file=sys.stderr)
            kept = fresh(port)
        took.append((time.perf_counter() - due) * 1000)
        due = max(due + PACE, time.perf_counter() - PATIENCE)
    took.sort()
    return {
        "count": len(took),
        "failures": failures,
        "p50": took[len(took) // 2],
        "p99": took[len(took) * 99 // 100],
        "worst": took[-1],
    }


def fresh(port: int) -> socket.socket:
    """A new connection."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return sock


def ask(sock: socket.socket) -> None:
    """One request, and its answer. Raises OSError, Failed."""
    sock.sendall(HELLO)
    data = b""
    while not data.endswith(ANSWER_END):
        piece = sock.recv(65536)
        if not piece:
            raise Failed(f"closed after {data[:100]!r}")
        data += piece
    if not data.startswith(b"HTTP/1.1 200 "):
        raise Failed(data[:100])


def ask_once(port: int) -> None:
    """The same on a connection of its own."""
    with fresh(port) as sock:
        ask(sock)


if __name__ == "__main__":
    name, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    print(json.dumps(healthy(port, seconds) if name == "healthy" else attack(ATTACKS[name], port, seconds)), flush=True)
