"""Which clients are cut off when responses that were not taken hold too much memory; without sockets."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from greenserve.hub.core.originals import get_ident
from greenserve.server import deadlines
from greenserve.server.outstanding import MUCH, SLOW_RATE, Outstanding

LIMIT = 1 << 20


class Buffer:
    """Holds `size` bytes, all of which have still to leave."""

    def __init__(self, size: int, file: int = 0) -> None:
        self.size = size
        self.left = size + file
        self.backlog: Outstanding | None = None

    def count_in(self, backlog: Outstanding) -> bool:
        if self.backlog is not None:
            return False
        self.backlog = backlog
        backlog.unsent += self.size
        return True


class Clients:
    """`left(size)`: a connection with a response. cut: those that were cut off, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, limit: int = LIMIT) -> None:
        background = SimpleNamespace(add=lambda call: call())
        hub = SimpleNamespace(clock=lambda: 0.0, thread_id=get_ident(), background=background)
        self.outstanding = Outstanding(hub, limit)
        self.cut: list[object] = []
        monkeypatch.setattr(deadlines, "cut_off", self._cut_off)

    def left(self, size: int, file: int = 0) -> SimpleNamespace:
        connection = SimpleNamespace(stream=SimpleNamespace(buffer=Buffer(size, file)))
        self.outstanding.add(connection)
        return connection

    def take(self, connection: SimpleNamespace, size: int) -> None:
        connection.stream.buffer.left -= size

    def _cut_off(self, connection: SimpleNamespace, why: str, level: int) -> None:
        self.cut.append(connection)
        buffer, connection.stream.buffer = connection.stream.buffer, None
        self.outstanding.unsent -= buffer.size


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> Clients:
    return Clients(monkeypatch)


def test_beyond_the_limit_those_that_have_taken_least_are_cut_off_and_the_oldest_first(clients: Clients) -> None:
    first, second, third = (clients.left(LIMIT // 4) for _ in range(3))
    clients.take(first, 100)
    fourth = clients.left(LIMIT // 4)
    assert clients.cut == []
    newest = clients.left(LIMIT // 4)
    assert clients.cut == [second, third]
    assert clients.outstanding.unsent <= LIMIT
    assert all(each.stream.buffer is not None for each in (first, fourth, newest))


def test_the_response_that_came_last_is_never_cut_off_for_its_size(clients: Clients) -> None:
    small = clients.left(LIMIT // 2)
    giant = clients.left(3 * LIMIT)
    assert clients.cut == [small]
    assert giant.stream.buffer is not None


def test_when_much_is_held_those_that_take_next_to_nothing_in_a_second_are_cut_off(clients: Clients) -> None:
    slow, quick = (clients.left(LIMIT // MUCH) for _ in range(2))
    clients.outstanding.tick()
    new = clients.left(1000)
    clients.take(slow, SLOW_RATE - 1)
    clients.take(quick, SLOW_RATE)
    clients.outstanding.tick()
    assert clients.cut == [slow]
    assert new.stream.buffer is not None


def test_when_little_is_held_a_client_may_be_slow(clients: Clients) -> None:
    clients.left(LIMIT // MUCH)
    for _ in range(3):
        clients.outstanding.tick()
    assert clients.cut == []


def test_files_hold_no_memory_and_their_clients_stay(clients: Clients) -> None:
    file = clients.left(0, file=1 << 30)
    memory = [clients.left(LIMIT // 2) for _ in range(3)]
    clients.outstanding.tick()
    clients.outstanding.tick()
    assert file.stream.buffer is not None
    assert file not in clients.cut
    assert clients.cut[0] is memory[0]


def test_what_was_taken_is_forgotten(clients: Clients) -> None:
    for _ in range(100):
        connection = clients.left(1000)
        clients.outstanding.unsent -= 1000
        connection.stream.buffer = None
    clients.outstanding.tick()
    assert clients.outstanding._counted == {}
