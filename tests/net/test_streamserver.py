"""Servers for streams and datagrams: their life, their limits, and whose fault an error is."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path
from time import monotonic

import pytest

from greenserve import net
from greenserve.errors import HubError
from greenserve.green import socket, ssl
from greenserve.hub import sleep, spawn
from greenserve.net import streamserver
from greenserve.net.streamserver import DatagramServer, State, StopServe, StreamServer, serve
from tests.waiting import until

LOCALHOST = str(Path(__file__).parent.parent / "certificates" / "localhost.pem")
ANY = ("127.0.0.1", 0)


def echo(sock, address):
    while data := sock.recv(1000):
        sock.sendall(data)


def ask(address, data=b"x"):
    with net.connect(address) as client:
        client.sendall(data)
        return client.recv(1000)


def test_each_connection_has_its_green_thread():
    with StreamServer(ANY, echo) as server:
        clients = [net.connect(server.address) for _ in range(3)]
        for number, client in enumerate(clients):
            client.sendall(b"%d" % number)
        assert [client.recv(10) for client in reversed(clients)] == [b"2", b"1", b"0"]
        assert server.connections == 3
        for client in clients:
            client.close()
        until(lambda: server.connections == 0)


def test_a_callback_can_be_set():
    server = StreamServer(ANY)
    with pytest.raises(HubError, match="no handler"):
        server.start()

    @server.on_connect
    def greet(sock, address):
        sock.sendall(b"hello")

    with server:
        assert ask(server.address) == b"hello"


def test_the_socket_is_closed_after_the_handler():
    with StreamServer(ANY, lambda sock, address: None) as server, net.connect(server.address) as client:
        assert client.recv(1) == b""


def test_a_full_server_leaves_connections_to_the_kernel():
    with StreamServer(ANY, echo, pool=1) as server:
        first, second = net.connect(server.address), net.connect(server.address)
        second.sendall(b"2")
        waiting = spawn(second.recv, 1)
        sleep(0.01)
        assert not waiting.dead
        first.close()
        assert waiting.wait() == b"2"
        second.close()


def test_stopping_waits_for_open_connections():
    server = StreamServer(ANY, echo)
    server.start()
    address = server.address
    client = net.connect(address)
    client.sendall(b"x")
    assert client.recv(1) == b"x"
    stopping = spawn(server.stop)
    until(lambda: server.state is State.STOPPED)
    assert not stopping.dead
    with pytest.raises(ConnectionRefusedError):
        net.connect(address)
    client.close()
    assert stopping.wait() is True


def test_stopping_kills_what_is_left_after_its_time():
    server = StreamServer(ANY, echo)
    server.start()
    with net.connect(server.address) as client:
        until(lambda: server.connections == 1)
        assert server.stop(timeout=0.01) is False
        assert client.recv(1) == b""
    with pytest.raises(HubError, match="stopped"):
        server.start()


def test_a_connection_that_waits_for_room_is_not_served_after_the_stop():
    served = []

    def hold(connection, address):
        served.append(address)
        connection.recv(1)

    server = StreamServer(("127.0.0.1", 0), hold, pool=1)
    server.start()
    first, second = net.connect(server.address), net.connect(server.address)
    while not server.pool.waiting():  # the second is accepted then, and waits for room
        sleep(0)
    server.stop(timeout=0)
    assert second.recv(1) == b""
    assert first.recv(1) == b""
    sleep(0)
    assert len(served) == 1
    first.close()
    second.close()


def test_serving_for_ever_ends_by_stop():
    server = StreamServer(ANY, echo)
    serving = spawn(server.serve_forever)
    until(lambda: server.state is State.SERVING)
    assert ask(server.address) == b"x"
    server.stop()
    serving.wait()


def test_a_handler_stops_the_server():
    def last(sock, address):
        raise StopServe

    listener = net.listen(ANY)
    serving = spawn(serve, listener, last)
    assert ask(listener.getsockname(), b"") == b""
    serving.wait()
    assert listener.fileno() == -1


def test_serve_fails_when_its_listener_does():
    listener = net.listen(ANY)
    serving = spawn(serve, listener, echo)
    serving.quiet = True
    sleep(0)
    listener.close()
    with pytest.raises(OSError) as caught:
        serving.wait()
    assert caught.value.errno == errno.EBADF


def test_our_mistake_is_an_error_with_its_traceback_and_the_server_goes_on(caplog):
    def fail(sock, address):
        raise ZeroDivisionError

    with caplog.at_level(logging.INFO, "greenserve.green"), StreamServer(ANY, fail) as server:
        for _ in range(2):
            assert ask(server.address, b"") == b""
    assert [(record.levelname, record.exc_info[0]) for record in caplog.records] == [("ERROR", ZeroDivisionError)] * 2


def test_a_peers_going_away_is_information_without_traceback(caplog):
    def fail(sock, address):
        raise ConnectionResetError("reset")

    with caplog.at_level(logging.INFO, "greenserve.green"), StreamServer(ANY, fail) as server:
        ask(server.address, b"")
    assert [(record.levelname, record.exc_info) for record in caplog.records] == [("INFO", None)]


def test_want_of_descriptors_is_said_once_and_overcome(caplog, monkeypatch):
    monkeypatch.setattr(streamserver, "PAUSES", (0.001, 0.002))
    real_accept = socket.socket.accept
    failures = [OSError(errno.EMFILE, os.strerror(errno.EMFILE))] * 3 + [OSError(errno.ECONNABORTED, "gone")]

    def accept(self):
        if failures:
            raise failures.pop(0)
        return real_accept(self)

    monkeypatch.setattr(socket.socket, "accept", accept)
    with caplog.at_level(logging.INFO, "greenserve.green"), StreamServer(ANY, echo) as server:
        assert ask(server.address) == b"x"
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "ulimit -n" in caplog.text


def test_many_connections_at_once_leave_others_their_turn():
    with StreamServer(ANY, echo) as server:
        clients = [net.connect(server.address) for _ in range(128)]
        until(lambda: server.connections == len(clients))
        for client in clients:
            client.close()


@pytest.fixture
def context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(LOCALHOST)
    return context


def test_a_peer_that_does_not_shake_hands_delays_nobody(context, caplog):
    caplog.set_level(logging.INFO, "greenserve.green")
    with StreamServer(ANY, echo, ssl_context=context, handshake_timeout=0.2) as server:
        silent = net.connect(server.address)
        until(lambda: server.connections == 1)
        tls = net.wrap_ssl(net.connect(server.address), server_hostname="localhost", cafile=LOCALHOST)
        with tls:
            tls.sendall(b"x")
            assert tls.recv(1) == b"x"
            assert tls.gettimeout() is None
        assert silent.recv(1) == b""
        silent.close()
    assert "TLS handshake: " in caplog.text


def test_a_wrapped_listener_serves_tls(context):
    listener = net.wrap_ssl(net.listen(ANY), context, server_side=True)
    with (
        StreamServer(listener, echo) as server,
        net.wrap_ssl(net.connect(server.address), server_hostname="localhost", cafile=LOCALHOST) as tls,
    ):
        tls.sendall(b"x")
        assert tls.recv(1) == b"x"


def test_datagrams_are_answered(caplog):
    def answer(data, address):
        if data == b"bad":
            raise ZeroDivisionError
        server.sendto(data.upper(), address)

    with DatagramServer(ANY, answer) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
        client.sendto(b"bad", server.address)
        client.sendto(b"question", server.address)
        assert client.recv(100) == b"QUESTION"
    assert "ZeroDivisionError" in caplog.text


def test_a_datagram_stops_the_server():
    def stop(data, address):
        raise StopServe

    server = DatagramServer(ANY, stop)
    serving = spawn(server.serve_forever)
    until(lambda: server.state is State.SERVING)
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.sendto(b"", server.address)
        serving.wait()


def test_datagrams_that_wait_already_leave_others_their_turn():
    received, ran, waiting = [], [], 100
    server = DatagramServer(ANY, lambda data, address: None)

    def receive(length):
        received.append(length)
        if len(received) >= waiting:
            server.state = State.STOPPED
        until_then = monotonic() + 0.0005
        while monotonic() < until_then:
            pass
        return b"", ANY

    server.socket = Receiving(receive, server.socket)
    with server:
        spawn(lambda: ran.append(len(received)))
        until(lambda: server.state is State.STOPPED)
    server.socket.close()
    assert ran[0] < waiting


class Receiving:
    """A bound socket whose `recvfrom` is `receive`."""

    def __init__(self, receive, sock):
        self.recvfrom = receive
        self.close = sock.close
        self.getsockname = sock.getsockname


def nonblocking(sock):
    sock.setblocking(False)
    return sock


def impatient(sock):
    sock.settimeout(0.001)
    return sock


@pytest.mark.parametrize("prepare", [nonblocking, impatient])
def test_a_listener_that_does_not_block_is_waited_for_all_the_same(prepare, caplog):
    listener = prepare(net.listen(ANY))
    with StreamServer(listener, echo) as server:
        sleep(0.02)  # others run
        assert ask(server.address) == b"x"
        assert ask(server.address) == b"x"
    with prepare(net.listen(ANY)) as another:
        serving = spawn(serve, another, echo)
        assert ask(another.getsockname()) == b"x"
        serving.kill()
    assert not caplog.records


@pytest.mark.parametrize("prepare", [nonblocking, impatient])
def test_a_datagram_socket_that_does_not_block_is_waited_for_all_the_same(prepare, caplog):
    server = DatagramServer(prepare(net.bind(ANY)))
    server.on_connect(server.sendto)
    with server, socket.socket(type=socket.SOCK_DGRAM) as client:
        sleep(0.02)
        client.sendto(b"x", server.address)
        assert client.recv(1) == b"x"
    assert not caplog.records


def test_the_end_of_a_server_that_waits_with_a_nonblocking_socket_is_no_error():
    for server in (
        StreamServer(nonblocking(net.listen(ANY)), echo),
        DatagramServer(nonblocking(net.bind(ANY)), echo),
    ):
        server.start()
        sleep(0.001)
        assert server.stop()
        server.join()


@pytest.mark.parametrize("number", [errno.ENETDOWN, errno.EPERM, errno.EOPNOTSUPP, errno.ENOBUFS])
@pytest.mark.parametrize("kind", ["stream", "datagram"])
def test_a_failure_that_lasts_is_said_once_and_met_with_pauses(kind, number, caplog, monkeypatch):
    pauses, failures = [], 30

    def fail(self, *_):
        nonlocal failures
        failures -= 1
        if failures:
            raise OSError(number, os.strerror(number))
        raise OSError(errno.EBADF, "closed")

    monkeypatch.setattr(streamserver, "sleep", pauses.append)
    monkeypatch.setattr(socket.socket, "accept", fail)
    monkeypatch.setattr(socket.socket, "recvfrom", fail)
    server = StreamServer(ANY, echo) if kind == "stream" else DatagramServer(ANY, echo)
    with caplog.at_level(logging.INFO, "greenserve.green"), pytest.raises(OSError, match="closed"):
        server.serve_forever()
    assert len(pauses) == 29
    assert pauses[-1] == streamserver.PAUSES[1]
    assert sum(pauses) > 10
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert ("accept" in caplog.text) is (kind == "stream")


def test_a_failure_of_one_peer_costs_no_pause(caplog, monkeypatch):
    pauses, real_recvfrom = [], socket.socket.recvfrom
    failures = [OSError(errno.ECONNREFUSED, "nobody there")] * 3

    def receive(self, *args):
        if failures:
            raise failures.pop()
        return real_recvfrom(self, *args)

    monkeypatch.setattr(streamserver, "sleep", pauses.append)
    monkeypatch.setattr(socket.socket, "recvfrom", receive)
    server = DatagramServer(ANY)
    server.on_connect(server.sendto)
    with server, socket.socket(type=socket.SOCK_DGRAM) as client:
        client.sendto(b"x", server.address)
        assert client.recv(1) == b"x"
    assert pauses == [0, 0, 0]
    assert not caplog.records
