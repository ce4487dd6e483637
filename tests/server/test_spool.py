"""Chunked bodies are taken in whole before the application is called: what is stored, where, and what bounds it."""

from __future__ import annotations

import contextlib
import errno
import logging

import pytest

from greenserve import current_hub
from greenserve.errors import ContentTooLarge
from greenserve.server import spool as module
from greenserve.server import worker as worker_module
from greenserve.server.accesslog import CallLog
from greenserve.server.spool import IN_MEMORY, Budget, NoRoom, Spool
from greenserve.wsgi.body_reader import BodyReader
from tests.server.live import Client, hello, serving

CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
MANY = 1 << 30


@pytest.fixture
def budget():
    return Budget(MANY, MANY)


@pytest.mark.parametrize("size", [0, 1, 1000, IN_MEMORY, IN_MEMORY + 1, 5 * IN_MEMORY])
@pytest.mark.parametrize("piece", [1, 7, 1000, 100_000])
def test_what_is_written_is_read(budget, size, piece):
    size = min(size, 2000 * piece)
    data = bytes(range(256)) * (size // 256 + 1)
    spool = Spool(budget)
    for at in range(0, size, piece):
        spool.write(data[at : min(at + piece, size)])
    spool.complete()
    assert spool.size == budget.held == size
    assert budget.in_memory == (size if size <= IN_MEMORY else 0)
    assert BodyReader(spool).read() == data[:size]
    spool.close()
    spool.close()
    assert (budget.held, budget.in_memory) == (0, 0)


def test_a_body_that_is_given_up_gives_back_what_it_holds(budget):
    for size in (100, 100_000):
        spool = Spool(budget)
        spool.write(b"x" * size)
        spool.close()
        assert (budget.held, budget.in_memory) == (0, 0)


def test_one_body_is_bounded():
    spool = Spool(Budget(10, MANY))
    spool.write(b"x" * 10)
    with pytest.raises(ContentTooLarge) as caught:
        spool.write(b"x")
    assert not isinstance(caught.value, NoRoom)


def test_all_bodies_together_are_bounded():
    budget = Budget(MANY, 10)
    first, second = Spool(budget), Spool(budget)
    first.write(b"x" * 8)
    second.write(b"x" * 2)
    with pytest.raises(NoRoom) as caught:
        second.write(b"x")
    assert dict(caught.value.headers) == {"Retry-After": "30"}
    first.close()
    second.write(b"x" * 8)
    second.close()


def test_when_memory_is_used_up_small_bodies_go_to_files_too(budget):
    budget.in_memory = budget.most_in_memory - 10
    spool = Spool(budget)
    spool.write(b"x" * 10)
    assert budget.in_memory == budget.most_in_memory
    spool.write(b"y" * 10)
    assert budget.in_memory == budget.most_in_memory - 10
    spool.complete()
    assert BodyReader(spool).read() == b"x" * 10 + b"y" * 10
    spool.close()


def test_octets_are_not_kept_one_by_one(budget):
    spool = Spool(budget)
    for _ in range(IN_MEMORY):
        spool.write(b"x")
    assert spool._file.__sizeof__() < 2 * IN_MEMORY
    spool.close()


@pytest.mark.parametrize("broken", ["open", "write", "seek"])
def test_a_disk_that_fails_is_said_and_refuses_the_body(budget, monkeypatch, caplog, broken):
    class Full:
        def write(self, data):
            if broken == "write":
                raise OSError(errno.ENOSPC, "No space left on device")

        def seek(self, position):
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self):
            raise OSError(errno.ENOSPC, "No space left on device")

    def temporary_file():
        if broken == "open":
            raise OSError(errno.EROFS, "Read-only file system")
        return Full()

    monkeypatch.setattr(module, "TemporaryFile", temporary_file)
    spool = Spool(budget)
    with pytest.raises(NoRoom):  # noqa: PT012 - one of the two fails
        spool.write(b"x" * (IN_MEMORY + 1))
        spool.complete()
    spool.close()
    assert (budget.held, budget.in_memory) == (0, 0)
    assert "TMPDIR" in caplog.text


# On a real server


def report(environ, start_response):
    """By CONTENT_LENGTH, as the frameworks read."""
    length = environ.get("CONTENT_LENGTH", "none")
    body = environ["wsgi.input"].read(int(length) if length.isdigit() else 0)
    rest = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    seen = (length, environ.get("HTTP_TRANSFER_ENCODING"), len(body), rest, environ["wsgi.input_terminated"])
    return [repr(seen).encode()]


def chunks(*sizes: int) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (size, b"x" * size) for size in sizes) + b"0\r\n\r\n"


def seen(size: int) -> bytes:
    return repr((str(size), None, size, b"", True)).encode()


@pytest.mark.parametrize("sizes", [(), (1,), (5, 6), (1,) * 1000, (70_000,), (300_000, 300_000)])
def test_a_chunked_body_has_a_length_for_the_application(sizes):
    with serving(report) as server, Client(server) as client:
        for _ in range(2):
            client.send(CHUNKED + chunks(*sizes))
            assert client.response()[2] == seen(sum(sizes))
        assert client.get() == repr(("none", None, 0, b"", True)).encode()
        worker = server._worker
        assert (worker.spools.held, worker.spools.in_memory) == (0, 0)


def test_a_chunked_body_that_comes_octet_by_octet():
    with serving(report) as server, Client(server) as client:
        client.socket.setsockopt(6, 1, 1)  # TCP_NODELAY
        for octet in CHUNKED + chunks(5, 300):
            client.send(bytes([octet]))
        client.send(CHUNKED + chunks(3) + CHUNKED + chunks(4))
        for size in (305, 3, 4):
            assert client.response()[2] == seen(size)


def test_a_chunked_body_that_comes_slowly_holds_no_green_thread():
    with serving(report, concurrency=1) as server, contextlib.ExitStack() as stack:
        slow = [stack.enter_context(Client(server)) for _ in range(3)]
        for client in slow:
            client.send(CHUNKED + b"5\r\nab")
        with Client(server) as other:
            assert other.get() == repr(("none", None, 0, b"", True)).encode()  # though there is one green thread
        for client in slow:
            client.send(b"cde\r\n0\r\n\r\n")
        for client in slow:
            assert client.response()[2] == seen(5)


@pytest.mark.parametrize("early", [b"", b"5\r\nab"])
def test_a_client_that_waits_for_100_continue_gets_it_before_the_body(early):
    with serving(report) as server, Client(server) as client:
        client.send(CHUNKED[:-2] + b"Expect: 100-continue\r\n\r\n" + early)
        if not early:
            assert client.response(body=False)[0] == 100
            client.send(b"5\r\nab")
        client.send(b"cde\r\n0\r\n\r\n")
        assert client.response()[2] == seen(5)


def test_trailers_and_what_follows_are_no_part_of_the_body():
    with serving(report) as server, Client(server) as client:
        client.send(CHUNKED + b"1\r\nx\r\n0\r\nContent-Length: 99\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.response()[2] == seen(1)
        assert client.response()[2] == repr(("none", None, 0, b"", True)).encode()


@pytest.mark.parametrize(
    ("options", "sent", "status"),
    [
        ({"buffer_chunked": 10}, b"b\r\n" + b"x" * 11, 413),
        ({"buffer_chunked_total": 10}, b"b\r\n" + b"x" * 11, 413),
        ({"max_body": 10}, b"b\r\n", 413),
        ({}, b"nonsense\r\n", 400),
        ({}, b"1\r\nxy", 400),
    ],
)
@pytest.mark.parametrize("later", [False, True])
def test_a_body_that_is_refused_reaches_no_application(options, sent, status, later, caplog):
    def application(environ, start_response):
        raise AssertionError("called")

    with serving(application, **options) as server, Client(server) as client:
        client.send(CHUNKED)
        if later:
            with Client(server) as other:  # the hub has turned to the first one when this one is answered
                other.send(b"nonsense\r\n\r\n")
                assert other.response()[0] == 400
        client.send(sent)
        answered, fields, _ = client.response()
        assert answered == status
        assert ("retry-after" in fields) == ("buffer_chunked_total" in options)
        assert client.at_end()
        assert server._worker.spools.held == 0
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_client_that_leaves_in_the_middle_of_a_body_leaves_nothing_behind():
    with serving(hello) as server:
        with Client(server) as client:
            client.send(CHUNKED + b"fffff\r\n" + b"x" * 200_000)
            client.socket.shutdown(1)
            assert client.response()[0] == 400
            assert client.at_end()
        with Client(server) as other:
            assert other.get() == b"hello"
        assert server._worker.spools.held == 0


def test_a_body_that_does_not_come_in_time_is_answered_with_408(monkeypatch):
    monkeypatch.setattr(worker_module, "SWEEP_SECONDS", 0.02)
    with serving(hello, body_timeout=0.05) as server, Client(server) as client:
        client.send(CHUNKED + b"5\r\nab")
        assert client.response()[0] == 408
        assert client.at_end()


def test_a_body_that_trickles_is_ended_too(monkeypatch):
    monkeypatch.setattr(worker_module, "SWEEP_SECONDS", 0.02)
    with serving(hello, body_timeout=0.3) as server, Client(server) as client:
        client.send(CHUNKED + b"fffff\r\n")
        client.socket.settimeout(0.05)
        answer = b""
        for _ in range(200):
            try:
                client.send(b"x")
                answer = client.socket.recv(1000)
                break
            except TimeoutError:
                continue
            except OSError:
                break
        assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_large_body_that_comes_quickly_lets_others_run():
    rounds = []

    def application(environ, start_response):
        rounds.append(current_hub().rounds)
        return hello(environ, start_response)

    with serving(application) as server, Client(server) as client:
        client.get()
        client.send(CHUNKED + b"1\r\nx\r\n" * 100_000 + b"0\r\n\r\n")
        assert client.response()[2] == b"hello"
    assert rounds[1] - rounds[0] > 5


def test_a_server_that_stops_finishes_a_request_whose_body_is_on_its_way():
    with serving(report) as server, Client(server) as client:
        client.send(CHUNKED + b"5\r\nab")
        with Client(server) as other:
            other.get()
        server._worker.hub.call_soon_threadsafe(server._worker.drain)
        client.send(b"cde\r\n0\r\n\r\n")
        status, fields, body = client.response()
        assert (status, body) == (200, seen(5))
        assert fields["connection"] == "close"


def test_a_server_that_is_made_to_stop_says_which_body_was_on_its_way(caplog):
    with serving(report, graceful_timeout=0) as server, Client(server) as client:
        worker = server._worker
        client.send(CHUNKED.replace(b"POST /", b"POST /upload") + b"5\r\nab")
        with Client(server) as other:
            other.get()
        server.stop()
        assert client.at_end()
    assert worker.killed == 1
    assert "POST /upload" in caplog.text


def test_the_access_log_names_a_request_whose_body_was_refused():
    lines = []
    server = serving(report)
    server.access_log = CallLog(lines.append)
    with server, Client(server) as client:
        client.send(CHUNKED.replace(b"POST /", b"POST /upload") + b"nonsense\r\n")
        assert client.response()[0] == 400
    assert len(lines) == 1
    assert '"POST /upload HTTP/1.1" 400 ' in lines[0]


def test_an_application_may_read_the_chunks_as_they_come():
    def application(environ, start_response):
        assert "CONTENT_LENGTH" not in environ
        assert environ["HTTP_TRANSFER_ENCODING"] == "chunked"
        assert environ["wsgi.input_terminated"]
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        while piece := environ["wsgi.input"].read1():
            write(piece)
        return []

    with serving(application, buffer_chunked="none") as server, Client(server) as client:
        client.send(CHUNKED + b"3\r\nabc\r\n")
        while client.file.readline() != b"abc\r\n":
            pass
        client.send(b"3\r\ndef\r\n0\r\n\r\n")
        assert client.file.readline() == b"3\r\n"
        assert client.file.readline() == b"def\r\n"
