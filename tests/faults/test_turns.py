"""Nothing that one client sends, or an application reads of it, holds the hub for long at a time.

A turn is what the hub does between two looks at its descriptors. What is measured of it is the processor time of the
hub's own OS thread, so that neither a busy machine nor the client's thread counts; the best of three plays is compared,
for the worst of one may be the machine's. The goal is about 1 ms; each input here took many times the bound where no
code gave way.
"""

from __future__ import annotations

import gc
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from greenserve import rooms, websocket
from greenserve.server import Server
from tests.server.live import Client, serving
from tests.wire import BINARY, CLOSE, COMPRESSED, CONTINUATION, PING, PONG, TEXT, deflated, frame, post, upgrade

BOUND = 0.010  # seconds of processor time in one turn
PLAYS = 3
MEBIBYTE = 1 << 20


class MeasuredPoller:
    """A hub's poller, and the processor time between two of its waits."""

    def __init__(self, poller: Any) -> None:
        self._poller = poller
        self._began: int | None = None  # none before the first wait, which may end what began before us
        self.longest = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._poller, name)

    def wait(self, timeout: float | None) -> Any:
        if self._began is not None:
            self.longest = max(self.longest, time.thread_time_ns() - self._began)
        events = self._poller.wait(timeout)
        self._began = time.thread_time_ns()
        return events


@contextmanager
def without_collector() -> Iterator[None]:
    """The whole test run's objects are none of the server's; to look at them takes longer than a turn."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def longest_turn(play: Callable[[Server], None], **options: Any) -> float:
    """Seconds of the longest turn of a server with which `play` plays; the best of a few plays."""
    best = float("inf")
    for _ in range(PLAYS):
        with serving(application, **options) as server, without_collector():
            hub = server._worker.hub  # type: ignore[union-attr]  # it runs
            poller = hub.io.poller = MeasuredPoller(hub.io.poller)
            play(server)
            best = min(best, poller.longest / 1e9)
        if best < BOUND:
            break
    return best


# -- the application

LARGE = bytes(100 * MEBIBYTE)


def application(environ: Any, start_response: Any) -> Any:
    path, body = environ["PATH_INFO"], environ["wsgi.input"]
    if websocket.is_upgrade(environ):
        with websocket.accept(environ) as ws:
            SOCKETS[path](ws)
        return []
    if path == "/pieces":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return (b"x" for _ in range(50_000))
    if path == "/large":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [LARGE]
    found = BODIES[path](body) if path in BODIES else b""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(found)))])
    return [found]


def count(items: Any) -> bytes:
    return str(sum(len(item) for item in items)).encode()


BODIES: dict[str, Callable[[Any], bytes]] = {
    "/read": lambda body: count(iter(lambda: body.read(65536), b"")),
    "/whole": lambda body: str(len(body.read())).encode(),
    "/lines": count,
    "/readline": lambda body: count(iter(body.readline, b"")),
    "/readlines": lambda body: str(sum(len(lines) for lines in iter(lambda: body.readlines(1000), []))).encode(),
    "/octets": lambda body: count(iter(lambda: body.read(1), b"")),
}


def echo(ws: websocket.WebSocket) -> None:
    for message in ws:
        ws.send(message)


def sink(ws: websocket.WebSocket) -> None:
    for _ in ws:
        pass


def room(ws: websocket.WebSocket) -> None:
    with rooms.get("room").joined(ws, "member"):
        for message in ws:
            rooms.get("room").broadcast(message)


SOCKETS: dict[str, Callable[[websocket.WebSocket], None]] = {"/echo": echo, "/sink": sink, "/room": room}


# -- plays


def send_and_read(connection: Client, *pieces: bytes) -> bytes:
    """Send while another thread reads; what came until the server closed."""
    found = []
    reader = threading.Thread(target=lambda: found.append(read_to_end(connection.socket)))
    reader.start()
    try:
        for piece in pieces:
            connection.send(piece)
    except ConnectionError:
        pass  # refused; what it said is what counts
    reader.join()
    return found[0]


def read_to_end(sock: socket.socket) -> bytes:
    found = bytearray()
    try:
        while data := sock.recv(65536):
            found += data
    except ConnectionResetError:
        pass
    return bytes(found)


def http(*pieces: bytes, answer: bytes) -> Callable[[Server], None]:
    """One connection that sends this, and gets `answer` at the beginning or the end of what comes."""

    def play(server: Server) -> None:
        with Client(server) as client:
            client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            came = send_and_read(client, *pieces)
        assert came.startswith(b"HTTP/1.1 " + answer) or came.endswith(answer), came[:200]

    return play


def chunked(path: str, body: bytes, *, trailer: bytes = b"") -> bytes:
    return post(path, "Connection: close", "Transfer-Encoding: chunked") + body + b"0\r\n" + trailer + b"\r\n"


def by_length(path: str, body: bytes) -> bytes:
    return post(path, "Connection: close", f"Content-Length: {len(body)}") + body


def octets(data: bytes) -> list[bytes]:
    return [bytes((octet,)) for octet in data]


CHUNK = b"1\r\nx\r\n"
LAST = b"GET /end HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n"

HTTP = {
    "chunks of one octet": http(chunked("/read", CHUNK * 100_000), answer=b"100000"),
    "chunks of one octet, all at once": http(chunked("/whole", CHUNK * 100_000), answer=b"100000"),
    "chunks of one octet that are not read": http(chunked("/", CHUNK * 100_000), answer=b"200"),
    "chunks with extensions": http(chunked("/read", b'1;a="b;"\r\nx\r\n' * 2_000), answer=b"2000"),
    "a trailer octet by octet": http(
        *octets(chunked("/read", b"", trailer=b"A: " + b"b" * 4000 + b"\r\n")), answer=b"0"
    ),
    "a trailer of many fields": http(chunked("/read", b"", trailer=b"A: b\r\n" * 90), answer=b"0"),
    "a head octet by octet": http(
        *octets(HEAD + b"X: " + b"y" * 4000 + b"\r\nConnection: close\r\n\r\n"), answer=b"200"
    ),
    "a head of many tiny fields": http(HEAD + b"A:\r\n" * 15_000 + b"\r\n", answer=b"4"),
    "a head of many fields": http(HEAD + b"Abc: def\r\n" * 5_000 + b"\r\n", answer=b"4"),
    "a field of commas": http(HEAD + b"Connection: " + b"," * 60_000 + b"\r\n\r\n", answer=b"4"),
    "many large heads": http((HEAD + b"Cookie: " + b"abc=def; " * 3_000 + b"\r\n\r\n") * 20 + LAST, answer=b""),
    "many heads that h11 judges": http(
        b"".join(HEAD + b"X-%d:\tab\r\n" % n * 50 + b"\r\n" for n in range(100)) + LAST, answer=b""
    ),
    "pipelined requests": http((HEAD + b"\r\n") * 10_000 + LAST, answer=b""),
    "pipelined requests that all differ": http(
        b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\nX-Id: %d\r\n\r\n" % (n, n) for n in range(5_000)) + LAST, answer=b""
    ),
    "pipelined requests with bodies": http(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx" * 5_000 + LAST, answer=b""
    ),
    "empty lines before a request": http(b"\r\n" * 30_000, answer=b"4"),
    "lines of two octets, iterated": http(by_length("/lines", b"x\n" * 300_000), answer=b"600000"),
    "lines of two octets, by readline": http(by_length("/readline", b"x\n" * 300_000), answer=b"600000"),
    "lines of two octets, by readlines": http(by_length("/readlines", b"x\n" * 300_000), answer=b"300000"),
    "lines of one octet": http(by_length("/lines", b"\n" * 300_000), answer=b"300000"),
    "one line without an end": http(by_length("/lines", b"x" * 4 * MEBIBYTE), answer=b"4194304"),
    "one octet at a time": http(by_length("/octets", b"x" * 200_000), answer=b"200000"),
    "a response in small pieces": http(b"GET /pieces HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", answer=b"200"),
    "a large response": http(b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", answer=b"200"),
    "what comes after a refusal": http(b"GET  / HTTP/1.1\r\n\r\n", *[b"x" * 65536] * 64, answer=b"400"),
}


@pytest.mark.parametrize("play", HTTP.values(), ids=HTTP)
def test_no_request_holds_the_hub_for_long(play: Callable[[Server], None]) -> None:
    assert longest_turn(play) < BOUND


def fragments(count: int, payload: bytes = b"", opcode: int = BINARY) -> bytes:
    """One message in so many frames."""
    middle = frame(CONTINUATION, payload, fin=False) * (count - 2)
    return frame(opcode, payload, fin=False) + middle + frame(CONTINUATION, payload)


def opened(server: Server, path: str) -> Client:
    client = Client(server)
    client.send(upgrade(path, compressed=True))
    assert client.head()[0] == 101
    return client


def messages(path: str, *pieces: bytes, others: int = 0) -> Callable[[Server], None]:
    """One WebSocket that sends this and a Close; it has the server's Close in the end. Others only read."""

    def play(server: Server) -> None:
        listeners = [opened(server, path) for _ in range(others)]
        readers = [threading.Thread(target=read_to_end, args=(each.socket,)) for each in listeners]
        for reader in readers:
            reader.start()
        with opened(server, path) as client:
            came = send_and_read(client, *pieces, frame(CLOSE, b"\x03\xe8"))
        for listener in listeners:
            listener.socket.shutdown(socket.SHUT_RDWR)
        for reader in readers:
            reader.join()
        for listener in listeners:
            listener.close()
        assert b"\x88" in came[-130:], came[-200:]

    return play


MEBIBYTE_OF_ZEROS = deflated(bytes(MEBIBYTE))
WEBSOCKETS = {
    "pings": messages("/sink", frame(PING) * 50_000),
    "pings of 125 octets": messages("/sink", frame(PING, b"x" * 125) * 5_000),
    "pongs": messages("/sink", frame(PONG) * 100_000),
    "empty fragments": messages("/sink", fragments(100_000)),
    "empty fragments of a text": messages("/sink", fragments(100_000, opcode=TEXT)),
    "empty fragments of a compressed message": messages(
        "/sink",
        frame(TEXT, fin=False, rsv=COMPRESSED)
        + frame(CONTINUATION, fin=False) * 100_000
        + frame(CONTINUATION, deflated(b"a")),
    ),
    "fragments of one octet": messages("/sink", fragments(100_000, b"x")),
    "compressed fragments of one octet": messages(
        "/sink",
        frame(BINARY, fin=False, rsv=COMPRESSED)
        + b"".join(frame(CONTINUATION, octet, fin=False) for octet in octets(deflated(bytes(range(256)) * 300)))
        + frame(CONTINUATION, b""),
    ),
    "pings between fragments": messages(
        "/sink",
        frame(TEXT, fin=False) + (frame(PING) + frame(CONTINUATION, b"x", fin=False)) * 20_000 + frame(CONTINUATION),
    ),
    "empty messages": messages("/sink", frame(TEXT) * 50_000),
    "messages of one octet": messages("/sink", frame(BINARY, b"x") * 50_000),
    "messages of one octet, echoed": messages("/echo", frame(BINARY, b"x") * 20_000),
    "compressed messages of one octet": messages("/sink", frame(TEXT, deflated(b"x"), rsv=COMPRESSED) * 20_000),
    "empty compressed messages": messages("/sink", frame(TEXT, b"\0", rsv=COMPRESSED) * 20_000),
    "small messages that inflate to much": messages("/sink", frame(BINARY, MEBIBYTE_OF_ZEROS, rsv=COMPRESSED) * 30),
    "a message of empty deflate blocks": messages(
        "/sink", frame(BINARY, b"\0\0\0\xff\xff" * 200_000 + deflated(b"a"), rsv=COMPRESSED)
    ),
    "large texts": messages("/sink", frame(TEXT, "\u20ac".encode() * 340_000) * 10),
    "large texts, echoed": messages("/echo", frame(TEXT, "\u20ac".encode() * 340_000) * 5),
    "a frame octet by octet": messages("/sink", *octets(frame(TEXT, b"x" * 5_000))),
    "what comes after a Close": messages("/sink", frame(CLOSE), *[b"x" * 65536] * 64),
    "a flood in a room": messages("/room", frame(TEXT, b"hello") * 300, others=40),
}


@pytest.mark.parametrize("play", WEBSOCKETS.values(), ids=WEBSOCKETS)
def test_no_websocket_holds_the_hub_for_long(play: Callable[[Server], None]) -> None:
    assert longest_turn(play) < BOUND
