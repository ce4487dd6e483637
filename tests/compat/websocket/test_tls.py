"""The same applications over TLS, unchanged: the socket that a library takes speaks it."""

from __future__ import annotations

import pytest
import socketio
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.server.tls_support import LOCALHOST, context_of_two_threads

from .support import ended_well, started, websocket_url
from .test_libraries import ECHOES


def opened(server, path="/echo"):
    return connect(websocket_url(server, path), ssl=context_of_two_threads(), server_hostname="localhost")


@pytest.mark.parametrize("module", ECHOES)
def test_its_application_runs_over_tls(module):
    with started(module, "--tls-cert", LOCALHOST) as server:
        with opened(server) as first, opened(server) as second:
            for client in (first, second, first):
                for message in ("grüße", b"\x00\xff", "x" * 70_000, b"y" * 300_000):
                    client.send(message)
                    assert client.recv(timeout=10) == message
        server.wait_for_line(r'"GET /echo HTTP/1.1" 101 ', count=2)
        with opened(server) as client:  # gone without a word
            client.send("x")
            assert client.recv(timeout=10) == "x"
            client.socket.shutdown(2)
        server.wait_for_line(r'"GET /echo HTTP/1.1" 101 ', count=3)
    ended_well(server)


@pytest.mark.parametrize("module", ECHOES)
def test_open_websockets_over_tls_do_not_hold_up_a_stop(module):
    with started(module, "--tls-cert", LOCALHOST) as server, opened(server) as client:
        client.send("x")
        assert client.recv(timeout=10) == "x"
        assert server.stop(timeout=4.5) == 0  # the graceful timeout is 5 s
        with pytest.raises(ConnectionClosed):
            client.recv(timeout=10)
    ended_well(server)


def test_flask_socketio_upgrades_to_a_websocket_over_tls(monkeypatch):
    for name in ("REQUESTS_CA_BUNDLE", "WEBSOCKET_CLIENT_CA_BUNDLE"):
        monkeypatch.setenv(name, LOCALHOST)
    with (
        started("flask_socketio_app", "--tls-cert", LOCALHOST) as server,
        socketio.SimpleClient(websocket_extra_options={"sslopt": {"context": context_of_two_threads()}}) as client,
    ):
        client.connect(server.url.replace("127.0.0.1", "localhost"), transports=["polling", "websocket"])
        assert client.call("add", {"a": 2, "b": 3}, timeout=10) == 5
        client.emit("message", "x" * 100_000)
        assert client.receive(timeout=10) == ["message", "x" * 100_000]
        assert client.transport == "websocket"
    ended_well(server)
