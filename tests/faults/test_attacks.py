"""Attacks on a server process, one after the other: healthy clients are served meanwhile, and nothing of them stays.

Each attack opens connections and keeps them; while they stand, a healthy client has its answers, on a connection of its
own and on new ones. Then they are closed, and the server must be as it was before: no connection, no green thread, no
memory to speak of (in comparison with the time before the first attack, so that small things that stay add up), and no
processor time in a quiet moment.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.server_process import ServerProcess
from tests.faults.conftest import APPLICATION
from tests.faults.raw import Raw, cpu, peak, reset_at_close, rss, settled
from tests.waiting import PATIENCE
from tests.wire import BINARY, CLOSE, COMPRESSED, CONTINUATION, PING, PONG, TEXT, deflated, frame, get, post, upgrade

MEBIBYTE = 1 << 20
MEMORY_LEFT = 30 * MEBIBYTE  # what may stay of all attacks together: the allocator's, mostly
MEMORY_HELD = 128 * MEBIBYTE  # at the most, in an attack
QUIET_SECONDS = 0.2
QUIET_CPU = 0.05  # of these; a busy loop takes them all
ANSWERS = 6  # that the healthy client must have while an attack stands

Send = Callable[["Attacker"], None]


class Attacker:
    """Opens connections to a server, and keeps them until it is closed."""

    def __init__(self, server: ServerProcess) -> None:
        self._address = (server.host, server.port)
        self._threads: list[threading.Thread] = []
        self.sockets: list[socket.socket] = []
        self.stop = threading.Event()

    def open(self, count: int, sent: bytes = b"", *, buffer: int = 0) -> list[socket.socket]:
        """So many connections, each of which has sent this. buffer: bytes of the receive buffer."""
        opened = []
        for _ in range(count):
            sock = socket.socket()
            self.sockets.append(sock)
            if buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            sock.settimeout(PATIENCE)
            sock.connect(self._address)
            send(sock, sent)
            opened.append(sock)
        return opened

    def websockets(self, path: str, count: int, *, compressed: bool = False, buffer: int = 0) -> list[socket.socket]:
        """So many WebSockets after their handshakes."""
        opened = self.open(count, upgrade(path, compressed=compressed), buffer=buffer)
        for sock in opened:
            answer = b""
            while not answer.endswith(b"\r\n\r\n"):
                octet = sock.recv(1)
                assert octet, answer
                answer += octet
            assert answer.startswith(b"HTTP/1.1 101"), answer
        return opened

    def meanwhile(self, work: Callable[[], object], times: int = sys.maxsize) -> None:
        """Do it in a thread, so often or until the attack is over, or the server has closed."""

        def run() -> None:
            with contextlib.suppress(OSError):
                for _ in range(times):
                    if self.stop.is_set():
                        break
                    work()

        thread = threading.Thread(target=run)
        self._threads.append(thread)
        thread.start()

    def flood(self, sock: socket.socket, piece: bytes, times: int, *, read: bool = False) -> None:
        """Send it so often, as fast as it is taken; with `read`, take what comes back.

        Not without end: the kernel keeps megabytes, which the server must work off after the attack.
        """
        self.meanwhile(lambda: sock.sendall(piece), times)
        if read:
            self.meanwhile(lambda: sock.recv(65536) or self.stop.wait())

    def close(self) -> None:
        self.stop.set()
        for sock in self.sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for sock in self.sockets:
            sock.close()


def send(sock: socket.socket, data: bytes) -> None:
    """Send all, or what the server takes before it closes."""
    with contextlib.suppress(ConnectionError):
        sock.sendall(data)


class Healthy:
    """A client that asks again and again, on one connection and on new ones in turns, and counts the answers.

    keeps: whether it has the one; a server that is short of descriptors may close what is idle.
    """

    def __init__(self, server: ServerProcess, *, keeps: bool = True) -> None:
        self._server = server
        self._keeps = keeps
        self._news = threading.Condition()
        self._count = 0
        self._error: Exception | None = None
        self._stop = False
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Healthy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop = True
        self._thread.join()

    def expect(self, count: int) -> None:
        """Wait for so many answers more."""
        with self._news:
            wanted = self._count + count
            assert self._news.wait_for(lambda: self._count >= wanted or self._error, PATIENCE * 2)
            assert self._error is None, self._error

    def _run(self) -> None:
        try:
            kept = Raw(self._server.host, self._server.port)
            with contextlib.closing(kept):
                while not self._stop:
                    if self._keeps:
                        self._ask(kept)
                    with contextlib.closing(Raw(self._server.host, self._server.port)) as fresh:
                        self._ask(fresh)
        except Exception as error:
            with self._news:
                self._error = error
                self._news.notify_all()

    def _ask(self, connection: Raw) -> None:
        connection.send(get())
        assert connection.answer() == (200, b"hello")
        with self._news:
            self._count += 1
            self._news.notify_all()


# -- what is sent

CHUNKED = post("/echo", "Transfer-Encoding: chunked")
TLS_HELLO = bytes.fromhex("16030100f1010000ed0303") + bytes(230)
H2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")
BOMB = deflated("\U0001f600".encode() + b"a" * (MEBIBYTE - 10))

ATTACKS: dict[str, Send] = {}


def attack(function: Send) -> Send:
    ATTACKS[function.__name__] = function
    return function


def sends(name: str, *requests: bytes, count: int = 20) -> None:
    """An attack of connections that each send all of one request and wait."""

    def send_all(attacker: Attacker) -> None:
        for request in requests:
            attacker.open(count, request)

    ATTACKS[name] = send_all


sends("slow_heads", b"GET / HTTP/1.1\r\nHost: te", count=200)
sends("silent_connections", b"", count=300)
sends("expect_without_a_body", post("/echo", "Content-Length: 1000", "Expect: 100-continue"), count=100)
sends("promised_bodies_that_nobody_reads", get("/", "Content-Length: 60000") + b"x", count=150)
sends("promised_bodies_of_a_missing_page", post("/nowhere", "Content-Length: 60000") + b"x", count=150)
sends("unfinished_chunks", CHUNKED + b"5\r\nab", CHUNKED + b"5", CHUNKED + b"5\r\nabcde\r\n0\r\nA: b\r\n", count=30)
sends(
    "bad_chunk_sizes",
    *(
        CHUNKED + size + b"\r\nx\r\n0\r\n\r\n"
        for size in (b"-1", b"0x1", b"g", b" 1", b"1 ", b"", b"f" * 17, b"f" * 5000, b"1;" + b"a" * 30_000, b"\x00")
    ),
    count=5,
)
sends("oversized_heads", b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * MEBIBYTE, b"GET /" + b"x" * MEBIBYTE, count=5)
sends("many_fields", get("/", *["A: b"] * 20_000), get("/", *["A: b"] * 90), count=10)
sends("heads_without_an_end", b"GET / HTTP/1.1\r\n" + b"A:\r\n" * 10_000, b"\r\n" * 100_000, b"\n" * 100_000, count=5)
sends("a_second_length", post("/echo", "Content-Length: 1", "Content-Length: 2") + b"xx", count=20)
sends("length_and_chunks", post("/echo", "Content-Length: 4", "Transfer-Encoding: chunked") + b"0\r\n\r\nGET /raise")
sends("http_2", H2_PREFACE, get("/", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAA"))
sends("tls_on_a_plain_port", TLS_HELLO, TLS_HELLO[:5], count=40)
sends("noise", os.urandom(100_000), bytes(100_000), b"\xff" * 100_000, b"GET", b"x", count=5)
sends("ranges", get("/file", "Range: bytes=" + ",".join(["0-"] * 1000)), get("/file", "Range: bytes=-" + "9" * 4000))
sends(
    "http_0_9",
    b"GET /\r\n",
    b"GET /\r\n\r\n",
    get("/", version="0.9"),
    get("/", version="9.9"),
    get("/", version="1.0"),
)
sends("endless_requests_in_one_send", get() * 500 + get("/whole?20000") * 500, count=10)
sends(
    "upgrades_that_are_refused",
    get("/ws/echo", "Upgrade: websocket", "Connection: Upgrade"),
    upgrade("/ws/echo", "Origin: http://elsewhere.example"),
    upgrade("/ws/echo").replace(b": 13", b": 7"),
    upgrade("/ws/echo", "Content-Length: 6") + frame(TEXT),
    upgrade("/ws/echo", "Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\n\r\n",
    get("/", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: x"),
)


@attack
def trickled_heads(attacker: Attacker) -> None:
    trickle(attacker, attacker.open(50, b"GET / HTTP/1.1\r\nHost: a\r\nX: "))


@attack
def trickled_bodies(attacker: Attacker) -> None:
    trickle(attacker, attacker.open(50, post("/echo", "Content-Length: 1000000")))


@attack
def trickled_bodies_that_nobody_reads(attacker: Attacker) -> None:
    trickle(attacker, attacker.open(150, post("/nowhere", "Content-Length: 60000")))


@attack
def trickled_chunks(attacker: Attacker) -> None:
    trickle(attacker, attacker.open(50, CHUNKED), b"1\r\nx\r\n")


def trickle(attacker: Attacker, sockets: list[socket.socket], piece: bytes = b"x") -> None:
    """A little on each connection, again and again; those that the server has closed are left."""
    left = list(sockets)

    def once() -> None:
        for sock in list(left):
            try:
                sock.send(piece)
            except OSError:
                left.remove(sock)
        attacker.stop.wait(0.02)

    attacker.meanwhile(once)


@attack
def slow_readers_of_whole_responses(attacker: Attacker) -> None:
    attacker.open(40, get("/whole?1000000"), buffer=4096)


@attack
def slow_readers_of_streams(attacker: Attacker) -> None:
    attacker.open(60, get("/stream?100000000"), buffer=4096)


@attack
def slow_readers_of_pipelines(attacker: Attacker) -> None:
    for sock in attacker.open(20, buffer=4096):
        attacker.flood(sock, get() * 100, 100)


@attack
def long_pipelines(attacker: Attacker) -> None:
    for sock in attacker.open(10):
        attacker.flood(sock, get() * 20, 1000, read=True)


@attack
def uploads_in_tiny_chunks(attacker: Attacker) -> None:
    for sock in attacker.open(5, CHUNKED):
        attacker.flood(sock, b"1\r\nx\r\n" * 1000, 20)


BEGUN = (
    *(b"", b"GET", get(), get("/stream?100000000"), get("/whole?5000000"), get("/sleep?0.5"), CHUNKED + b"5\r\na"),
    *(post("/echo", "Content-Length: 9"), get("/", "Content-Length: 9"), get() * 100),
)


@attack
def half_closed(attacker: Attacker) -> None:
    for sent in BEGUN:
        for sock in attacker.open(10, sent):
            sock.shutdown(socket.SHUT_WR)


@attack
def resets_in_every_phase(attacker: Attacker) -> None:
    for sent in BEGUN:
        for sock in attacker.open(20, sent):
            reset_at_close(sock)
            sock.close()


@attack
def connections_that_come_and_go(attacker: Attacker) -> None:
    def once() -> None:
        with contextlib.closing(socket.create_connection(attacker._address, PATIENCE)):
            pass

    for _ in range(2):
        attacker.meanwhile(once)


@attack
def pings_whose_answers_nobody_reads(attacker: Attacker) -> None:
    for sock in attacker.websockets("/ws/sink", 5, buffer=4096):
        attacker.flood(sock, frame(PING, b"x" * 125) * 100, 100)


@attack
def pings_in_large_numbers(attacker: Attacker) -> None:
    for sock in attacker.websockets("/ws/sink", 4):
        attacker.flood(sock, frame(PING) * 1000, 50, read=True)


@attack
def empty_fragments(attacker: Attacker) -> None:
    for sock in attacker.websockets("/ws/sink", 4):
        sock.sendall(frame(TEXT, fin=False))
        attacker.flood(sock, frame(CONTINUATION, fin=False) * 1000, 100)


@attack
def small_messages(attacker: Attacker) -> None:
    for sock in attacker.websockets("/ws/echo", 4):
        attacker.flood(sock, frame(TEXT, b"x") * 1000, 20, read=True)


@attack
def compression_bombs(attacker: Attacker) -> None:
    for sock in attacker.websockets("/ws/sink", 10, compressed=True):
        send(sock, frame(TEXT, BOMB, rsv=COMPRESSED) * 5)


@attack
def compression_bombs_for_an_application_that_is_busy(attacker: Attacker) -> None:
    for sock in attacker.websockets("/ws/busy", 30, compressed=True):
        send(sock, frame(TEXT, BOMB, rsv=COMPRESSED) * 2)


@attack
def messages_for_an_application_that_is_busy(attacker: Attacker) -> None:
    for sock in attacker.websockets("/ws/busy", 50):
        attacker.flood(sock, frame(TEXT, b"x") * 100, 20)


@attack
def unfinished_fragments(attacker: Attacker) -> None:
    for sock in attacker.websockets("/ws/sink", 20):
        send(sock, frame(BINARY, bytes(900_000), fin=False))


@attack
def unfinished_frames(attacker: Attacker) -> None:
    for sock in attacker.websockets("/ws/sink", 20):
        send(sock, frame(BINARY, bytes(900_000), length=1_000_000))


@attack
def trickled_frames(attacker: Attacker) -> None:
    trickle(attacker, attacker.websockets("/ws/sink", 50), frame(BINARY, fin=False)[:1])
    sockets = attacker.websockets("/ws/sink", 50)
    for sock in sockets:
        sock.sendall(frame(BINARY, length=1_000_000))
    trickle(attacker, sockets)


@attack
def frames_that_the_protocol_forbids(attacker: Attacker) -> None:
    text = frame(TEXT, b"x")
    forbidden = (
        bytes((text[0], 1, 0x78)),  # not masked
        frame(3),
        frame(TEXT, rsv=3),
        frame(CONTINUATION),
        frame(PING, fin=False),
        frame(CLOSE, b"x"),
        frame(CLOSE, b"\x03\xed"),
        frame(TEXT, b"\xff"),
        frame(TEXT, length=2**63),
        frame(TEXT, length=2**62),
        frame(TEXT, b"\xff\xff", rsv=COMPRESSED),
    )
    for sent in forbidden:
        for sock in attacker.websockets("/ws/sink", 3, compressed=True):
            send(sock, sent * 3)


@attack
def slow_readers_of_messages(attacker: Attacker) -> None:
    attacker.websockets("/ws/feed", 20, buffer=4096)


@attack
def slow_readers_that_send_pongs(attacker: Attacker) -> None:
    trickle(attacker, attacker.websockets("/ws/feed", 20, buffer=4096), frame(PONG))


@attack
def closes_that_are_never_answered(attacker: Attacker) -> None:
    attacker.websockets("/ws/leave", 100)


@attack
def floods_after_the_close(attacker: Attacker) -> None:
    for sock in attacker.websockets("/ws/sink", 5):
        sock.sendall(frame(CLOSE))
        attacker.flood(sock, bytes(65536), 1000)


@attack
def websockets_that_say_nothing(attacker: Attacker) -> None:
    attacker.websockets("/ws/echo", 150)


@attack
def websockets_that_are_reset(attacker: Attacker) -> None:
    for path in ("/ws/echo", "/ws/sink", "/ws/feed", "/ws/busy", "/ws/room"):
        for sock in attacker.websockets(path, 10):
            send(sock, frame(TEXT, b"x") * 100)
            reset_at_close(sock)
            sock.close()


@attack
def a_room_whose_members_do_not_read(attacker: Attacker) -> None:
    attacker.websockets("/ws/room", 30, buffer=4096)
    for sock in attacker.websockets("/ws/room", 2):
        attacker.flood(sock, frame(TEXT, b"x" * 1000) * 10, 200, read=True)


# -- the server, and what is left


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp("attacks")
    (directory / "faulty.py").write_text(APPLICATION)
    options = {
        "header-timeout": "1s",
        "body-timeout": "1s",
        "write-timeout": "1s",
        "ws-ping-interval": "2s",
        "ws-ping-timeout": "1s",
        "concurrency": "100",  # fewer than many attacks have connections
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    # The allocator is to give back what is freed: by default it raises these thresholds as it goes, and keeps more.
    allocator: dict[str, str | None] = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
    env = {"FAULTS_FILE": "faulty.py", **allocator}
    with ServerProcess("faulty:app", *words, cwd=directory, env=env) as process:
        with Healthy(process) as healthy:
            healthy.expect(200)
        yield process
    assert process.returncode == 0, process.output


@pytest.fixture(scope="module")
def before(server: ServerProcess) -> tuple[dict[str, int], int]:
    """The server before the attacks: the facts, and its memory."""
    found = settled(server, lambda found: found["connections"] == 1 and found["busy"] == 1)
    return found, rss(server)


def await_quiet(server: ServerProcess) -> None:
    """Wait until there is a moment in which the server uses no processor time."""
    deadline = time.monotonic() + PATIENCE
    while True:
        used = cpu(server)
        time.sleep(QUIET_SECONDS)  # not to wait for something: it is the measure
        used = cpu(server) - used
        if used <= QUIET_CPU:
            return
        assert time.monotonic() < deadline, f"{used} s of {QUIET_SECONDS} s"


def assert_as_before(server: ServerProcess, before: tuple[dict[str, int], int]) -> None:
    found = settled(server, lambda now: all(now[name] <= before[0][name] for name in WHAT_ENDS))
    assert found["objects"] - before[0]["objects"] < 20_000
    await_quiet(server)
    assert rss(server) - before[1] < MEMORY_LEFT
    assert peak(server) - before[1] < MEMORY_HELD
    assert "a defect of greenserve" not in server.output


WHAT_ENDS = ("connections", "busy", "detached", "waiting", "unsent", "threads", "descriptors", "fds", "members")


@pytest.mark.parametrize("name", ATTACKS)
def test_healthy_clients_are_served_and_nothing_stays(
    server: ServerProcess, before: tuple[dict[str, int], int], name: str
) -> None:
    with contextlib.closing(Attacker(server)) as attacker, Healthy(server) as healthy:
        ATTACKS[name](attacker)
        healthy.expect(ANSWERS)
    assert_as_before(server, before)


def test_silent_connections_up_to_the_descriptor_limit_give_way(tmp_path: Path) -> None:
    """No deadline is near: the oldest of the connections that have sent nothing make room."""
    (tmp_path / "faulty.py").write_text(APPLICATION)
    limited = ("/bin/sh", "-c", 'ulimit -n 128; exec "$@"', "sh", sys.executable, "-m", "greenserve")
    with ServerProcess("faulty:app", "--header-timeout", "10m", cwd=tmp_path, executable=limited) as server:
        with contextlib.closing(Attacker(server)) as attacker, Healthy(server, keeps=False) as healthy:
            attacker.open(400)
            healthy.expect(ANSWERS)
        settled(server, lambda now: now["connections"] == 1 and now["busy"] == 1)
        await_quiet(server)
