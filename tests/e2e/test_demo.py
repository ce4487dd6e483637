"""The demo as a process of its own, asked by programs."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
import requests

from greenserve.demo.upload import PIECE
from tests.e2e.conftest import StartServer
from tests.e2e.server_process import ServerProcess

TIMEOUT = 30  # seconds, for each read


def reports(server: ServerProcess, path: str, **options: Any) -> list[Any]:
    answer = requests.post(server.url + path, timeout=TIMEOUT, **options)
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def figures(server: ServerProcess) -> Any:
    with requests.get(f"{server.url}/live", stream=True, timeout=TIMEOUT) as feed:
        for line in feed.iter_lines(chunk_size=1, decode_unicode=True):
            if line.startswith("data: "):
                return json.loads(line.removeprefix("data: "))
    return pytest.fail("the feed ended without a figure")


def test_one_process_serves_a_thousand_slow_requests_at_once(start_server: StartServer) -> None:
    server = start_server("demo", "--concurrency", "1100")
    last = reports(server, "/burst?n=1000&seconds=4")[-1]
    assert (last["done"], last["failed"], last["finished"]) == (1000, 0, True)
    assert figures(server)["peak"] == 1000


def test_with_fewer_workers_than_requests_all_are_served_in_turn(start_server: StartServer) -> None:
    server = start_server("demo", "--concurrency", "11")
    last = reports(server, "/burst?n=30&seconds=0.2")[-1]
    assert (last["done"], last["failed"]) == (30, 0)
    assert figures(server)["peak"] == 10  # one worker is the burst's own


def test_a_burst_calls_this_server_whatever_the_host_header_says(start_server: StartServer) -> None:
    server = start_server("demo")
    assert reports(server, "/burst?n=3&seconds=0", headers={"Host": "127.0.0.1:1"})[-1]["done"] == 3


def test_an_open_feed_does_not_hold_up_a_graceful_stop(start_server: StartServer) -> None:
    server = start_server("demo")
    with requests.get(f"{server.url}/live", stream=True, timeout=TIMEOUT) as feed:
        lines = feed.iter_lines(chunk_size=1)
        next(lines)
        server.send_signal(signal.SIGTERM)
        rest = list(lines)
    assert rest[-1:] == [b""]  # it ended after a whole event
    assert server.wait() == 0


def test_an_upload_is_watched_by_another_request(start_server: StartServer) -> None:
    server = start_server("demo")
    with requests.get(f"{server.url}/upload/watch?id=a", stream=True, timeout=TIMEOUT) as watched:
        lines = map(json.loads, watched.iter_lines(chunk_size=1))
        assert next(lines)["state"] == "awaited"
        with server.connect() as peer:
            peer.sendall(b"POST /upload?id=a HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (2 * PIECE))
            peer.sendall(bytes(PIECE))
            half = next(line for line in lines if line["received"])
            assert half == {"received": PIECE, "total": 2 * PIECE, "state": "receiving"}
            peer.sendall(bytes(PIECE))
            assert peer.recv(65536).startswith(b"HTTP/1.1 200")
        assert list(lines)[-1] == {"received": 2 * PIECE, "total": 2 * PIECE, "state": "complete"}


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")
def test_a_burst_through_a_unix_socket_is_refused(tmp_path: Path, start_server: StartServer) -> None:
    place = tmp_path / "demo.sock"
    start_server("demo", bind=(f"unix:{place}",))
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(TIMEOUT)
        peer.connect(str(place))
        peer.sendall(b"POST /burst?n=1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: peer.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 409 ")
    assert b"needs a TCP address" in answer


def test_a_stream_in_progress_is_finished_by_a_graceful_stop(start_server: StartServer) -> None:
    server = start_server("demo")
    with requests.get(f"{server.url}/stream?pieces=4&interval=0.3", stream=True, timeout=TIMEOUT) as answer:
        lines = map(json.loads, answer.iter_lines(chunk_size=1))
        assert next(lines)["number"] == 1
        server.send_signal(signal.SIGTERM)
        assert [line["number"] for line in lines] == [2, 3, 4]
    assert server.wait() == 0
