"""A TlsSocket between two ends that are bytes in memory: each cut of the handshake, each refusal of a send."""

from __future__ import annotations

import os
import random
import socket
import ssl
from types import SimpleNamespace

import pytest

from greenserve.hub.core.poller import READ, WRITE
from greenserve.net.send_buffer import SEND_SIZE
from greenserve.net.tls import PIECE, RECORD, STEP, TlsSocket
from tests.net.test_tls import client_context, server_context


class End:
    """A plain socket without a kernel: what may be received, and how many bytes the peer takes."""

    def __init__(self):
        self.inbox = bytearray()
        self.room = 1 << 30
        self.peer = None
        self.calls = 0
        self.sent = []  # what was to be sent at once, in bytes

    def recv(self, size, flags):
        self.calls += 1
        if not self.inbox:
            raise BlockingIOError
        data = bytes(self.inbox[:size])
        del self.inbox[:size]
        return data

    def send(self, data, flags):
        return self.sendmsg([data], (), flags)

    def sendmsg(self, pieces, ancdata, flags):
        self.sent.append(sum(map(len, pieces)))
        data = b"".join(pieces)[: self.room]
        if not data:
            raise BlockingIOError
        self.room -= len(data)
        self.peer.inbox += data
        return len(data)


def ends():
    """(client, server), each a TlsSocket on an End, before their handshake."""
    plain = End(), End()
    plain[0].peer, plain[1].peer = plain[1], plain[0]
    made = []
    for end, context, name in zip(plain, (client_context(), server_context()), ("localhost", None), strict=True):
        transport = SimpleNamespace(socket=end, descriptor=SimpleNamespace(hangup=False))
        made.append(TlsSocket(transport, context, server_side=name is None, server_hostname=name))
    return made


@pytest.fixture
def pair():
    client, server = ends()
    steps = [client.handshake_step(), server.handshake_step(), client.handshake_step(), server.handshake_step()]
    assert steps == [READ, READ, 0, 0]
    with pytest.raises(BlockingIOError):
        client.recv(1)  # but session tickets
    return client, server


def received(sock):
    try:
        return sock.recv(1 << 24)
    except BlockingIOError:
        return b""


def test_the_first_flight_may_be_cut_anywhere():
    client, server = ends()
    client.handshake_step()
    hello = bytes(server.plain.inbox)
    for cut in range(1, len(hello)):
        server = ends()[1]
        server.plain.inbox += hello[:cut]
        assert server.handshake_step() == READ
        assert not server.plain.peer.inbox
    server.plain.inbox += hello[cut:]
    assert server.handshake_step() == READ
    assert server.plain.peer.inbox


@pytest.mark.parametrize("size", [1, 7, 100])
def test_a_handshake_goes_octet_by_octet(size):
    client, server = ends()
    due = {client, server}
    for _ in range(20_000):
        for sock in (client, server):
            sock.plain.room = size
            if sock in due and sock.handshake_step() == 0:
                due.discard(sock)
        if not due:
            break
    assert not due
    client.plain.room = server.plain.room = 1 << 30
    server.send(b"x")
    assert received(client) == b"x"


def test_a_handshake_says_that_it_waits_for_room():
    client, server = ends()
    client.handshake_step()
    server.plain.room = 10
    assert server.handshake_step() == WRITE
    server.plain.room = 1 << 30
    assert server.handshake_step() == READ


def test_garbage_is_an_error_with_an_alert():
    server = ends()[1]
    server.plain.inbox += b"\x16\x03\x01\x00\x05hello"
    with pytest.raises(ssl.SSLError):
        server.handshake_step()
    assert server.plain.peer.inbox[:1] == b"\x15"


@pytest.mark.parametrize("seed", range(20))
def test_every_byte_arrives_once_and_none_counts_before_all_have_left(pair, seed):
    client, server = pair
    chance = random.Random(seed)
    data = os.urandom(chance.choice([1, 2, RECORD, RECORD + 1, 20 * RECORD, 600_000, 2_500_000]))
    view, got = memoryview(data), b""
    for _ in range(1_000_000):
        server.plain.room = chance.choice([0, 1, 30, 5000, 100_000, 1 << 20])
        try:
            view = view[server.send(view) :]
        except BlockingIOError:
            pass
        got += received(client)
        if not view:
            break
    assert got == data
    assert not server._unsent


@pytest.mark.parametrize("room", [0, 100, 300_000, 600_000, 1 << 30])
@pytest.mark.parametrize(
    "sizes",
    [(0, 5), (5, 0), (100, RECORD - 100), (100, 10**6), (RECORD, 1), (50_000, 50_000), (3, 4, 5), (9, 3 * 10**6)],
)
def test_several_pieces_leave_in_order(pair, sizes, room):
    client, server = pair
    pieces = [os.urandom(size) for size in sizes]
    whole = b"".join(pieces)
    server.plain.room = room
    sent = server.sendmsg(pieces)
    server.plain.room = 1 << 30
    while sent < len(whole):
        sent += server.send(memoryview(whole)[sent:])
    assert received(client) == whole


def test_a_mebibyte_and_its_head_leave_in_two_steps(pair):
    client, server = pair
    server.plain.sent.clear()
    pieces = [b"h" * 200, b"m" * 2**20]
    assert server.sendmsg(pieces) == 200 + 2**20
    assert len(server.plain.sent) == 2
    assert received(client) == b"".join(pieces)


def test_a_peer_that_takes_all_is_given_so_much_at_once_and_no_more(pair):
    """The hub has others to serve."""
    client, server = pair
    assert server.send(bytes(5 * SEND_SIZE)) == SEND_SIZE
    assert len(received(client)) == SEND_SIZE


def test_a_peer_that_takes_nothing_costs_a_step_in_small_pieces(pair):
    """A BIO's memory stays at the most that it held."""
    _, server = pair
    server.plain.room = 0
    view = memoryview(bytes(3 * SEND_SIZE))
    view = view[server.sendmsg([b"h" * 200, view]) - 200 :]
    for _ in range(10):
        with pytest.raises(BlockingIOError):
            server.send(view)
    waiting = [len(piece) for piece in server._unsent]
    assert STEP < sum(waiting) < STEP + 3 * RECORD
    assert max(waiting) < PIECE + 100
    assert not server._outgoing.pending


def test_a_small_request_is_one_receive_and_one_record(pair):
    client, server = pair
    client.send(b"GET / HTTP/1.1\r\n\r\n")
    server.plain.calls = 0
    assert server.recv(1 << 16) == b"GET / HTTP/1.1\r\n\r\n"
    assert server.plain.calls == 1


def test_behind_the_peers_end_a_short_read_is_not_trusted(pair):
    """Of an end that was reported already no event will tell."""
    client, server = pair
    client.send(b"last")
    half = bytes(server.plain.inbox[:10])
    del server.plain.inbox[10:]
    server.descriptor.hangup = True
    answers = iter([half, b""])
    server.plain.recv = lambda size, flags: next(answers)
    assert server.recv(100) == b""


def test_a_look_ahead_takes_nothing_and_is_exact(pair):
    client, server = pair
    flags = socket.MSG_PEEK
    with pytest.raises(BlockingIOError):
        server.recv(1, flags)
    client.send(b"abc")
    rest = bytes(server.plain.inbox[10:])
    del server.plain.inbox[10:]
    with pytest.raises(BlockingIOError):
        server.recv(1, flags)  # a part of a record is nothing yet
    server.plain.inbox += rest
    assert server.recv(1, flags) == server.recv(1, flags) == b"a"
    assert server.recv(2) == b"ab"
    assert server.recv(100) == b"c"


def test_the_end_is_said_when_there_is_room_for_it(pair):
    client, server = pair
    server.plain.shutdown = lambda how: None
    server.plain.room = 0
    with pytest.raises(BlockingIOError):
        server.shutdown(socket.SHUT_WR)
    server.plain.room = 100
    server.shutdown(socket.SHUT_WR)
    assert client.recv(10) == b""
    assert client.descriptor.hangup


def test_a_changed_record_is_an_error(pair):
    client, server = pair
    client.send(b"secret")
    server.plain.inbox[-1] ^= 1
    with pytest.raises(ssl.SSLError):
        server.recv(100)
