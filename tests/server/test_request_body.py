"""The body of a request that comes slowly, late, or not at all: what holds a green thread, and for how long."""

from __future__ import annotations

import contextlib
import hashlib
import random
import socket
import threading
import tracemalloc
from contextlib import ExitStack

import pytest

import greenserve
from greenserve import tpool
from greenserve.errors import ClientDisconnected, RequestTimeout
from greenserve.http.limits import Limits
from greenserve.http.parser import RequestParser
from greenserve.net.lingering import Lingering
from greenserve.net.send_buffer import SendBuffer
from greenserve.server import worker as worker_module
from greenserve.server.body import BodyState, Progress, RequestBody
from greenserve.server.connection import Connection
from greenserve.server.spool import Budget, Spool
from tests.server.live import Client, echo, hello, serving

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
SLOW = [POST % 9, POST % 9 + b"abc", POST % 60000 + b"x", CHUNKED, CHUNKED + b"3\r\nab", CHUNKED + b"3\r\nabc\r\n"]


@pytest.fixture
def quick_sweep(monkeypatch):
    monkeypatch.setattr(worker_module, "SWEEP_SECONDS", 0.02)


@pytest.mark.parametrize("sent", SLOW)
@pytest.mark.parametrize("status", ["200 OK", "404 Not Found"])
def test_a_body_that_was_promised_and_does_not_come_holds_no_green_thread_after_the_response(sent, status):
    def application(environ, start_response):
        start_response(status, [("Content-Length", "2")])
        return [b"ok"]

    with (
        serving(application, concurrency=1, body_timeout=600, buffer_chunked=None) as server,
        ExitStack() as stack,
    ):
        other = stack.enter_context(Client(server))
        for _ in range(3):
            slow = stack.enter_context(Client(server))
            slow.send(sent)
            assert slow.response()[2] == b"ok"
            assert other.get() == b"ok"  # though there is one green thread


def test_a_body_that_comes_after_the_response_is_skipped_and_the_next_request_served():
    with (
        serving(hello, concurrency=1, buffer_chunked=None) as server,
        Client(server) as client,
        Client(server) as other,
    ):
        for message in (POST % 6 + b"abc", CHUNKED + b"6\r\nabc"):
            client.send(message)
            assert client.response()[2] == b"hello"
            assert other.get() == b"hello"
            rest = b"def" if message.startswith(POST % 6) else b"def\r\n0\r\n\r\n"
            client.send(rest[:1])
            client.send(rest[1:] + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.response()[2] == b"hello"


def test_bodies_that_are_withheld_do_not_hold_all_green_threads_though_the_application_reads_them():
    with serving(echo, concurrency=16, body_timeout=600) as server, ExitStack() as stack:
        slow = [stack.enter_context(Client(server)) for _ in range(40)]
        for client in slow:
            client.send(POST % 3 + b"a")
        other = stack.enter_context(Client(server))
        for _ in range(3):
            assert other.get() == b"GET / "
        assert server._worker.pool.busy <= 3
        for client in slow:
            client.send(b"bc" + POST % 1 + b"d")
        for client in slow:
            assert [client.response()[2] for _ in range(2)] == [b"POST / abc", b"POST / d"]
        assert server._worker.spools.held == 0


def test_a_body_that_is_there_or_larger_than_may_be_stored_is_not_taken_in():
    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    with serving(application, concurrency=1, body_timeout=600, buffer_chunked=100) as server, Client(server) as client:
        client.send(POST % 3 + b"abc")
        assert client.response()[2] == b"ok"
        client.send(POST % 101)
        assert client.response()[2] == b"ok"  # before the body


class Trickle:
    """A connection, in virtual time, whose client sends `pieces`, one each `pause` seconds."""

    def __init__(self, pieces, pause, *, body_timeout, body_min_rate):
        self.worker = self.hub = self
        self.body_timeout, self.body_min_rate = body_timeout, body_min_rate
        self.parser = RequestParser(Limits())
        self.pieces, self.pause = list(pieces), pause
        self.now = 0.0
        self.turn_over = False
        self.due = pause
        self.parser.receive_data(POST % sum(map(len, pieces)))
        head = self.parser.next_event()
        self.body = RequestBody(self, head)

    def clock(self):
        return self.now

    def turn_is_over(self):
        return self.turn_over

    def give_way(self):
        pass

    def take(self, size):
        if self.now < self.due:
            return -1
        self.due = self.now + self.pause
        piece = self.pieces.pop(0)
        self.parser.receive_data(piece)
        return len(piece)

    def take_into(self, buffer):
        if self.now < self.due:
            return -1
        piece = self.pieces[0][: len(buffer)]
        self.pieces[0] = self.pieces[0][len(piece) :]
        if not self.pieces[0]:
            self.due = self.now + self.pause
            del self.pieces[0]
        buffer[: len(piece)] = piece
        self.parser.pass_by(len(piece))
        return len(piece)

    def wait_read(self, timeout):
        if self.now + timeout < self.due:
            self.now += timeout
            raise RequestTimeout
        self.now = self.due

    def read_at_once(self):
        return len(self.body.open().read())

    def read(self, busy=0.0):
        """All of the body, by an application that does something else for `busy` seconds after each piece."""
        size = 0
        while piece := self.body.read_body():
            size += len(piece)
            self.now += busy
        return size


@pytest.mark.parametrize(
    ("count", "octets", "pause", "options"),
    [
        (100, 1, 0.9, {"body_timeout": 1, "body_min_rate": 0}),  # any rate will do
        (100, 900, 0.9, {"body_timeout": 1, "body_min_rate": 1000}),
        (5, 1, 0.19, {"body_timeout": 1, "body_min_rate": 1000}),  # slow, but there within the time
    ],
)
@pytest.mark.parametrize("read", [Trickle.read, Trickle.read_at_once])
def test_a_body_that_comes_fast_enough_may_take_longer_than_the_timeout(count, octets, pause, options, read):
    connection = Trickle([b"x" * octets] * count, pause, **options)
    assert read(connection) == count * octets
    assert connection.now == pytest.approx(count * pause)


@pytest.mark.parametrize(
    ("octets", "pause", "end"),
    [
        (1, 0.9, 1.001),  # in sum the timeout, and a millisecond for each octet that has come
        (100, 0.9, 1.1),
        (500, 0.6, 3.5),  # five pieces in 3 s, and half a second is left of 1 s and 2,500 ms
        (1000, 1.1, 1.0),  # the longest wait for the next bytes
    ],
)
@pytest.mark.parametrize("read", [Trickle.read, Trickle.read_at_once])
def test_a_body_that_comes_too_slowly_ends_with_408(octets, pause, end, read):
    connection = Trickle([b"x" * octets] * 1000, pause, body_timeout=1, body_min_rate=1000)
    with pytest.raises(RequestTimeout):
        read(connection)
    assert connection.now == pytest.approx(end)


DEFAULTS = {"body_timeout": 30, "body_min_rate": 500}


@pytest.mark.parametrize(
    ("octets", "pause", "end"),
    [
        (1, 1.0, 10 + 10 / 500),  # after ten seconds the rate counts
        (250, 1.0, 19.5),  # half of the rate: 10 s, and half a second for each piece that has come
        (1, 40.0, 10.0),
    ],
)
def test_a_body_that_trickles_has_ten_seconds_and_what_the_lowest_rate_gives(octets, pause, end):
    connection = Trickle([b"x" * octets] * 1000, pause, **DEFAULTS)
    with pytest.raises(RequestTimeout):
        connection.read()
    assert connection.now == pytest.approx(end)


@pytest.mark.parametrize("step", ["skip", "take_in"])
@pytest.mark.parametrize(("octets", "end"), [(1, 10 + 10 / 500), (20, 10 + 10 * 20 / 500)])
def test_the_lowest_rate_holds_for_a_body_without_a_green_thread_too(step, octets, end):
    connection = Trickle([b"x" * octets] * 1000, 1.0, **DEFAULTS)
    body = connection.body
    body.spool = Spool(Budget(100_000, 100_000))
    move = getattr(body, step)
    while move() is Progress.WAITING and connection.due <= body.deadline:
        connection.now = connection.due
    assert body.deadline == pytest.approx(end)
    body.close()


@pytest.mark.parametrize("step", ["skip", "take_in"])
def test_what_others_have_left_of_a_turn_is_enough_to_go_on(step):
    """Or a client whose turn comes behind a flood would never have one."""
    connection = Trickle([b"x"] * 3, 0.0, **DEFAULTS)
    connection.turn_over = True
    body = connection.body
    body.spool = Spool(Budget(1000, 1000))
    for _ in range(10):
        if getattr(body, step)() is not Progress.TURN_OVER:
            break
    assert body.state is BodyState.ENDED
    body.close()


def test_time_in_which_the_application_does_not_read_does_not_count():
    """A client cannot send faster than we read."""
    connection = Trickle([b"x" * 100] * 100, 0.0, body_timeout=1, body_min_rate=1000)
    assert connection.read(busy=60.0) == 10_000


def large(environ, start_response):
    start_response("200 OK", [])
    return [b"x" * 4_000_000]  # more than the sockets' buffers hold


@pytest.mark.parametrize("rest", [b"", b"def"])
def test_a_body_is_skipped_too_behind_a_response_that_the_client_takes_slowly(rest):
    with serving(large, concurrency=1, buffer_chunked=None) as server, Client(server) as client:
        client.send(POST % 6 + b"abc" + rest)
        assert client.file.readline() == b"HTTP/1.1 200 OK\r\n"
        client.send((b"" if rest else b"def") + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        while client.file.readline() != b"\r\n":
            pass
        assert len(client.file.read(4_000_000)) == 4_000_000
        assert len(client.response()[2]) == 4_000_000


@pytest.mark.parametrize(
    ("place", "step"), [(Connection, "_skip_body"), (SendBuffer, "_send"), (Lingering, "_discard")]
)
def test_a_defect_in_what_the_hub_does_for_a_connection_ends_that_one_alone(
    place, step, monkeypatch, caplog, quick_sweep
):
    with serving(large, body_timeout=0.05) as server, Client(server) as client, Client(server) as other:
        monkeypatch.setattr(place, step, lambda *_: 1 / 0)
        client.send(POST % 6 + b"abc")
        with contextlib.suppress(ConnectionError):
            while client.socket.recv(1 << 20):
                pass
        for _ in range(1000):
            if "a defect of greenserve" in caplog.text:
                break
            threading.Event().wait(0.01)
        else:
            pytest.fail("the defect is not in the log")
        monkeypatch.undo()
        assert len(other.get()) == 4_000_000


def test_a_body_that_is_not_skipped_in_time_ends_the_connection(quick_sweep):
    with serving(hello, body_timeout=0.05) as server, Client(server) as client:
        client.send(POST % 6)
        assert client.response()[2] == b"hello"
        assert client.at_end()


def test_octets_do_not_prolong_the_time_for_a_body_that_is_skipped(quick_sweep):
    with serving(hello, body_timeout=0.3) as server, Client(server) as client:
        client.send(POST % 60000)
        assert client.response()[2] == b"hello"
        assert trickle_until_the_end(client) == b""


def test_octets_do_not_prolong_the_time_for_a_body_that_is_read(quick_sweep):
    with serving(echo, body_timeout=0.3, concurrency=1) as server:
        with Client(server) as client:
            client.send(POST % 60000)
            assert trickle_until_the_end(client).startswith(b"HTTP/1.1 408 ")
        with Client(server) as client:
            assert client.get() == b"GET / "


def trickle_until_the_end(client: Client) -> bytes:
    """Send octets until the server says something, or ends; return that."""
    client.socket.settimeout(0.05)
    for _ in range(1000):
        try:
            client.send(b"x")
            return client.socket.recv(100)
        except TimeoutError:
            continue
        except ConnectionError:
            return b""
    pytest.fail("the server has patience without bound")


def measure(environ, start_response):
    """Answers the digest of a body that it reads in the way that the path names."""
    file, way = environ["wsgi.input"], environ["PATH_INFO"][1:]
    digest = hashlib.sha256()
    if way == "lines":
        for line in file:
            digest.update(line)
    elif way == "after-a-line":
        digest.update(file.readline() + file.read())
    else:
        while piece := file.read(int(way)):
            digest.update(piece)
    start_response("200 OK", [("Content-Length", "64")])
    return [digest.hexdigest().encode()]


@pytest.mark.parametrize("way", ["-1", "1000", "65536", "400000", "lines", "after-a-line"])
@pytest.mark.parametrize("piece", [10_000, 3_000_000])
def test_a_large_body_is_read_as_it_was_sent_and_what_follows_is_the_next_request(way, piece):
    data = random.Random(1).randbytes(1_000_000)
    message = b"POST /%b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (way.encode(), len(data)) + data
    with serving(measure) as server, Client(server) as client:
        sent = message * 2
        for at in range(0, len(sent), piece):
            client.send(sent[at : at + piece])
        for _ in range(2):
            assert client.response()[2] == hashlib.sha256(data).hexdigest().encode()


@pytest.mark.parametrize("come", [1, 100_000])
def test_a_client_that_leaves_within_a_large_body_is_told_apart_from_its_end(come):
    ends = []

    def application(environ, start_response):
        try:
            ends.append(len(environ["wsgi.input"].read(500_000)))
        except ClientDisconnected as error:
            ends.append(type(error))
            raise

    with serving(application) as server:
        with Client(server) as client:
            client.send(POST % 500_000 + b"x" * come)
            client.socket.shutdown(socket.SHUT_WR)
            client.socket.recv(1000)
        with Client(server) as client:
            client.send(POST % 500_000 + b"x" * 500_000)
            assert client.socket.recv(100).startswith(b"HTTP/1.1 500 ")
    assert issubclass(ends[0], ClientDisconnected)
    assert ends[1] == 500_000


def test_a_large_body_that_is_read_at_once_is_in_memory_once():
    size, peaks = 16_000_000, []
    data = b"x" * size  # before anything is counted

    def application(environ, start_response):
        tracemalloc.start()
        try:
            assert len(environ["wsgi.input"].read(size)) == size
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        return hello(environ, start_response)

    with serving(application) as server, Client(server) as client:
        client.send(POST % size)
        client.send(data)
        assert client.response()[2] == b"hello"
    assert size <= peaks[0] < 1.7 * size  # while it grows, what it holds may have to be moved: from half of its size


def test_a_reader_keeps_its_deadline_while_another_green_thread_writes(quick_sweep):
    errors, written = [], threading.Event()

    def application(environ, start_response):
        def read() -> None:
            try:
                environ["wsgi.input"].read()
            except Exception as error:
                errors.append(type(error).__name__)

        write = start_response("200 OK", [])
        reader = greenserve.spawn(read)
        greenserve.sleep(0)
        write(b"x" * 8_000_000)  # waits for the client
        written.set()
        reader.wait()
        return []

    with serving(application, body_timeout=0.5) as server, Client(server) as client:
        client.send(POST % 5)
        size = 0
        while not written.is_set():
            size += len(client.socket.recv(1 << 20))
        while piece := client.socket.recv(1 << 20):
            size += len(piece)
            if piece.endswith(b"\r\n0\r\n\r\n"):
                break
        assert size > 8_000_000
    assert errors == ["RequestTimeout"]


def test_a_writer_keeps_its_deadline_while_another_green_thread_reads(quick_sweep):
    errors, failed = [], threading.Event()

    def application(environ, start_response):
        def read() -> None:
            with contextlib.suppress(ConnectionError):
                while not failed.is_set():
                    environ["wsgi.input"].read(1)

        write = start_response("200 OK", [])
        greenserve.spawn(read)
        try:
            while True:
                write(b"x" * 1_000_000)
        except Exception as error:
            errors.append(str(error))
            failed.set()
        return []

    with serving(application, write_timeout=0.3, body_min_rate=0) as server, Client(server) as client:
        client.send(POST % 1_000_000)
        while not failed.is_set():  # the client sends, and takes nothing
            try:
                client.send(b"x")
            except ConnectionError:
                break
            failed.wait(0.01)
        assert failed.wait(10)
    assert errors == ["the client took no bytes in time"]


def in_another_os_thread(environ, start_response):
    """Reads and writes in another OS thread, where asked to."""
    if environ["PATH_INFO"] == "/hello":
        greenserve.sleep(0)
        return hello(environ, start_response)
    if environ["PATH_INFO"] == "/write":
        write = start_response("200 OK", [("Content-Length", "8000000")])
        tpool.execute(write, b"x" * 4_000_000)
        tpool.execute(write, b"x" * 4_000_000)
        return []
    try:
        body = tpool.execute(environ["wsgi.input"].read)
    except Exception as error:
        body = type(error).__name__.encode()
    start_response("200 OK", [])
    return [body]


def test_a_body_may_be_read_and_a_response_written_in_another_os_thread():
    with serving(in_another_os_thread) as server:
        done, answers = threading.Event(), []

        def others() -> None:
            with Client(server) as client:
                while not done.is_set():
                    answers.append(client.get("/hello"))

        visitors = [threading.Thread(target=others) for _ in range(4)]
        for visitor in visitors:
            visitor.start()
        for _ in range(20):
            with Client(server) as client:
                client.send(POST % 8 + b"body")
                threading.Event().wait(0.005)  # so that the reader must wait
                client.send(b"body")
                assert client.response()[2] == b"bodybody"
                assert client.get("/write") == b"x" * 8_000_000
        done.set()
        for visitor in visitors:
            visitor.join()
    assert set(answers) == {b"hello"}


def test_errors_reach_a_reader_in_another_os_thread(quick_sweep):
    with serving(in_another_os_thread, body_timeout=0.05) as server, Client(server) as client:
        client.send(POST % 8 + b"body")
        assert client.response()[2] == b"RequestTimeout"
