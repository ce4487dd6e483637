"""What one of several workers has of the server's limits."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.server import machine
from greenserve.server.member import Limits, Member
from greenserve.server.share import share
from greenserve.settings import OPTIONS, Settings
from greenserve.supervisor.table import Cell, State, Table
from tests.documents import DOCS

MIB, GIB = 1 << 20, 1 << 30
# Of each worker, or of the server where several processes make no difference. A new setting has to be put into one of
# these: what is its limit worth, if each of eight workers has it?
DIVIDED = {
    *("max_connections", "max_connections_per_client", "max_unsent", "ws_max_memory"),
    *("buffer_chunked_total", "workers"),  # and how many there are
}


def test_alone_a_worker_has_all() -> None:
    settings = Settings(workers=4)
    assert share(settings, 1) is settings


def test_only_what_is_divided_differs_and_nothing_grows() -> None:
    settings = Settings(max_connections=1000, max_connections_per_client=100, max_unsent=GIB)
    part = share(settings, 8)
    changed = {name for name in OPTIONS if getattr(part, name) != getattr(settings, name)}
    assert changed == DIVIDED
    assert all(getattr(part, name) <= getattr(settings, name) for name in DIVIDED - {"workers"})


@given(st.integers(2, 256), st.integers(1, 10**6))
def test_all_parts_together_are_what_the_server_may_have(workers: int, most: int) -> None:
    part = share(Settings(max_connections=most, max_unsent=most), workers)
    for one in (part.max_connections, part.max_unsent):
        assert one is not None
        assert 0 <= workers * one - most < workers  # rounded up


def test_automatic_limits_are_parts_of_the_memory_but_open_files_are_each_processs_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "memory", lambda: 8 * GIB)
    monkeypatch.setattr(machine, "open_files", lambda: 1 << 30)
    alone, part = machine.connections(65536), share(Settings(), 4)
    assert part.max_connections == alone // 4
    assert part.max_unsent == GIB // 4
    assert part.max_connections_per_client is None, "a quarter of the part"
    monkeypatch.setattr(machine, "open_files", lambda: 1024)
    assert share(Settings(), 4).max_connections == machine.connections(65536) == 922


@pytest.mark.parametrize(
    ("workers", "messages", "body"),
    [(4, 32 * MIB, GIB), (8, 16 * MIB, GIB), (64, 4 * MIB, GIB)],
)
def test_a_worker_can_take_the_largest_body_and_some_of_the_largest_messages(
    workers: int, messages: int, body: int
) -> None:
    part = share(Settings(), workers)
    assert (part.ws_max_memory, part.buffer_chunked_total) == (messages, body)
    part = share(Settings(ws_max_memory=None, buffer_chunked=None), workers)
    assert (part.ws_max_memory, part.buffer_chunked_total) == (None, 4 * GIB // workers)
    part = share(Settings(ws_max_memory=MIB, buffer_chunked_total=MIB), workers)
    assert (part.ws_max_memory, part.buffer_chunked_total) == (MIB, MIB), "never more than the whole"


@pytest.mark.parametrize(("whole", "workers", "part"), [(20, 4, 12), (1000, 4, 298), (2, 8, 2), (1, 2, 1)])
def test_a_client_may_by_chance_have_more_of_one_worker(whole: int, workers: int, part: int) -> None:
    assert share(Settings(max_connections_per_client=whole), workers).max_connections_per_client == part


class FakeWorker(SimpleNamespace):
    """So many connections and requests in progress, of at most so many connections."""

    def __init__(self, connections: int, busy: int, most: int) -> None:
        super().__init__(connections=range(connections))
        self.pool = SimpleNamespace(busy=busy)
        self.admission = SimpleNamespace(most=most)


def beside(connections: int, requests: int, *, of: FakeWorker) -> Member:
    """`of` as a member, beside another one that has so much."""
    table = Table(3)
    for slot in (table[1], table[2]):
        slot[Cell.STATE] = State.READY
        slot.beat()
    table[2][Cell.CONNECTIONS], table[2][Cell.REQUESTS] = connections, requests
    table[0][Cell.LAST] = 2
    member = Member(table, table[1], None, Limits())  # type: ignore[arg-type]
    member._worker = of
    return member


def test_a_full_worker_leaves_connections_to_one_with_room_as_long_as_there_is_room() -> None:
    member = beside(3, 50, of=FakeWorker(4, 0, most=4))
    assert [member.gives_way() for _ in range(3)] == [True, True, True], "the other has more to do, but has room"


def test_when_all_are_full_each_accepts_and_refuses() -> None:
    assert not beside(4, 0, of=FakeWorker(4, 9, most=4)).gives_way()


def test_a_busier_worker_gives_way_once() -> None:
    member = beside(3, 0, of=FakeWorker(4, 2, most=100))
    assert [member.gives_way() for _ in range(3)] == [True, False, True]


@pytest.mark.parametrize(("connections", "gives_way"), [(4, False), (65, False), (66, True), (400, True)])
def test_where_connections_come_and_go_a_worker_may_have_some_more(connections: int, gives_way: bool) -> None:
    """To wait at each small difference would leave the processors idle."""
    member = beside(1, 0, of=FakeWorker(connections, 0, most=1000))
    member._slot.cells[Cell.HEARTBEAT] = 0
    member.count_end()
    member._ended += 60_000_000_000  # it has just been, however slow this machine is
    assert member.gives_way() is gives_way


def test_a_worker_whose_hub_does_not_turn_is_not_waited_for() -> None:
    member = beside(0, 0, of=FakeWorker(4, 0, most=4))
    member._table[2][Cell.HEARTBEAT] = 0
    assert not member.gives_way()


def test_the_divided_settings_are_named_in_their_help_and_in_the_documentation() -> None:
    for name in DIVIDED - {"workers"}:
        assert "workers" in OPTIONS[name].help, name
    rows = re.findall(r"^\| `(\w+)` \| divided", (DOCS / "deploy.md").read_text("utf-8"), re.MULTILINE)
    assert set(rows) == DIVIDED - {"workers"}
