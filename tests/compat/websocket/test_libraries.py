"""One application for each library, written as its documentation teaches, under the real command."""

from __future__ import annotations

import os
import urllib.request

import pytest
import socketio
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from .support import ended_well, started, websocket_url

ECHOES = ["simple_websocket_app", "flask_sock_app", "gevent_websocket_app", "eventlet_app", "ws4py_app", "own_app"]


def get(server) -> bytes:
    with urllib.request.urlopen(server.url + "/", timeout=10) as response:
        return response.read()


@pytest.mark.parametrize("module", ECHOES)
def test_its_application_runs_unchanged(module):
    with started(module) as server:
        with connect(websocket_url(server, "/echo")) as first, connect(websocket_url(server, "/echo")) as second:
            for client in (first, second, first):
                for message in ("grüße", b"\x00\xff", "x" * 70_000):
                    client.send(message)
                    assert client.recv(timeout=10) == message
            assert get(server)
        server.wait_for_line(r'"GET /echo HTTP/1.1" 101 ', count=2)
        with connect(websocket_url(server, "/echo")) as client:  # gone without a word
            client.send("x")
            client.recv(timeout=10)
            client.socket.shutdown(2)
        server.wait_for_line(r'"GET /echo HTTP/1.1" 101 ', count=3)
    ended_well(server)


@pytest.mark.parametrize("module", ECHOES)
def test_open_websockets_do_not_hold_up_a_stop(module):
    with started(module) as server, connect(websocket_url(server, "/echo")) as client:
        client.send("x")
        assert client.recv(timeout=10) == "x"
        assert server.stop(timeout=4.5) == 0  # the graceful timeout is 5 s
        with pytest.raises(ConnectionClosed):
            client.recv(timeout=10)
    ended_well(server)


def test_flask_socks_handler_closes_by_returning():
    with started("flask_sock_app") as server, connect(websocket_url(server, "/echo")) as client:
        client.send("close")
        with pytest.raises(ConnectionClosed) as caught:
            client.recv(timeout=10)
        assert caught.value.rcvd.code == 1000
    ended_well(server)


def test_gevent_websockets_attributes_and_ends():
    with started("gevent_websocket_app") as server:
        origin = server.url
        with connect(websocket_url(server, "/about"), origin=origin) as client:
            assert client.recv(timeout=10) == f"/about {origin} None 13 13"
            with pytest.raises(ConnectionClosed) as caught:
                client.recv(timeout=10)
            assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4000, "told")
        with connect(websocket_url(server, "/dead")):
            pass
        server.wait_for_line(r"dead: ")
        with pytest.raises(InvalidStatus) as refused:
            connect(websocket_url(server, "/untouched"))
        assert refused.value.response.status_code == 200
        assert refused.value.response.body == b"not a WebSocket after all"
    ended_well(server)


def test_eventlets_options():
    with started("eventlet_app") as server:
        with connect(websocket_url(server, "/guarded"), subprotocols=["v0", "v1"]) as client:
            assert client.subprotocol == "v1"
            assert client.recv(timeout=10) == "/guarded v1 13"
        with pytest.raises(InvalidStatus) as refused:
            connect(websocket_url(server, "/guarded"), origin="https://evil.example")
        assert refused.value.response.status_code == 403
    ended_well(server)


@pytest.mark.parametrize("transports", [["websocket"], ["polling", "websocket"], ["polling"]], ids="+".join)
def test_flask_socketio_with_pythons_client(transports):
    with started("flask_socketio_app") as server, socketio.SimpleClient() as client:
        client.connect(server.url, transports=transports)
        client.emit("message", "hello")
        assert client.receive(timeout=10) == ["message", "hello"]
        assert client.call("add", {"a": 2, "b": 3}, timeout=10) == 5
        client.emit("join", "room")
        assert client.receive(timeout=10) == ["joined", "room"]
        client.emit("later", "text")
        assert client.receive(timeout=10) == ["done", "text"]
        data = os.urandom(100_000)
        client.emit("message", data)
        assert client.receive(timeout=10) == ["message", data]
        assert client.transport == transports[-1]
        assert get(server) == b"hello"
    assert "Traceback" not in server.output
    assert server.returncode == 0, server.output
