"""A server that runs out of memory or descriptors for a moment: it refuses what it has no room for, and goes on."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import threading
from contextlib import ExitStack

import pytest

import greenserve
from greenserve.hub.core.hub import Hub
from greenserve.server import pool as pool_module
from greenserve.server import worker as worker_module
from greenserve.server.admission import RELIEF
from tests.server.live import Client, hello, serving

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def failing_once(function):
    """`function`, but for its first call, for which there is no memory."""
    calls = []

    def wrapper(*args, **kwargs):
        calls.append(args)
        if len(calls) == 1:
            raise MemoryError
        return function(*args, **kwargs)

    return wrapper


def test_a_request_for_whose_green_thread_there_is_no_memory_is_a_503_and_leaves_its_place(monkeypatch):
    with serving(hello, concurrency=1) as server:
        with Client(server) as client:
            monkeypatch.setattr(Hub, "take_carrier", failing_once(Hub.take_carrier))
            client.send(GET)
            assert client.response()[0] == 503
            assert client.at_end()
        for _ in range(2):
            with Client(server) as client:
                assert client.get() == b"hello"


def test_while_memory_is_short_no_more_requests_run_at_once_and_the_others_wait(monkeypatch):
    gate, entered = greenserve.Event(), greenserve.Semaphore(0)

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/waits":
            entered.release()
            gate.wait(30)
        return hello(environ, start_response)

    with serving(app) as server, ExitStack() as stack:
        pool = server._worker.pool
        clients = [stack.enter_context(Client(server)) for _ in range(3)]
        clients[0].send(GET.replace(b"/ ", b"/waits ", 1))
        assert entered.acquire(timeout=30)
        monkeypatch.setattr(pool_module, "_make_reserve", lambda: None)
        monkeypatch.setattr(Hub, "take_carrier", failing_once(Hub.take_carrier))
        clients[1].send(GET)
        assert clients[1].response()[0] == 503
        clients[2].send(GET)  # waits in line: there is one green thread, and for now no more
        while not pool.waiting:
            threading.Event().wait(0.001)
        monkeypatch.undo()  # there is memory again, which the next sweep finds
        assert clients[2].response()[2] == b"hello"
        gate.send()
        assert clients[0].response()[2] == b"hello"


def test_a_connection_for_which_there_is_no_memory_is_closed_and_others_are_accepted(monkeypatch, caplog):
    monkeypatch.setattr(worker_module, "RequestParser", failing_once(worker_module.RequestParser))
    with serving(hello) as server:
        with Client(server) as client:
            assert client.at_end()
        with Client(server) as client:
            assert client.get() == b"hello"
    assert "cannot accept" in caplog.text


SILENT = {
    "new": b"",
    "within a head": b"GET / HTTP/1.1\r\nHos",
    "kept": GET,
    "within a body": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc",
}


@pytest.mark.parametrize("sent", SILENT.values(), ids=SILENT.keys())
def test_when_descriptors_run_out_the_connection_that_is_silent_for_longest_gives_way(sent, caplog):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    options = {"header_timeout": 600, "body_timeout": 600, "keepalive_timeout": 600}
    with serving(hello, **options) as server, ExitStack() as stack:
        silent = [stack.enter_context(Client(server)) for _ in range(RELIEF + 4)]
        for client in silent:
            client.send(sent)
            if b"\r\n\r\n" in sent:
                assert client.response()[2] == b"hello"
        with Client(server) as client:  # those before have been accepted by now
            assert client.get() == b"hello"
        while len(server._worker.connections) > len(silent):  # and this one is to leave no descriptor behind
            threading.Event().wait(0.001)
        fresh = stack.enter_context(socket.socket())
        fresh.settimeout(10)
        greenserve.sleep(0)  # this thread's hub takes its descriptors before there are none left
        held = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 50, hard))
        try:
            with contextlib.suppress(OSError):
                while True:
                    held.append(os.dup(0))
            fresh.connect((server.address.host, server.address.port))
            fresh.sendall(GET)
            assert fresh.recv(12) == b"HTTP/1.1 200"
            if sent != GET:  # how long one has been idle between requests is known to the second alone
                assert silent[0].at_end()
        finally:
            for fd in held:
                os.close(fd)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
