"""The comparison of WebSocket servers: its frames and its judgements, without load."""

from __future__ import annotations

import pytest

from benchmarks import websocket, websocket_load
from benchmarks.results import OURS
from benchmarks.websocket import Cell
from greenserve.websocket import handler
from greenserve.websocket.protocol import Protocol, Role
from tests.server.live import serving


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_its_frames_are_a_clients(size):
    payload = bytes(index & 0xFF for index in range(size))
    protocol = Protocol(Role.SERVER)
    protocol.receive_data(websocket_load.masked(payload))
    assert protocol.next_event() == payload


def test_it_measures_an_echo_and_refuses_another():
    echo = handler(lambda ws: [ws.send(message) for message in ws])
    with serving(echo) as server:
        found = websocket_load.measure(server.address.port, 4, 200, 0.2)
    assert found["messages"] > 0.2 * found["rate"] > 0  # those of the warm-up are counted, too
    assert found["p99_ms"] >= found["p50_ms"] > 0
    wrong = handler(lambda ws: [ws.send(message + b"!") for message in ws])
    with serving(wrong) as server, pytest.raises(OSError, match="echoed"):
        websocket_load.measure(server.address.port, 1, 10, 0.1)


def test_a_server_that_refuses_is_named():
    def application(environ, start_response):
        start_response("404 Not Found", [])
        return []

    with serving(application) as server, pytest.raises(OSError, match="404"):
        websocket_load.opened(server.address.port)


def test_goals_are_judged_on_medians():
    def cell(*values):
        return Cell([{"value": value} for value in values])

    cells = {
        ("echo125", OURS): cell(100.0, 90.0, 110.0),
        ("echo125", "eventlet"): cell(50.0),
        ("echo125", "picows"): cell(200.0),
        ("idle", OURS): cell(10.0),
    }
    lines = websocket.goals(cells)
    assert "met      echo125: 2.00 × eventlet (goal: 2)" in lines
    assert "not met  echo125: 0.50 × picows (goal: 1)" in lines
    assert "not measured  echo16k: websockets" in lines
    assert "met      idle: 10.0 KiB each (goal: 12)" in lines


def test_unknown_names_are_refused():
    with pytest.raises(SystemExit):
        websocket.parsed(["--peers", "nobody"])
