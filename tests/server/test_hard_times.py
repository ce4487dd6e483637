"""A server under stress: a blocked hub, no descriptors left, a stop while requests come."""

from __future__ import annotations

import os
import socket
import threading
import time

import pytest

from greenserve.errors import BindError
from greenserve.server import worker as worker_module
from tests.server.live import Client, echo, hello, serving

BLOCKED = 0.6  # seconds in which the hub does nothing


def spin(environ, start_response):
    """Keeps the whole hub busy, as an application that computes does."""
    if environ["PATH_INFO"] == "/spin":
        end = time.monotonic() + BLOCKED
        while time.monotonic() < end:
            pass
    return echo(environ, start_response)


def test_what_comes_while_the_hub_is_blocked_has_come_in_time(monkeypatch):
    """The deadlines of an idle connection, a head and a body pass while nobody looks; the bytes are there."""
    monkeypatch.setattr(worker_module, "SWEEP_SECONDS", 0.05)
    timeouts = {"header_timeout": 0.3, "body_timeout": 0.3, "keepalive_timeout": 0.3}
    with serving(spin, **timeouts) as server:
        spinner, idle, head, body = (Client(server) for _ in range(4))
        assert idle.get() == b"GET / "
        head.send(b"GET /head HTTP/1.1\r\nHost:")
        body.send(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo")
        spinner.send(b"GET /spin HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.1)  # into the middle of the spin
        idle.send(b"GET /idle HTTP/1.1\r\nHost: a\r\n\r\n")
        head.send(b" a\r\n\r\n")
        body.send(b"dy")
        assert idle.response()[2] == b"GET /idle "
        assert head.response()[2] == b"GET /head "
        assert body.response()[2] == b"POST /body body"
        assert spinner.response()[2] == b"GET /spin "
        for client in (spinner, idle, head, body):
            client.close()


def test_time_in_which_the_hub_is_blocked_does_not_count(monkeypatch):
    """A client that would have sent right after the block is not cut off for what the server did."""
    monkeypatch.setattr(worker_module, "SWEEP_SECONDS", 0.05)
    with serving(spin, body_timeout=0.5) as server, Client(server) as spinner, Client(server) as body:
        body.send(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo")
        spinner.send(b"GET /spin HTTP/1.1\r\nHost: a\r\n\r\n")
        assert spinner.response()[2] == b"GET /spin "
        time.sleep(0.15)  # several sweeps
        body.send(b"dy")
        assert body.response()[2] == b"POST /body body"


def test_a_request_that_is_here_when_the_server_stops_is_answered():
    """Neither those in idle connections nor those in the kernel's queue are lost."""
    entered, go_on = threading.Event(), threading.Event()

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/hold":
            entered.set()
            while not go_on.is_set():  # not green: the hub neither reads nor accepts meanwhile
                time.sleep(0.001)
        return echo(environ, start_response)

    server = serving(application).start()
    idle, holder = Client(server), Client(server)
    assert idle.get() == b"GET / "
    holder.send(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
    assert entered.wait(10)
    idle.send(b"GET /idle HTTP/1.1\r\nHost: a\r\n\r\n")
    fresh = [Client(server) for _ in range(100)]
    for number, client in enumerate(fresh):
        client.send(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
    hub = server._worker.hub
    hub.call_soon_threadsafe(server._worker.drain)
    go_on.set()
    stopper = threading.Thread(target=server.stop)
    stopper.start()
    for number, client in enumerate(fresh):
        status, fields, body = client.response()
        assert (status, fields["connection"], body) == (200, "close", b"GET /%d " % number)
    status, fields, body = idle.response()
    assert (status, fields["connection"], body) == (200, "close", b"GET /idle ")
    assert holder.response()[2] == b"GET /hold "
    for client in (idle, holder, *fresh):
        client.close()
    stopper.join(10)
    assert not stopper.is_alive()


def test_a_path_that_is_another_servers_by_now_is_left_alone(tmp_path):
    path = str(tmp_path / "socket")
    first = serving(hello, bind=f"unix:{path}").start()
    os.unlink(path)
    with serving(hello, bind=f"unix:{path}") as second:
        first.stop()
        with Client(second) as client:
            assert client.get() == b"hello"
    assert not os.path.exists(path)


def test_the_path_of_an_inherited_socket_belongs_to_who_made_it(tmp_path):
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        with serving(hello, bind=f"fd://{listener.fileno()}") as server, Client(server) as client:
            assert client.get() == b"hello"
        assert os.path.exists(path)


def test_a_server_can_start_on_the_port_of_one_that_has_just_stopped():
    with serving(hello) as server, Client(server) as client:
        assert client.get() == b"hello"
        address = str(server.address)
    for _ in range(3):
        with serving(hello, bind=address) as server, Client(server) as client:
            assert client.get() == b"hello"


def test_a_port_is_not_shared_with_a_living_server():
    with serving(hello) as server, pytest.raises(BindError):
        serving(hello, bind=str(server.address)).listen()
