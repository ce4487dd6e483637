"""One connection against a real server: what leaves, what stays open, what is cut."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
import sys
import tempfile
import threading

import pytest

from greenserve import sleep, spawn
from greenserve.errors import ClientDisconnected
from greenserve.hub.core.hub import current_hub
from greenserve.server.phases import Phase
from tests.server.live import Client, echo, hello, serving
from tests.waiting import until_blocking


def test_a_connection_is_kept_for_the_next_request():
    with serving(hello) as server, Client(server) as client:
        assert client.get() == b"hello"
        assert client.get() == b"hello"


def test_pipelined_requests_are_answered_in_order():
    count = 50  # more than one burst
    with serving(echo) as server, Client(server) as client:
        client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(count)))
        assert [client.response()[2] for _ in range(count)] == [b"GET /%d " % number for number in range(count)]


def test_pipelined_requests_give_way_when_their_turn_is_over():
    """By time, not by number: one that computes for a turn is the last of it."""
    rounds = []

    def application(environ, start_response):
        hub = current_hub()
        rounds.append(hub.rounds)
        while not hub.turn_is_over():
            pass
        return hello(environ, start_response)

    count = 30
    with serving(application) as server, Client(server) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * count)
        assert [client.response()[2] for _ in range(count)] == [b"hello"] * count
    assert len(set(rounds)) == count


def test_an_application_that_writes_in_a_green_thread_of_its_own_gives_way():
    rounds = []

    def application(environ, start_response):
        write = start_response("200 OK", [])
        hub = current_hub()

        def write_all() -> None:
            for _ in range(10):
                while not hub.turn_is_over():
                    pass
                write(b"x")
                rounds.append(hub.rounds)

        spawn(write_all).wait()
        return []

    with serving(application) as server, Client(server) as client:
        assert client.get() == b"x" * 10
    assert len(set(rounds)) == 10


def test_a_head_may_come_octet_by_octet():
    with serving(echo) as server, Client(server) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody":
            client.send(bytes([octet]))
        assert client.response()[2] == b"POST /slow body"


def test_a_connection_ends_with_the_last_request_that_it_may_bring():
    with serving(hello, max_requests_per_connection=3) as server:
        for _ in range(2):
            with Client(server) as client:
                client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 5)
                assert [client.response()[1].get("connection") for _ in range(3)] == [None, None, "close"]
                assert client.at_end()


@pytest.mark.parametrize("limit", [0, None])
def test_a_connection_may_bring_any_number_of_requests_where_there_is_no_limit(limit):
    with serving(hello, max_requests_per_connection=limit) as server, Client(server) as client:
        for _ in range(100):
            assert client.get() == b"hello"


def test_a_connection_that_is_idle_keeps_nothing_of_its_requests():
    with serving(echo, buffer_chunked=None) as server, Client(server) as client:
        for request in (b"GET", b"POST"):
            client.send(request + b" / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
            client.response()
            (connection,) = server._worker.connections
            until_blocking(lambda each=connection: each.phase is Phase.IDLE)
            assert connection.cycle is None
            with pytest.raises(ClientDisconnected):
                connection.request  # noqa: B018 - it is asked for


def test_close_is_honoured():
    with serving(hello) as server, Client(server) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        status, fields, body = client.response()
        assert (status, fields["connection"], body) == (200, "close", b"hello")
        assert client.at_end()


def test_http_1_0_closes_unless_asked_to_stay():
    with serving(hello) as server:
        with Client(server) as client:
            client.send(b"GET / HTTP/1.0\r\n\r\n")
            assert client.response()[2] == b"hello"
            assert client.at_end()
        with Client(server) as client:
            for _ in range(2):
                client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                assert client.response()[1]["connection"] == "keep-alive"


def test_a_client_that_shuts_its_side_still_gets_its_answer():
    with serving(hello) as server, Client(server) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        client.socket.shutdown(socket.SHUT_WR)
        assert client.response()[2] == b"hello"
        assert client.at_end()


def test_a_chunked_body_is_decoded():
    with serving(echo) as server, Client(server) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        assert client.response()[2] == b"POST / abcde"
        assert client.get("/next") == b"GET /next "


def test_100_continue_is_sent_when_the_application_reads():
    with serving(echo) as server, Client(server) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert client.response()[0] == 100
        client.send(b"body")
        assert client.response()[2] == b"POST / body"
        assert client.get("/next") == b"GET /next "


def test_100_continue_is_not_sent_when_the_application_does_not_read():
    with serving(hello) as server, Client(server) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        status, fields, _ = client.response()
        assert (status, fields["connection"]) == (200, "close")


def test_a_small_body_that_nobody_read_is_skipped():
    with serving(hello) as server, Client(server) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000)
        assert client.response()[2] == b"hello"
        assert client.get() == b"hello"


def test_a_large_body_that_nobody_reads_ends_the_connection_but_not_the_response():
    with serving(hello) as server, Client(server) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n")
        sender = threading.Thread(target=_send_quietly, args=(client.socket, b"x" * 900000))
        sender.start()
        status, fields, body = client.response()
        sender.join()
        assert (status, fields["connection"], body) == (200, "close", b"hello")


def _send_quietly(sock, data):
    try:
        sock.sendall(data)
    except OSError:
        pass  # the server may stop reading: what matters is that its answer arrives


def test_a_wrong_request_is_refused_and_the_connection_closed():
    with serving(hello) as server, Client(server) as client:
        client.send(b"GET / HTTP/1.1\r\nHost : a\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        status, fields, _ = client.response()
        assert (status, fields["connection"]) == (400, "close")
        assert client.at_end()


def test_a_wrong_chunk_is_answered_400_where_the_application_reads():
    with serving(echo) as server, Client(server) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
        assert client.response()[0] == 400


def test_a_body_over_the_limit_is_answered_413_which_names_the_option(caplog):
    caplog.set_level(logging.INFO, "greenserve")
    with serving(echo, max_body=10) as server:
        for fields in (b"Content-Length: 11\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nb\r\n"):
            with Client(server) as client:
                client.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + fields)
                status, _, text = client.response()
                assert (status, b"max_body, 10 bytes" in text) == (413, True)
    said = [record.getMessage() for record in caplog.records if "413" in record.getMessage()]
    assert len(said) == 2
    assert all(text.endswith("with 413: the body is larger than max_body, 10 bytes") for text in said)


def test_by_default_a_body_may_have_32_mib_and_no_byte_more():
    with serving(echo) as server:
        for length, first in ((32 << 20, b"HTTP/1.1 100"), ((32 << 20) + 1, b"HTTP/1.1 413")):
            with Client(server) as client:
                client.send(
                    b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % length
                )
                assert client.file.read(12) == first


def test_a_megabyte_arrives_whole_at_a_slow_reader():
    body = os.urandom(1 << 20) * 4

    def application(environ, start_response):
        start_response("200 OK", [])
        return [body]

    with serving(application) as server, Client(server) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        assert client.get() == body
        assert client.get() == body


def test_a_file_arrives_whole_by_sendfile():
    content = os.urandom(3 << 20)
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()

        def application(environ, start_response):
            start_response("200 OK", [])
            return environ["wsgi.file_wrapper"](open(file.name, "rb"))

        with serving(application) as server, Client(server) as client:
            assert client.get() == content
            assert client.get() == content


def test_a_stream_is_seen_chunk_by_chunk():
    go_on = threading.Semaphore(0)

    def application(environ, start_response):
        start_response("200 OK", [])
        for number in range(3):
            yield b"%d" % number
            while not go_on.acquire(blocking=False):
                sleep(0.001)

    with serving(application) as server, Client(server) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        while client.file.readline() != b"\r\n":
            pass
        for number in range(3):
            assert client.file.readline() == b"1\r\n"
            assert client.file.readline() == b"%d\r\n" % number
            go_on.release()
        assert client.file.readline() == b"0\r\n"


def test_an_application_error_is_a_500_with_one_traceback_that_names_the_request(caplog):
    def application(environ, start_response):
        raise RuntimeError("the application's own")

    with serving(application) as server, Client(server) as client:
        client.send(b"GET /broken?x HTTP/1.1\r\nHost: a\r\n\r\n")
        status, _, body = client.response()
    assert status == 500
    assert b"the application's own" not in body
    records = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(records) == 1
    assert "GET /broken?x HTTP/1.1" in records[0].getMessage()
    assert records[0].exc_info[0] is RuntimeError


def test_sys_exit_in_a_request_does_not_stop_the_server(caplog):
    def application(environ, start_response):
        if environ["PATH_INFO"] == "/exit":
            sys.exit(3)
        return hello(environ, start_response)

    with serving(application) as server:
        with Client(server) as client:
            client.send(b"GET /exit HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.response()[0] == 500
        with Client(server) as client:
            assert client.get() == b"hello"


def test_an_error_after_the_head_ends_the_connection_within_the_response(caplog):
    def application(environ, start_response):
        start_response("200 OK", [])
        yield b"the beginning"
        raise RuntimeError("too late for a 500")

    with serving(application) as server, Client(server) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.file.read().endswith(b"the beginning\r\n")  # and no last chunk


def test_a_client_that_goes_away_is_an_info_and_no_traceback(caplog):
    caplog.set_level(logging.INFO)
    closed = threading.Event()

    class Body:
        def __iter__(self):
            while True:
                yield b"x" * 65536

        def close(self):
            closed.set()

    def application(environ, start_response):
        start_response("200 OK", [])
        return Body()

    with serving(application) as server:
        with Client(server) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            client.file.readline()
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert closed.wait(10), "the application's iterable was not closed"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert any("went away" in record.getMessage() for record in caplog.records)


def test_half_a_head_is_answered_408_in_time():
    with serving(hello, header_timeout=0.05) as server, Client(server) as client:
        client.send(b"GET / HTTP/1.1\r\nHost:")
        status, _, _ = client.response()
        assert status == 408
        assert client.at_end()


def test_bytes_do_not_prolong_the_head_deadline():
    with serving(hello, header_timeout=0.5) as server, Client(server) as client:
        client.send(b"GET / HTTP/1.1\r\n")
        client.socket.settimeout(0.05)
        with contextlib.suppress(ConnectionError):
            while True:
                client.send(b"a: b\r\n")
                try:
                    answer = client.socket.recv(12)
                except TimeoutError:
                    continue
                assert answer in (b"", b"HTTP/1.1 408")
                break


def test_silence_on_a_new_connection_closes_it_without_a_word():
    with serving(hello, header_timeout=0.05) as server, Client(server) as client:
        assert client.at_end()


def test_an_idle_connection_closes_at_its_deadline():
    with serving(hello, keepalive_timeout=0.05) as server, Client(server) as client:
        assert client.get() == b"hello"
        assert client.at_end()


def test_a_body_that_stops_coming_is_answered_408():
    with serving(echo, body_timeout=0.05) as server, Client(server) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab")
        assert client.response()[0] == 408


def test_a_client_that_takes_nothing_is_cut_off(caplog):
    caplog.set_level(logging.INFO)
    ended = threading.Event()

    def application(environ, start_response):
        start_response("200 OK", [])
        try:
            while True:
                yield b"x" * 65536
        finally:
            ended.set()

    with serving(application, write_timeout=0.05) as server, Client(server) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert ended.wait(10)


def test_slow_heads_cost_no_worker():
    with serving(hello, concurrency=1) as server:
        slow = [Client(server) for _ in range(5)]
        for client in slow:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
        with Client(server) as client:
            assert client.get() == b"hello"
        for client in slow:
            client.send(b"\r\n")
            assert client.response()[2] == b"hello"
            client.close()


def test_at_most_concurrency_requests_are_in_progress():
    running, most = [], []
    go_on = threading.Event()

    def application(environ, start_response):
        running.append(1)
        most.append(len(running))
        while not go_on.is_set():
            sleep(0.001)
        running.pop()
        return hello(environ, start_response)

    with serving(application, concurrency=3) as server:
        clients = [Client(server) for _ in range(8)]
        for client in clients:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        go_on.set()
        assert [client.response()[2] for client in clients] == [b"hello"] * 8
        for client in clients:
            client.close()
    assert max(most) <= 3


def test_a_slow_request_does_not_delay_others():
    go_on = threading.Event()

    def application(environ, start_response):
        while environ["PATH_INFO"] == "/slow" and not go_on.is_set():
            sleep(0.001)
        return hello(environ, start_response)

    with serving(application) as server, Client(server) as slow, Client(server) as quick:
        slow.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        assert quick.get() == b"hello"
        go_on.set()
        assert slow.response()[2] == b"hello"


def test_context_variables_do_not_leak_into_the_next_request():
    from contextvars import ContextVar

    variable = ContextVar("variable", default=b"clean")

    def application(environ, start_response):
        before = variable.get()
        variable.set(b"dirty")
        start_response("200 OK", [])
        return [before]

    with serving(application) as server, Client(server) as client:
        assert [client.get() for _ in range(3)] == [b"clean"] * 3
