"""What waits for a peer, without sockets: its order, the water mark, turns, errors, and what is counted."""

from __future__ import annotations

import os
import tempfile
from collections import deque
from types import SimpleNamespace

import pytest

from greenserve.errors import InvalidResponse
from greenserve.hub import sleep, spawn
from greenserve.net.send_buffer import JOINED_SIZE, SEND_SIZE, FileSlice, SendBuffer

pytestmark = pytest.mark.usefixtures("hub")


class Peer:
    """A transport, its socket and its owner in one: takes what `room` says, and remembers what it was told."""

    def __init__(self, *, low=0):
        self.socket = self.owner = self
        self.descriptor = SimpleNamespace(io=SimpleNamespace(hub=self))
        self.ready = deque()
        self.make_ready = self.ready.append
        self.background = SimpleNamespace(add=lambda call: self.ready.append(SimpleNamespace(switch=call)))
        self.room = 0
        self.pieces, self.told = [], []
        self.over = False  # each turn, at once
        self.error = None
        self.buffer = SendBuffer(self, low)

    def turn_is_over(self):
        return self.over

    def send(self, data, flags):
        if self.error is not None:
            raise self.error
        if not self.room:
            raise BlockingIOError
        data = bytes(data[: self.room])
        self.room -= len(data)
        self.pieces.append(data)
        return len(data)

    def on_writable(self, call):
        self.told.append("writable")

    def on_sent(self):
        self.told.append("sent")

    def on_flushed(self):
        self.told.append("flushed")

    def on_lost(self, error):
        self.told.append(error)
        self.drop(error)

    def drop(self, error):
        buffer, self.buffer = self.buffer, None
        return buffer.give_up(error)

    def flush(self, room):
        """Have it sent, by as many calls of the hub as it takes, to a peer that takes `room` more bytes."""
        self.room = room
        self.ready.append(self.buffer)
        while self.ready:
            self.ready.popleft().switch()


def file_of(content):
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by its test
    file.write(content)
    file.flush()
    return file


def test_what_is_put_in_leaves_in_order_however_little_the_peer_takes():
    peer = Peer()
    buffer = peer.buffer
    for number in range(100):
        buffer.put(b"%02d" % number)
    for _ in range(199):
        peer.flush(1)
        assert peer.told[-2:] == ["writable", "sent"]
    peer.flush(1)
    assert b"".join(peer.pieces) == b"".join(b"%02d" % number for number in range(100))
    assert peer.told[-2:] == ["sent", "flushed"]
    assert peer.buffer is None
    assert buffer.size == buffer.left == 0


def test_small_pieces_leave_together_and_large_ones_uncopied_in_bounded_steps():
    peer = Peer()
    for piece in (b"a", b"b", bytes(JOINED_SIZE), b"c", bytes(2 * SEND_SIZE + 1)):
        peer.buffer.put(piece)
    peer.flush(1 << 30)
    assert [len(piece) for piece in peer.pieces] == [2, JOINED_SIZE, 1, SEND_SIZE, SEND_SIZE, 1]


def test_others_run_between_two_pieces_when_a_turn_is_over():
    peer = Peer()
    peer.over, peer.room = True, 1 << 30
    buffer = peer.buffer
    buffer.put(bytes(JOINED_SIZE))
    buffer.put(bytes(JOINED_SIZE))
    buffer.switch()
    assert len(peer.pieces) == 1
    assert [each.switch for each in peer.ready] == [buffer.switch]


def test_waiters_go_on_below_the_water_mark():
    peer = Peer(low=101)
    peer.buffer.put(bytes(200))
    waiter = spawn(peer.buffer.wait)
    sleep(0)
    peer.flush(99)
    sleep(0)
    assert not waiter.dead
    peer.flush(1)
    waiter.wait()


def test_waiters_that_give_up_leave_nothing_behind():
    peer = Peer()
    peer.buffer.put(bytes(200))
    for _ in range(3):
        waiter = spawn(peer.buffer.wait)
        sleep(0)
        waiter.kill()
    assert not peer.buffer.wake_waiters()
    assert not peer.buffer._waiters


def test_without_a_mark_waiters_go_on_when_nothing_is_left():
    peer = Peer()
    peer.buffer.put(bytes(200))
    waiter = spawn(peer.buffer.wait)
    sleep(0)
    peer.flush(199)
    sleep(0)
    assert not waiter.dead
    peer.flush(1)
    waiter.wait()


@pytest.mark.parametrize("error", [ConnectionResetError("gone"), InvalidResponse("too short"), ZeroDivisionError()])
def test_an_error_is_told_to_the_owner_and_raised_in_the_waiters(error):
    peer = Peer()
    peer.buffer.put(b"x")
    waiter = spawn(peer.buffer.wait)
    waiter.quiet = True
    sleep(0)
    peer.error = error
    peer.flush(1)
    assert peer.told == [error]
    with pytest.raises(type(error)):
        waiter.wait()


def test_giving_up_says_whether_a_green_thread_waited():
    peer = Peer()
    buffer = peer.buffer
    buffer.put(b"x")
    assert not buffer.give_up(None)
    buffer.put(b"x")
    waiter = spawn(buffer.wait)
    sleep(0)
    assert buffer.give_up(None)
    waiter.wait()
    waiter = spawn(buffer.wait)  # there is nothing to wait for any more
    waiter.wait()


def test_what_was_given_up_is_not_sent():
    peer = Peer()
    buffer = peer.buffer
    buffer.put(b"x")
    peer.drop(None)
    peer.room = 1
    buffer.switch()
    assert peer.pieces == []


def test_many_buffers_are_counted_together_from_when_they_are_told_to():
    backlog = SimpleNamespace(unsent=1000)
    peer = Peer()
    buffer = peer.buffer
    buffer.put(bytes(100))
    assert buffer.count_in(backlog)
    assert not buffer.count_in(backlog)
    buffer.put(bytes(10))
    assert backlog.unsent == 1110
    peer.flush(60)
    assert buffer.left == 50
    assert backlog.unsent == 1110, "a piece that was taken in part is in memory as a whole"
    buffer.put(bytes(90_000))
    peer.flush(50)
    assert backlog.unsent == 91_000
    peer.drop(None)
    assert backlog.unsent == 1000


# -- files; a peer that is no plain socket is sent copies


def test_a_slice_of_a_file_leaves_between_bytes_and_is_no_memory():
    with file_of(b"0123456789") as file:
        peer = Peer()
        buffer = peer.buffer
        for piece in (b"<", FileSlice(file.fileno(), 2, 5), b">"):
            buffer.put(piece)
        assert (buffer.size, buffer.left) == (2, 7)
        peer.flush(3)
        assert (buffer.size, buffer.left) == (1, 4)
        peer.flush(100)
        assert b"".join(peer.pieces) == b"<23456>"


def test_a_kept_file_may_be_closed_and_its_copy_is_closed_at_the_end():
    before = len(os.listdir("/proc/self/fd"))
    for flushed in (True, False):
        peer = Peer()
        with file_of(b"0123456789") as file:
            part = FileSlice(file.fileno(), 0, 10)
            part.keep()
        peer.buffer.put(part)
        if flushed:
            peer.flush(10)
            assert peer.pieces == [b"0123456789"]
        else:
            peer.drop(None)
        assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_that_is_shorter_than_it_was_is_an_error():
    with file_of(b"0123456789") as file:
        peer = Peer()
        peer.buffer.put(FileSlice(file.fileno(), 8, 5))
        peer.flush(100)
        assert peer.pieces == [b"89"]
        assert isinstance(peer.told[-1], InvalidResponse)
        assert "3 bytes are missing" in str(peer.told[-1])
