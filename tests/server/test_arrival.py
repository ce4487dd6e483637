"""What a client does before its first request over TLS, and what the server makes of it."""

from __future__ import annotations

import logging
import socket
import ssl
import struct

import pytest

from greenserve.server import arrival
from greenserve.server.arrival import Handshakes
from tests.server.live import Client, hello
from tests.server.tls_support import TlsClient, client_context, secured
from tests.waiting import until_blocking

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Half(Client):
    """A client that has sent its first flight of a handshake, and reads nothing."""

    def __init__(self, server):
        super().__init__(server)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = client_context().wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.do_handshake()
        self.hello = self.outgoing.read()
        self.send(self.hello)

    def answered(self):
        """Wait for the server's flight."""
        data = self.socket.recv(65536)
        self.incoming.write(data)
        return data

    def complete(self, request=b""):
        """Read and send what is left of the handshake, with a request in the same segment."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.answered()
            else:
                if request:
                    self.tls.write(request)
                self.send(self.outgoing.read())
                return

    def get(self):
        self.tls.write(GET)
        self.send(self.outgoing.read())
        return self.answer()

    def answer(self):
        """Read an answer to its end."""
        answer = b""
        while not answer.endswith(b"hello"):
            try:
                answer += self.tls.read()
            except ssl.SSLWantReadError:
                assert self.answered(), "the server closed the connection"
        return answer


def test_a_request_may_come_with_the_end_of_the_handshake():
    with secured(hello) as server, Half(server) as client:
        client.complete(GET)
        assert client.answer().startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_first_flight_octet_by_octet():
    with secured(hello) as server, Client(server) as plain, Half(server) as half:
        for octet in half.hello:
            plain.send(bytes((octet,)))
        assert plain.socket.recv(1) == b"\x16"


def test_what_does_not_complete_its_handshake_in_time_is_closed(caplog):
    caplog.set_level(logging.INFO)
    with secured(hello, tls_handshake_timeout="0.01") as server:
        with Client(server) as silent, Half(server) as half:
            assert silent.file.read() == b""
            half.file.read()
        until_blocking(lambda: not server._worker.connections)
        assert not server._worker.handshakes.in_progress
    assert ["did not complete" in record.message for record in caplog.records].count(True) == 1


def test_clients_that_only_look_whether_the_port_is_open_are_not_logged(caplog):
    caplog.set_level(logging.INFO)
    with secured(hello) as server:
        for linger in (None, struct.pack("ii", 1, 0)):
            with Client(server) as client:
                if linger:
                    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        with TlsClient(server) as client:
            assert client.get() == b"hello"
        until_blocking(lambda: not server._worker.connections)
    assert not [record for record in caplog.records if "handshake" in record.message]


def test_failures_beyond_some_are_counted_only(monkeypatch, caplog):
    monkeypatch.setattr(arrival, "LINES", 2)
    monkeypatch.setattr(arrival, "LINES_SECONDS", 0.5)
    caplog.set_level(logging.INFO)
    with secured(hello) as server:
        for _ in range(5):
            with Client(server) as client:
                client.send(b"nonsense")
                client.file.read()
        until_blocking(lambda: "3 more connections failed" in caplog.text)
    assert caplog.text.count("the TLS handshake with") == 2


def test_beyond_the_bound_a_new_one_waits_in_line(monkeypatch):
    monkeypatch.setattr(arrival, "MOST", 1)
    with secured(hello) as server, Half(server) as first:
        assert first.answered()
        with Half(server) as second:
            until_blocking(lambda: len(server._worker.handshakes._line) == 1)
            first.complete()
            assert second.answered()
            second.complete()
            assert second.get()
        assert first.get()


def test_beyond_the_bound_the_oldest_gives_way_when_it_is_slow(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(arrival, "MOST", 1)
    monkeypatch.setattr(arrival, "PATIENCE", 0)
    with secured(hello) as server, Half(server) as first:
        assert first.answered()
        with TlsClient(server) as second:
            assert second.get() == b"hello"
        first.file.read()  # to the end
    assert "given up for others" in caplog.text


class Ready:
    """What a line of handshakes needs of a hub."""

    def __init__(self):
        self.calls = []
        self.over = True
        self.make_ready = self.calls.append

    def clock(self):
        return 0.0

    def turn_is_over(self):
        return self.over


class Waiting:
    """An arrival that notes its turn."""

    def __init__(self, begun):
        self.stream = self
        self.owner = self
        self._begun = begun

    def begin(self):
        self._begun.append(self)


def test_one_begins_in_each_round_while_the_hub_has_others_to_serve():
    hub, begun = Ready(), []
    line = Handshakes(hub)
    arrivals = [Waiting(begun) for _ in range(4)]
    for each in arrivals:
        line.add(each)
    assert hub.calls == [line]  # once, however many there are
    arrivals[1].owner = None  # has gone
    line.switch()
    assert begun == arrivals[:1]
    assert hub.calls == [line, line]  # behind all that is ready
    line.switch()
    assert begun == [arrivals[0], arrivals[2]]
    hub.over = False
    line.switch()
    assert begun == [arrivals[0], arrivals[2], arrivals[3]]
    assert hub.calls == [line] * 3  # and no more, since the line is empty


def test_when_the_server_stops_a_begun_handshake_is_served_and_a_silent_one_closed():
    with secured(hello) as server, Client(server) as silent, Half(server) as half:
        assert half.answered()
        until_blocking(lambda: len(server._worker.connections) == 2)
        server._worker.hub.call_soon_threadsafe(server._worker.drain)
        assert silent.file.read() == b""
        half.complete()
        assert b"Connection: close" in half.get()


def test_by_force_handshakes_end_too():
    with secured(hello) as server, Half(server) as half:
        assert half.answered()
        server._worker.hub.call_soon_threadsafe(server._worker.force, "of a test")
        half.file.read()  # to the end


def test_a_shortage_of_descriptors_ends_silent_arrivals(monkeypatch):
    monkeypatch.setattr("greenserve.server.admission.SILENT_SECONDS", -1.0)
    with secured(hello) as server, Client(server) as silent:
        until_blocking(lambda: len(server._worker.connections) == 1)
        server._worker.hub.call_soon_threadsafe(server._worker.admission.relieve)
        assert silent.file.read() == b""
