"""Bodies on a real server: an application that reads or makes one in tiny pieces keeps nobody waiting."""

from __future__ import annotations

import threading

import pytest

from greenserve.hub.core.hub import current_hub
from tests.server.live import Client, serving


def test_an_application_that_reads_a_body_line_by_line_gives_way():
    def application(environ, start_response):
        hub = current_hub()
        body = environ["wsgi.input"]
        lines, rounds = [body.readline()], hub.rounds
        for line in body:
            sum(range(1000))  # it does something with each line
            lines.append(line)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"%d lines, %b" % (len(lines), b"others ran" if hub.rounds > rounds else b"nobody else ran")]

    with serving(application) as server, Client(server) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8000\r\n\r\n" + b"a\n" * 4000)
        assert client.response()[2] == b"4000 lines, others ran"


@pytest.mark.parametrize("how", ["yield", "write"])
def test_an_application_that_sends_nothing_while_it_waits_gives_way(how):
    """It waits in vain, in a loop, for something that another request brings."""
    waiting, brought = threading.Event(), threading.Event()

    def application(environ, start_response):
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        if environ["PATH_INFO"] == "/bring":
            brought.set()
            return [b"brought"]
        if how == "yield":
            return pieces()
        write(b"(")
        waiting.set()
        while not brought.is_set():
            write(b"")
        return [b"done)"]

    def pieces():
        waiting.set()
        while not brought.is_set():
            yield b""
        yield b"(done)"

    with serving(application) as server, Client(server) as client, Client(server) as other:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert waiting.wait(10)
        assert other.get("/bring") == b"brought"
        assert client.response()[2] == b"(done)"
