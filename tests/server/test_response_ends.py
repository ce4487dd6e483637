"""How a response ends when its application does not: in time, with all that was sent, and no part taken for a whole."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import warnings

import pytest

import greenserve
from greenserve.server.accesslog import CallLog
from greenserve.server.stream import Stream
from tests.server.live import Client, hello, serving

SIZE = 3_000_000  # far more than the sockets' buffers hold
GET = b"GET /%s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def all_of(client: Client) -> bytes:
    """What comes until the end, or a reset."""
    data = b""
    try:
        while piece := client.socket.recv(65536):
            data += piece
    except ConnectionResetError:
        data += b"<reset>"
    return data


class Body:
    """A whole body, and a close() that waits, or fails."""

    def __init__(self, pieces, close):
        self.pieces, self.close = pieces, close

    def __iter__(self):
        return iter(self.pieces)


class Held:
    """Has application code wait until the test has seen what it wanted to see."""

    def __init__(self):
        self.seen = threading.Event()

    def wait(self):
        while not self.seen.is_set():
            greenserve.sleep(0.001)


def in_close(held):
    return Body([b"x" * SIZE], held.wait)


def in_iteration(held):
    yield b"x" * SIZE
    held.wait()


def in_iteration_after_pieces(held):
    yield b"x" * (SIZE // 2)
    yield b"x" * (SIZE // 2)
    held.wait()


@pytest.mark.parametrize("body", [in_close, in_iteration, in_iteration_after_pieces])
def test_a_whole_response_is_not_withheld_while_the_application_tidies_up(body):
    held = Held()

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/hello":
            return hello(environ, start_response)
        start_response("200 OK", [("Content-Length", str(SIZE))])
        return body(held)

    with serving(application) as server, Client(server) as client:
        assert client.get() == b"x" * SIZE
        client.send(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
        held.seen.set()
        assert client.response()[2] == b"hello"


def test_a_file_is_not_withheld_either():
    held = Held()
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"x" * 10 * SIZE)
        file.flush()

        def application(environ, start_response):
            start_response("200 OK", [("Content-Length", str(SIZE))])
            pieces = environ["wsgi.file_wrapper"](open(file.name, "rb"))  # noqa: SIM115 - the server closes it
            close = pieces.close
            pieces.close = lambda: (close(), held.wait())
            return pieces

        with serving(application) as server, Client(server) as client:
            assert client.get() == b"x" * SIZE
            held.seen.set()


def fails_in_close(error):
    def fail():
        raise error

    return Body([b"x" * SIZE], fail)


def fails_after_the_last_octet(error):
    yield b"x" * SIZE
    raise error


@pytest.mark.parametrize("body", [fails_in_close, fails_after_the_last_octet])
@pytest.mark.parametrize("error", [RuntimeError, SystemExit, KeyboardInterrupt])
def test_a_failure_after_the_last_octet_cuts_nothing_off(body, error, caplog):
    lines = []

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", str(SIZE))])
        return body(error)

    server = serving(application)
    server.access_log = CallLog(lines.append)
    with server, Client(server) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        assert client.get() == b"x" * SIZE
        assert client.get() == b"x" * SIZE
    assert [line.split()[8:10] for line in lines] == [["200", str(SIZE)]] * 2


def failing(environ, start_response):
    """Fails within its body, whose framing the path says."""
    kind = environ["PATH_INFO"]
    start_response("200 OK", [("Content-Length", str(SIZE + 100))] if kind == "/length" else [])
    for _ in range(SIZE // 1000):
        yield b"x" * 1000
    yield b"LAST WORDS"
    raise RuntimeError("within the body")


@pytest.mark.parametrize("kind", [b"chunked", b"length"])
@pytest.mark.parametrize("pipelined", [b"", b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"])
def test_all_that_was_sent_before_a_failure_arrives(kind, pipelined, caplog):
    with serving(failing) as server, Client(server) as client:
        client.send(b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n" % kind + pipelined)
        data = all_of(client)
        assert data.count(b"x" * 1000) == SIZE // 1000
        assert data.endswith(b"LAST WORDS\r\n" if kind == b"chunked" else b"LAST WORDS")  # and no last chunk


@pytest.mark.parametrize("headers", [[], [("Content-Length", str(20 * SIZE))]], ids=["chunked", "length"])
def test_nothing_follows_a_piece_that_a_timeout_has_interrupted(headers):
    """The client would take it for the rest of that piece."""
    errors, done, piece = [], threading.Event(), b"x" * 10 * SIZE

    def application(environ, start_response):
        write = start_response("200 OK", headers)
        write(b"x")
        with greenserve.Timeout(0.05, False):
            write(piece)
        try:
            write(b"AND MORE")
        except ConnectionError as error:
            errors.append(error)
        done.set()
        return [b"AND MORE"]

    with serving(application) as server, Client(server) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert done.wait(10)
        data = all_of(client)
    assert len(errors) == 1
    assert data.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"MORE" not in data
    assert data.endswith(b"xxx")  # neither a last chunk


def test_where_the_close_is_the_framing_only_a_reset_tells_of_a_failure(caplog):
    def application(environ, start_response):
        start_response("200 OK", [])
        yield b"a part"
        raise RuntimeError("within the body")

    with serving(application) as server, Client(server) as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert all_of(client).endswith(b"<reset>")


def test_a_file_that_becomes_shorter_ends_the_connection_in_order_and_is_logged_once(caplog):
    lines = []
    with tempfile.NamedTemporaryFile() as file:
        file.write(bytes(30_000_000))  # a sparse file is not sent by sendfile
        file.flush()

        def application(environ, start_response):
            start_response("200 OK", [("Content-Length", "30000000")])
            return environ["wsgi.file_wrapper"](open(file.name, "rb"))

        server = serving(application)
        server.access_log = CallLog(lines.append)
        with server, Client(server) as client:
            client.send(GET % b"")
            assert client.file.readline() == b"HTTP/1.1 200 OK\r\n"
            os.truncate(file.name, 1000)
            assert len(client.file.read()) < 30_000_000  # and no reset
            client.close()
    assert len(lines) == 1, lines
    assert "cut short" in caplog.text or "shorter than its Content-Length" in caplog.text


def test_a_connection_ends_for_its_client_though_a_forked_child_has_it_too():
    """RFC 9112 §9.6: what shuts a connection is shutdown; a close does nothing while another process has it."""
    reader, writer = os.pipe()

    def application(environ, start_response):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # since Python 3.12, of a fork beside other OS threads
            if environ["PATH_INFO"] == "/fork" and not os.fork():
                os.close(writer)
                os.read(reader, 1)  # until the test is over
                os._exit(0)
        return hello(environ, start_response)

    try:
        with serving(application, keepalive_timeout=0.05) as server, Client(server) as idle, Client(server) as forker:
            assert idle.get() == b"hello"
            forker.send(GET % b"fork")
            assert forker.response()[2] == b"hello"
            assert forker.at_end()
            assert idle.at_end()
    finally:
        os.close(writer)
        os.close(reader)
        os.wait()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost:", 408),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", 408),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200),
    ],
)
def test_answers_of_all_kinds_arrive_though_the_client_takes_nothing_at_once(sent, status, monkeypatch):
    monkeypatch.setattr(Stream, "write", lambda stream, data: stream.put(data))  # nothing has left
    limits = {"header_timeout": 0.05, "body_timeout": 0.05, "buffer_chunked": 4}
    with serving(hello, **limits) as server, Client(server) as client:
        client.send(sent)
        assert client.response()[0] == status
        if status != 200:
            assert client.at_end()
