"""What one request does, and what is left of it: nothing that the next one sees, and nothing that ends the server."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from contextvars import ContextVar

import pytest
from greenlet import GreenletExit

import greenserve
from greenserve.server.accesslog import CallLog
from tests.server.live import Client, hello, serving

WORST = [KeyboardInterrupt, SystemExit, GreenletExit, GeneratorExit, MemoryError, RecursionError, BaseException]


class Lines(list):
    """An access log in a list."""

    def status_of(self, path: str) -> list[int]:
        return [entry["status"] for entry in map(json.loads, self) if entry["path"] == path]


def logging_to(lines: Lines, application, **options):
    server = serving(application, **options)
    server.access_log = CallLog(lines.append, "json")
    return server


class Body:
    """An iterable that raises `error` where it is told to."""

    def __init__(self, error, where):
        self.error, self.where = error, where

    def __iter__(self):
        return self

    def __next__(self):
        if self.where == "iteration":
            raise self.error
        raise StopIteration

    def close(self):
        if self.where == "close":
            raise self.error


def raising(error, where):
    """An application that raises on every path but /hello."""

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/hello":
            return hello(environ, start_response)
        if where == "call":
            raise error
        start_response("200 OK", [])
        return Body(error, where)

    def middleware(environ, start_response):
        if where == "middleware":
            application(environ | {"PATH_INFO": "/hello"}, start_response)
            raise error
        return application(environ, start_response)

    return middleware if where == "middleware" else application


@pytest.mark.parametrize("where", ["call", "middleware", "iteration"])
@pytest.mark.parametrize("error", WORST)
def test_whatever_an_application_raises_is_a_500_and_ends_only_its_request(error, where, caplog):
    lines = Lines()
    with logging_to(lines, raising(error, where), concurrency=1) as server:
        for _ in range(2):  # with one green thread: the second finds it free
            with Client(server) as client:
                client.send(b"GET /fail HTTP/1.1\r\nHost: a\r\n\r\n")
                assert client.response()[0] == 500
        if where != "middleware":
            with Client(server) as client:
                assert client.get("/hello") == b"hello"
    assert lines.status_of("/fail") == [500, 500]
    assert all("GET /fail" in record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR)


@pytest.mark.parametrize("error", WORST)
def test_whatever_close_raises_the_response_is_whole_and_the_connection_goes_on(error, caplog):
    with serving(raising(error, "close"), concurrency=1) as server, Client(server) as client:
        assert client.get("/fail") == b""
        assert client.get("/fail") == b""
        assert client.get("/hello") == b"hello"


@pytest.mark.parametrize("error", [KeyboardInterrupt, GreenletExit, SystemExit])
def test_what_an_application_raises_after_its_head_ends_only_its_connection(error, caplog):
    def application(environ, start_response):
        start_response("200 OK", [])
        yield b"some"
        raise error

    lines = Lines()
    with logging_to(lines, application, concurrency=1) as server:
        for _ in range(2):
            with Client(server) as client:
                client.send(b"GET /fail HTTP/1.1\r\nHost: a\r\n\r\n")
                assert client.file.read().endswith(b"\r\n\r\n4\r\nsome\r\n")  # and no last chunk
    assert lines.status_of("/fail") == [200, 200]


def test_a_log_that_raises_keeps_no_client_from_its_500():
    class Broken(logging.Filter):
        def filter(self, record):
            raise KeyboardInterrupt

    broken = Broken()
    logger = logging.getLogger("greenserve.server")
    logger.addFilter(broken)
    try:
        with serving(raising(ValueError, "call"), concurrency=1) as server:
            for _ in range(2):
                with Client(server) as client:
                    client.send(b"GET /fail HTTP/1.1\r\nHost: a\r\n\r\n")
                    assert client.response()[0] == 500
            with Client(server) as client:
                assert client.get("/hello") == b"hello"
    finally:
        logger.removeFilter(broken)


def test_a_request_that_kills_itself_is_a_500(caplog):
    def application(environ, start_response):
        greenserve.getcurrent().kill()

    lines = Lines()
    with logging_to(lines, application) as server, Client(server) as client:
        client.send(b"GET /fail HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.response()[0] == 500
    assert lines.status_of("/fail") == [500]


def test_a_request_that_the_server_kills_is_a_503_in_answer_and_log(caplog):
    entered = threading.Event()

    def application(environ, start_response):
        entered.set()
        greenserve.sleep(60)

    lines = Lines()
    with logging_to(lines, application, graceful_timeout=0) as server, Client(server) as client:
        client.send(b"GET /long HTTP/1.1\r\nHost: a\r\n\r\n")
        assert entered.wait(10)
        server._worker.hub.call_soon_threadsafe(server._worker.drain)
        assert client.response()[0] == 503
    assert lines.status_of("/long") == [503]


# -- what is left for the next request

variable = ContextVar("variable", default="clean")
attributes = greenserve.local()


class SlowToClose:
    """A whole body whose close() waits until the next request is on its way."""

    def __init__(self, data, may_close):
        self.data, self.may_close = data, may_close

    def __iter__(self):
        return iter([self.data])

    def close(self):
        while not self.may_close.is_set():
            greenserve.sleep(0.001)


def leaking(may_close):
    """Answers what it finds of the request before, and leaves something of its own."""

    def application(environ, start_response):
        found = f"{variable.get()} {getattr(attributes, 'name', 'clean')}".encode()
        variable.set("dirty")
        attributes.name = "dirty"
        start_response("200 OK", [("Content-Length", str(len(found)))])
        return SlowToClose(found, may_close)

    return application


def test_a_request_finds_no_context_variables_and_locals_of_the_one_before_when_pipelined():
    may_close = threading.Event()
    may_close.set()
    with serving(leaking(may_close)) as server, Client(server) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
        assert [client.response()[2] for _ in range(3)] == [b"clean clean"] * 3


def test_a_request_finds_none_when_it_comes_while_the_one_before_is_being_closed():
    may_close = threading.Event()
    with serving(leaking(may_close)) as server, Client(server) as client:
        assert client.get() == b"clean clean"
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        may_close.set()
        assert client.response()[2] == b"clean clean"


def test_a_forgotten_timeout_hits_no_later_request_of_its_connection(caplog):
    def application(environ, start_response):
        if environ["PATH_INFO"] == "/forgets":
            greenserve.Timeout(0.01)
            greenserve.Timeout(0)  # fires at once, and would be raised when the request next waits
            return hello(environ, start_response)
        try:
            for _ in range(20):
                greenserve.sleep(0.002)
        except greenserve.Timeout:
            start_response("500 Internal Server Error", [])
            return [b"hit"]
        return hello(environ, start_response)

    get = b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n"
    with serving(application) as server, Client(server) as client:
        client.send(get % b"/forgets" + get % b"/waits")
        assert [client.response()[2] for _ in range(2)] == [b"hello", b"hello"]
        client.send(get % b"/forgets")
        assert client.response()[2] == b"hello"
        client.send(get % b"/waits")
        assert client.response()[2] == b"hello"


def test_a_running_loop_that_a_request_has_left_is_none_of_the_next_ones():
    """In a process of its own, patched: what C keeps for each OS thread belongs to the request."""
    program = """
import greenserve
greenserve.monkey_patch()
import asyncio, socket, threading

def app(environ, start_response):
    found = asyncio._get_running_loop()
    threading.current_thread()
    asyncio._set_running_loop(asyncio.new_event_loop())
    start_response("200 OK", [("Content-Length", "4")])
    return [b"none" if found is None else b"some"]

with greenserve.Server(app, bind="127.0.0.1:0") as server:
    with socket.create_connection((server.address.host, server.address.port)) as client:
        client.sendall(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n" * 3)
        client.shutdown(socket.SHUT_WR)
        with client.makefile("rb") as file:
            print(file.read().count(b"none"))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False)
    assert done.stdout == "3\n", done.stderr


def test_a_kill_of_a_request_that_is_over_hits_no_later_one():
    threads = []

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/first":
            threads.append(greenserve.getcurrent())
        else:
            assert threads[0].dead
            threads[0].kill()
            greenserve.sleep(0)
        return hello(environ, start_response)

    with serving(application) as server, Client(server) as client:
        client.send(b"GET /first HTTP/1.1\r\nHost: a\r\n\r\nGET /second HTTP/1.1\r\nHost: a\r\n\r\n")
        assert [client.response()[0] for _ in range(2)] == [200, 200]


def test_the_end_of_a_request_ends_what_was_spawned_for_its_life_alone():
    started = []

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/first":
            greenserve.spawn_after_local(0.01, started.append, 1)
        else:
            for _ in range(20):
                greenserve.sleep(0.002)
        return hello(environ, start_response)

    with serving(application) as server, Client(server) as client:
        client.send(b"GET /first HTTP/1.1\r\nHost: a\r\n\r\nGET /second HTTP/1.1\r\nHost: a\r\n\r\n")
        assert [client.response()[0] for _ in range(2)] == [200, 200]
    assert not started
