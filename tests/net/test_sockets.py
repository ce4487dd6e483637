"""listen, connect, wrap_ssl."""

from __future__ import annotations

import errno
import ssl as real_ssl
import threading
from pathlib import Path

import pytest

from greenserve import net
from greenserve.errors import BindError
from greenserve.green import socket
from greenserve.hub import resolver, sleep, spawn
from greenserve.hub.sync.event import Flag
from greenserve.hub.threadpool import ThreadPool
from greenserve.net import sockets

LOCALHOST = Path(__file__).parent.parent / "certificates" / "localhost.pem"


def test_listen_and_connect():
    with net.listen(("127.0.0.1", 0)) as listener, net.connect(listener.getsockname()) as client:
        connection, address = listener.accept()
        with connection:
            assert address == client.getsockname()
            assert client.gettimeout() is None


def test_listen_on_ipv6():
    with net.listen(("[::1]", 0)) as listener:
        assert listener.family == socket.AF_INET6
        with net.connect(("[::1]", listener.getsockname()[1])) as client:
            assert client.family == socket.AF_INET6


def test_a_name_with_several_addresses_reaches_the_one_that_listens():
    with net.listen(("127.0.0.1", 0)) as listener, net.connect(("localhost", listener.getsockname()[1]), timeout=5):
        pass


def test_bind_gives_the_local_address():
    with (
        net.listen(("127.0.0.1", 0)) as listener,
        net.connect(listener.getsockname(), bind=("127.0.0.2", 0)) as client,
    ):
        assert client.getsockname()[0] == "127.0.0.2"


def test_an_address_in_use_is_named():
    with net.listen(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(BindError, match=str(port)) as caught:
            net.listen(("127.0.0.1", port))
        assert caught.value.errno == errno.EADDRINUSE


def test_two_may_share_a_port():
    with net.listen(("127.0.0.1", 0), reuse_port=True) as listener:
        net.listen(listener.getsockname(), reuse_port=True).close()


def test_a_stale_unix_socket_is_replaced_and_a_living_one_is_not(tmp_path):
    path = str(tmp_path / "sock")
    net.listen(path).close()
    with net.listen(path):
        with pytest.raises(BindError):
            net.listen(path)
        net.connect(path).close()


def test_a_file_is_not_taken_for_a_stale_socket(tmp_path):
    path = tmp_path / "file"
    path.write_text("content")
    with pytest.raises(BindError):
        net.listen(str(path))
    assert path.read_text() == "content"


def test_nobody_listens():
    with net.listen(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    with pytest.raises(ConnectionRefusedError):
        net.connect(address)
    with pytest.raises(ConnectionRefusedError):
        net.connect(("localhost", address[1]))


def fake_names(monkeypatch, *targets):
    infos = [(family, socket.SOCK_STREAM, 6, "", address) for family, address in targets]
    monkeypatch.setattr(sockets.socket, "getaddrinfo", lambda *_: infos)


def test_a_dead_address_delays_the_next_but_does_not_prevent_it(monkeypatch):
    monkeypatch.setattr(sockets, "ATTEMPT_DELAY", 0.01)
    real_attempt = sockets._attempt
    hanging = []

    def attempt(family, address, bind, deadline):
        if address[0] == "dead":
            try:
                sleep(1000)
            finally:
                hanging.append("ended")
        return real_attempt(family, address, bind, deadline)

    monkeypatch.setattr(sockets, "_attempt", attempt)
    with net.listen(("127.0.0.1", 0)) as listener:
        fake_names(monkeypatch, (socket.AF_INET6, ("dead", 1)), (socket.AF_INET, listener.getsockname()))
        net.connect(("name", 1)).close()
    sleep(0)
    assert hanging == ["ended"]


def test_of_two_that_get_through_the_second_is_closed(monkeypatch):
    made, both = [], Flag()
    real_attempt = sockets._attempt

    def attempt(*args):
        made.append(sock := real_attempt(*args))
        if len(made) == 2:
            both.set()
        both.wait()
        return sock

    monkeypatch.setattr(sockets, "ATTEMPT_DELAY", 0.0)
    monkeypatch.setattr(sockets, "_attempt", attempt)
    with net.listen(("127.0.0.1", 0)) as listener:
        fake_names(monkeypatch, *[(socket.AF_INET, listener.getsockname())] * 3)
        with net.connect(("name", 1)) as winner:
            assert winner in made
            sleep(0)
            assert [sock for sock in made if sock.fileno() >= 0] == [winner]


def test_families_take_turns_beginning_with_the_preferred():
    infos = [(6, "a"), (6, "b"), (6, "c"), (4, "d")]
    assert [name for _, name in sockets._interleaved(infos)] == ["a", "d", "b", "c"]


def test_wrap_ssl_makes_both_ends():
    left, right = socket.socketpair()
    serving = spawn(net.wrap_ssl, right, server_side=True, certfile=LOCALHOST)
    with net.wrap_ssl(left, server_hostname="localhost", cafile=LOCALHOST) as client, serving.wait() as server:
        client.sendall(b"x")
        assert server.recv(1) == b"x"


def test_wrap_ssl_is_green_with_a_real_context():
    left, right = socket.socketpair()
    context = real_ssl.create_default_context(cafile=LOCALHOST)
    serving = spawn(net.wrap_ssl, right, server_side=True, certfile=LOCALHOST)
    with net.wrap_ssl(left, context, server_hostname="localhost") as client, serving.wait():
        assert isinstance(client, socket.socket)


@pytest.fixture
def slow_lookup(monkeypatch):
    """A resolver that does not answer before the test ends."""
    go_on, real = threading.Event(), resolver._getaddrinfo

    def look_up(host, *args):
        if args[-1] & socket.AI_NUMERICHOST:
            return real(host, *args)
        go_on.wait(30)
        return real("127.0.0.1", *args)

    monkeypatch.setattr(resolver, "_getaddrinfo", look_up)
    monkeypatch.setattr(resolver, "_lookups", resolver.Lookups(ThreadPool(4)))
    yield
    go_on.set()


def test_the_timeout_of_connect_covers_the_lookup(slow_lookup):
    with pytest.raises(TimeoutError, match="timed out"):
        net.connect(("a.name", 1), timeout=0.01)
    with net.listen(("127.0.0.1", 0)) as listener:
        with pytest.raises(TimeoutError, match="timed out"):
            net.connect(listener.getsockname(), bind=("a.name", 0), timeout=0.01)
        with net.connect(listener.getsockname(), timeout=0.01) as client:  # which needs no lookup
            assert client.gettimeout() is None
            sleep(0.02)
