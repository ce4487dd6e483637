"""A transport on a socket pair: what it says without waiting, what it sends by itself, and how it ends."""

from __future__ import annotations

import socket
import threading

import pytest

from greenserve.hub import Timeout, sleep, spawn
from greenserve.hub.core.hub import current_hub
from greenserve.hub.core.ready import Call
from greenserve.hub.spawning import call_in
from greenserve.net import lingering
from greenserve.net.send_buffer import FileSlice
from greenserve.net.transport import Transport
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("hub")

MUCH = 4 << 20  # bytes: more than a socket's buffers take


class Owner:
    """Remembers what it is told. low_water: none."""

    low_water = 0

    def __init__(self):
        self.told = []

    def on_sent(self):
        self.told.append("sent")

    def on_flushed(self):
        self.told.append("flushed")

    def on_lost(self, error):
        self.told.append(type(error))


class Pair:
    """A transport, its owner and its peer's socket, which never waits."""

    def __init__(self):
        ours, self.peer = socket.socketpair()
        ours.setblocking(False)
        self.peer.setblocking(False)
        self.owner = Owner()
        self.transport = Transport(current_hub(), ours, self.owner)

    def read(self, size):
        """As much as the peer is sent, while the hub runs."""
        data = b""
        while len(data) < size:
            try:
                piece = self.peer.recv(1 << 16)
            except BlockingIOError:
                sleep(0.001)
                continue
            if not piece:
                break
            data += piece
        return data


@pytest.fixture
def pair():
    pair = Pair()
    yield pair
    pair.peer.close()
    if pair.transport.owner is not None:
        pair.transport.close()


def test_nothing_bytes_and_the_end_are_told_apart(pair):
    transport = pair.transport
    assert transport.receive(10) is None
    assert transport.drained
    pair.peer.send(b"0123456789abc")
    assert transport.has_data()
    assert transport.receive(10) == b"0123456789"
    assert not transport.drained
    assert transport.receive(10) == b"abc"
    assert transport.drained
    assert not transport.has_data()
    pair.peer.close()
    assert transport.receive(10) == b""


def test_a_short_read_is_not_all_once_the_peer_has_closed(pair):
    """There will be no other edge to tell of the end."""
    pair.peer.send(b"abc")
    pair.peer.shutdown(socket.SHUT_WR)
    sleep(0.001)
    assert pair.transport.receive(10) == b"abc"
    assert not pair.transport.drained


def test_a_call_is_made_when_something_comes(pair):
    came = []
    assert pair.transport.receive(10) is None
    pair.transport.on_readable(Call(came.append, (1,)))
    pair.peer.send(b"x")
    until(lambda: came)


def test_a_green_thread_waits_for_bytes_until_a_deadline_an_error_or_the_end(pair):
    transport, hub = pair.transport, current_hub()
    waiter = spawn(transport.wait_readable)
    sleep(0)
    pair.peer.send(b"x")
    waiter.wait()
    assert transport.receive(10) == b"x"
    with pytest.raises(TimeoutError):
        transport.wait_readable(hub.clock() + 0.01)
    waiter = spawn(transport.wait_readable)
    waiter.quiet = True
    sleep(0)
    transport.interrupt_reader(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        waiter.wait()
    transport.interrupt_reader(ZeroDivisionError())  # nothing waits: harmless
    waiter = spawn(transport.wait_readable)
    waiter.quiet = True
    sleep(0)
    transport.close()
    with pytest.raises(OSError):
        waiter.wait()


def test_another_os_thread_may_wait_for_bytes(pair):
    transport, got = pair.transport, []

    def read():
        while (data := transport.receive(10)) is None:
            transport.wait_readable()
        got.append(data)

    thread = threading.Thread(target=read)
    thread.start()
    sleep(0.01)
    pair.peer.send(b"x")
    until(lambda: got)
    thread.join()


def test_what_the_peer_does_not_take_waits_and_leaves_by_itself(pair):
    transport = pair.transport
    assert transport.write(b"first ")
    assert not transport.write(b"x" * MUCH)
    assert not transport.write(b" last")  # behind it
    assert pair.read(MUCH + 11) == b"first " + b"x" * MUCH + b" last"
    until(lambda: transport.buffer is None)
    assert pair.owner.told[-2:] == ["sent", "flushed"]


@pytest.mark.parametrize("fill", [b"", b"x" * MUCH], ids=["empty", "full"])
def test_two_pieces_leave_together(pair, fill):
    transport = pair.transport
    if fill:
        transport.write(fill)
    assert transport.write_together((b"head ", b"body")) is not bool(fill)
    assert pair.read(len(fill) + 9) == fill + b"head body"
    assert not transport.write_together((b"head ", b"x" * MUCH))
    assert pair.read(MUCH + 5) == b"head " + b"x" * MUCH


@pytest.mark.parametrize("size", [0, 1, 700, 5000])
def test_more_pieces_than_one_call_takes_leave_in_order(pair, size):
    pieces = [b"%04d" % n + b"x" * size for n in range(3000)]
    pair.transport.write_together(pieces)
    assert pair.read(3000 * (size + 4)) == b"".join(pieces)


def test_many_pieces_leave_in_one_call(pair):
    calls = []

    class Counting:
        def sendmsg(self, buffers, *rest):
            calls.append(len(buffers))
            return plain.sendmsg(buffers, *rest)

    plain, pair.transport.socket = pair.transport.socket, Counting()
    try:
        assert pair.transport.write_together([b"piece"] * 500)
    finally:
        pair.transport.socket = plain
    assert calls == [500]
    assert pair.read(2500) == b"piece" * 500


def test_a_file_leaves_within_the_kernel(pair, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"0123456789" * (MUCH // 10))
    with path.open("rb") as file:
        assert pair.transport.write_file(FileSlice(file.fileno(), 1, 3))
        assert pair.read(3) == b"123"
        rest = FileSlice(file.fileno(), 4, MUCH - 10)
        assert not pair.transport.write_file(rest)
        rest.keep()
    assert pair.read(MUCH - 10) == path.read_bytes()[4 : MUCH - 6]


def test_another_os_thread_may_wait_until_its_bytes_have_left(pair):
    transport, done = pair.transport, []

    def write():
        if not transport.write(b"x" * MUCH):
            buffer = transport.buffer
            if buffer is not None:
                buffer.wait()
        done.append(1)

    thread = threading.Thread(target=write)
    thread.start()
    assert pair.read(MUCH) == b"x" * MUCH
    until(lambda: done)
    thread.join()


def test_a_peer_that_goes_is_told_to_the_owner(pair):
    assert not pair.transport.write(b"x" * MUCH)
    pair.peer.close()
    until(lambda: pair.owner.told)
    assert issubclass(pair.owner.told[-1], ConnectionError)
    with pytest.raises(OSError):
        pair.transport.send_all(b"x")


def test_without_an_owner_a_green_thread_sends_it_all(pair):
    sending = spawn(pair.transport.send_all, b"x" * MUCH)
    sleep(0)
    assert not sending.dead
    assert pair.read(MUCH) == b"x" * MUCH
    sending.wait()
    with pytest.raises(TimeoutError):
        pair.transport.send_all(b"x" * MUCH, current_hub().clock() + 0.01)


def test_a_green_thread_that_waits_to_send_can_be_interrupted_and_nothing_is_lost(pair):
    transport = pair.transport
    assert not transport.write(b"x" * MUCH)
    with Timeout(0.01, False):
        transport.buffer.wait()
    assert pair.read(MUCH) == b"x" * MUCH


def test_closing_wakes_a_sender_and_frees_everything(pair):
    transport = pair.transport
    transport.write(b"x" * MUCH)
    sender = spawn(transport.buffer.wait)
    sender.quiet = True
    sleep(0)
    before = len(current_hub().io.descriptors)
    transport.close()
    with pytest.raises(ConnectionAbortedError):
        sender.wait()
    assert (transport.owner, transport.buffer) == (None, None)
    assert len(current_hub().io.descriptors) == before - 1


def test_a_close_out_of_order_is_a_reset():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    ours.setblocking(False)
    Transport(current_hub(), ours).close(in_order=False)
    with client, pytest.raises(ConnectionResetError):
        client.recv(1)


def test_a_socket_given_up_is_the_takers(pair):
    sock = pair.transport.detach()
    pair.peer.send(b"x")
    assert sock.recv(1) == b"x"
    sock.close()


@pytest.mark.parametrize("sent", [b"", b"late", bytes(lingering.LIMIT // 2)])
def test_a_lingering_end_waits_for_the_peers_own(pair, sent):
    ended = []
    pair.transport.shut_writing()
    pair.transport.linger(lambda: ended.append(1))
    assert pair.read(1) == b""
    call_in(current_hub(), _send, pair.peer, sent)
    assert not ended
    pair.peer.close()
    until(lambda: ended)


def test_a_lingering_end_throws_away_so_much_and_no_more(pair):
    ended = []
    pair.transport.linger(lambda: ended.append(1))
    _send(pair.peer, bytes(lingering.LIMIT))
    until(lambda: ended)


def test_a_lingering_end_comes_with_a_reset_too():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    ours.setblocking(False)
    transport, ended = Transport(current_hub(), ours), []
    transport.linger(lambda: ended.append(1))
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    client.close()
    until(lambda: ended)
    transport.close()


def _send(sock, data):
    while data:
        try:
            data = data[sock.send(data) :]
        except BlockingIOError:
            sleep(0.001)
