"""Members on real sockets: those that read, those that do not, and those that come and go."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from greenserve import Server, rooms, websocket
from greenserve.websocket.connection import UNSENT_LIMIT
from tests.server.live import Client
from tests.waiting import PATIENCE, until
from tests.wire import upgrade


@websocket.handler
def application(ws: websocket.WebSocket) -> None:
    with rooms.get("everybody").joined(ws):
        for _ in ws:
            pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(application, bind="127.0.0.1:0") as server:
        yield server
    assert server.error is None
    assert rooms.get("everybody").members == []


class Member(Client):
    """A WebSocket in bytes. It reads when it is told to, and no earlier."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self.send(upgrade())
        assert self.head()[0] == 101

    def frame(self) -> tuple[int, bytes]:
        """(opcode, payload) of the next frame; (8, b"") when the connection has ended."""
        head = self.file.read(2)
        if len(head) < 2:
            return 8, b""
        size = head[1]
        if size == 126:
            size = int.from_bytes(self.file.read(2), "big")
        elif size == 127:
            size = int.from_bytes(self.file.read(8), "big")
        return head[0] & 0xF, self.file.read(size)


@pytest.fixture
def join(server: Server) -> Iterator[Callable[[], Member]]:
    """`join()`: one more member."""
    opened: list[Member] = []

    def one_more() -> Member:
        opened.append(Member(server))
        return opened[-1]

    yield one_more
    for member in opened:
        member.close()


def present(count: int) -> None:
    until(lambda: len(rooms.get("everybody")) == count)


def test_who_does_not_read_is_closed_with_1013_and_delays_nobody(join: Callable[[], Member]) -> None:
    room, piece = rooms.get("everybody"), bytes(1 << 18)
    reading, deaf = join(), join()
    present(2)
    sent = 0
    while len(room) == 2:
        room.broadcast(piece)
        sent += 1
        assert reading.frame() == (2, piece)  # at once, whatever the other does
        assert sent * len(piece) < 64 * UNSENT_LIMIT
    room.broadcast(b"goes on")
    assert reading.frame() == (2, b"goes on")
    while (frame := deaf.frame())[0] == 2:
        pass
    opcode, payload = frame
    assert opcode == 8
    assert int.from_bytes(payload[:2], "big") == 1013


def test_members_that_come_and_go_while_it_is_broadcast_leave_nothing_behind(join: Callable[[], Member]) -> None:
    room, done = rooms.get("everybody"), threading.Event()
    staying = join()
    present(1)

    def broadcast() -> None:
        while not done.is_set():
            room.broadcast("tick")
            done.wait(0.002)

    speaker = threading.Thread(target=broadcast)
    speaker.start()
    try:
        for _ in range(30):
            passing = join()
            assert passing.frame() == (1, b"tick")
            passing.close()
    finally:
        done.set()
        speaker.join(PATIENCE)
    present(1)
    assert staying.frame() == (1, b"tick")
    assert rooms.occupied() == [room]
