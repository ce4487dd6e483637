"""Clients that do what the protocol allows and nobody expects, or what it forbids."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import struct
import threading

import pytest

from greenserve import sleep
from greenserve.server.connection import HEAD_READ
from tests.server.live import Client, echo, hello, serving
from tests.waiting import until_blocking


def reset(client: Client) -> None:
    """Close with a reset instead of an orderly end."""
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def test_a_request_that_comes_while_the_one_before_is_in_progress_is_served():
    entered, go_on = threading.Event(), threading.Event()

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/first":
            entered.set()
            while not go_on.is_set():
                sleep(0.001)
        return echo(environ, start_response)

    with serving(application) as server, Client(server) as client:
        client.send(b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n")
        assert entered.wait(10)
        client.send(b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n")
        sleep(0.01)  # the hub sees the bytes while the first request is in progress
        go_on.set()
        assert client.response()[2] == b"GET /first "
        assert client.response()[2] == b"GET /second "


def test_an_end_that_comes_while_a_request_is_in_progress_is_noticed():
    entered, go_on = threading.Event(), threading.Event()

    def application(environ, start_response):
        entered.set()
        while not go_on.is_set():
            sleep(0.001)
        return hello(environ, start_response)

    with serving(application) as server, Client(server) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert entered.wait(10)
        client.socket.shutdown(socket.SHUT_WR)
        sleep(0.01)
        go_on.set()
        assert client.response()[2] == b"hello"
        assert client.at_end()


def test_endless_pipelining_is_read_only_as_fast_as_it_is_answered():
    most = 0

    def application(environ, start_response):
        nonlocal most
        most = max(most, len(environ["greenserve.socket"].connection.stream.parser.trailing_data))
        return hello(environ, start_response)

    request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    count = 20 * HEAD_READ // len(request)
    with serving(application) as server, Client(server) as client:
        sender = threading.Thread(target=client.send, args=(request * count,))
        sender.start()
        for _ in range(count):
            assert client.response()[2] == b"hello"
        sender.join()
    assert HEAD_READ // 2 < most <= 2 * HEAD_READ


def test_pipelining_without_reading_the_answers_stops_at_the_sockets_buffers():
    served, count = 0, 400

    def application(environ, start_response):
        nonlocal served
        served += environ["PATH_INFO"] == "/silent"
        start_response("200 OK", [])
        return [b"x" * 100_000]

    with serving(application) as server, Client(server) as silent:
        silent.send(b"GET /silent HTTP/1.1\r\nHost: a\r\n\r\n" * count)
        with Client(server) as other:
            until_blocking(lambda: served > 1)
            for _ in range(3 * count):
                assert len(other.get()) == 100_000
        assert served < count
        for _ in range(count):
            assert len(silent.response()[2]) == 100_000


def test_a_reset_within_a_body_is_no_error_of_the_application(caplog):
    caplog.set_level(logging.INFO)
    reading = threading.Event()

    def application(environ, start_response):
        reading.set()
        return echo(environ, start_response)

    with serving(application) as server:
        client = Client(server)
        client.send(b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc")
        assert reading.wait(10)
        reset(client)
        until_blocking(lambda: any("POST /up" in record.getMessage() for record in caplog.records))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_an_end_within_a_body_is_no_error_of_the_application(caplog):
    caplog.set_level(logging.INFO)
    with serving(echo) as server, Client(server) as client:
        client.send(b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc")
        client.socket.shutdown(socket.SHUT_WR)
        client.file.read()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_100_continue_never_comes_within_the_response():
    """A client that has seen the final response takes whatever follows for its body."""

    def application(environ, start_response):
        start_response("200 OK", [])
        yield b"begun,"
        yield environ["wsgi.input"].read()

    with serving(application) as server, Client(server) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert client.file.readline() == b"HTTP/1.1 200 OK\r\n"
        while client.file.readline() != b"\r\n":
            pass
        assert client.file.readline() == b"6\r\n"
        assert client.file.readline() == b"begun,\r\n"
        client.send(b"body")  # it may still send it (RFC 9110 §10.1.1)
        assert client.file.read() == b"4\r\nbody\r\n0\r\n\r\n"


def test_100_continue_is_not_sent_to_http_1_0():
    with serving(echo) as server, Client(server) as client:
        client.send(b"POST / HTTP/1.0\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        sleep(0.01)
        client.send(b"body")
        assert client.response()[2] == b"POST / body"


def test_100_continue_is_not_sent_when_the_body_has_come_already():
    with serving(echo) as server, Client(server) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\nbody")
        assert client.response()[::2] == (200, b"POST / body")


def test_a_client_that_leaves_before_there_is_a_status_is_in_the_access_log(tmp_path, caplog):
    path = tmp_path / "access.log"
    post = b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc"
    with serving(echo, access_log=str(path), access_log_format="json") as server:
        with Client(server) as client:
            client.send(post)
            client.socket.shutdown(socket.SHUT_WR)
            assert client.response()[0] == 400
        client = Client(server)
        client.send(post)
        sleep(0.01)
        reset(client)
        until_blocking(lambda: path.read_text().count("\n") == 2)
    entries = map(json.loads, path.read_text().splitlines())
    assert [(entry["path"], entry["status"]) for entry in entries] == [("/up", 400), ("/up", 499)]
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),  # a TLS ClientHello
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",  # the preface of HTTP/2
        b"\x00" * 1000,
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"GET /\r\n",
        b"GET / HTTP/1.1\n\n",
        b"A" * 100_000,
        b"GET /" + b"a" * 100_000,
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: " + b"x" * 100_000,
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 20_000,
        b"\r\n" * 1000,
    ],
    ids=["tls", "h2", "nul", "ssh", "0.9", "lf", "method", "target", "field", "fields", "blank"],
)
def test_what_is_no_request_is_refused_in_time_and_hung_up(sent):
    """`_linger` reads on after the answer: a reset would destroy it on its way."""
    with serving(hello) as server, Client(server) as client:
        client.send(sent)
        status, fields, _ = client.response()
        assert 400 <= status <= 505
        assert fields["connection"] == "close"
        assert client.at_end()


@pytest.mark.parametrize(
    "sent", [b"1;" + b"a" * 1000, b"1;a=b\r\nx\r\n", b"0\r\nX: y\r\n"], ids=["line", "ext", "trailer"]
)
def test_endless_chunk_decorations_are_refused(sent):
    with serving(echo) as server, Client(server) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + sent[:1])
        with contextlib.suppress(OSError):
            for _ in range(20_000):
                client.send(sent[1:] + sent[:1])
        assert client.response()[0] in (400, 431)


def test_an_endless_chunked_body_ends_at_max_body():
    with serving(echo, max_body=100_000) as server, Client(server) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(OSError):
            for _ in range(1000):
                client.send(b"1000\r\n" + b"x" * 4096 + b"\r\n")
        assert client.response()[0] == 413


def test_resets_between_and_within_everything_leave_nothing_behind(caplog):
    caplog.set_level(logging.INFO)

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/big":
            start_response("200 OK", [])
            return (b"x" * 65536 for _ in range(1000))
        return echo(environ, start_response)

    get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    stages = [
        b"",
        b"GET / HT",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n",
        b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n",
        get * 3,
        get * 100 + b"GET ",
        get + b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc",
    ]
    with serving(application) as server:
        worker = server._worker
        for stage in stages * 5:
            client = Client(server)
            client.send(stage)
            reset(client)
        with Client(server) as client:
            assert client.get() == b"GET / "
        until_blocking(lambda: not worker.connections)
        until_blocking(lambda: not worker.pool.busy)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
