"""Limits that are the server's, with several workers, by the installed command."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path

import requests

from tests.e2e.server_process import ServerProcess
from tests.waiting import until_blocking

APPLICATION = """
import os, time


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield str(os.getpid()).encode()
    if environ["PATH_INFO"] == "/long":
        time.sleep(60)
"""
REQUEST = b"GET /long HTTP/1.1\r\nHost: localhost\r\n\r\n"
MOST = 8


def test_as_many_connections_as_the_server_may_have_find_a_place_in_some_worker(tmp_path: Path) -> None:
    (tmp_path / "application.py").write_text(APPLICATION)
    arguments = ("application:app", "--workers", "2", "--max-connections", f"{MOST}", "--graceful-timeout", "0")
    with ServerProcess(*arguments, cwd=tmp_path) as server, ExitStack() as stack:

        def all_serve() -> bool:
            with ExitStack() as few:
                sessions = [few.enter_context(requests.Session()) for _ in range(MOST // 2)]
                return len({session.get(server.url, timeout=20).text for session in sessions}) == 2

        until_blocking(all_serve)

        def begun() -> bytes:
            sock = stack.enter_context(socket.create_connection((server.host, server.port), timeout=20))
            sock.sendall(REQUEST)
            return sock.recv(1000).partition(b"\r\n")[0]

        assert [begun() for _ in range(MOST)] == [b"HTTP/1.1 200 OK"] * MOST
        assert begun() == b"HTTP/1.1 503 Service Unavailable"
        server.wait_for_line(rf"max_connections \({MOST // 2} in each of 2 workers\)")
        assert server.stop() == 1, "requests were killed"
