"""Whose a session is, in the memory that workers share."""

from __future__ import annotations

import pytest

from greenserve.server.sticky.directory import SETS, WAYS, Directory, Sessions
from greenserve.supervisor.table import Cell, State, Table

WORKERS = 3


@pytest.fixture
def table() -> Table:
    table = Table(WORKERS + 1)
    table[0][Cell.LAST] = WORKERS
    for slot in table.used():
        slot[Cell.STATE] = State.READY
    return table


@pytest.fixture
def workers(table: Table) -> list[Sessions]:
    """Each with a mapping of its own, as each process has one."""
    return [Sessions(Directory(Table(WORKERS + 1, table.fd)), slot) for slot in table.used()]


def test_each_session_is_found_by_the_other_workers_and_not_by_its_own(workers: list[Sessions]) -> None:
    for number in range(300):
        workers[number % WORKERS].add(f"session {number}")
    for number in range(300):
        owner = workers[number % WORKERS]
        for worker in workers:
            found = worker.owner(f"session {number}")
            assert (found and found.index) == (None if worker is owner else owner.slot.index)
    assert workers[0].owner("nobody's") is None


@pytest.mark.parametrize("state", [State.READY, State.DRAINING, State.STARTING, State.FREE])
def test_a_worker_that_serves_no_more_has_no_sessions(table: Table, workers: list[Sessions], state: State) -> None:
    workers[1].add("a")
    table[2][Cell.STATE] = state
    assert (workers[0].owner("a") is not None) == (state in (State.READY, State.DRAINING))


def test_a_worker_that_leaves_is_passed_nothing(workers: list[Sessions]) -> None:
    workers[1].add("a")
    workers[1].leave()
    assert workers[0].owner("a") is None


def test_the_next_worker_of_a_slot_begins_without_sessions(table: Table, workers: list[Sessions]) -> None:
    workers[1].add("a")
    successor = Sessions(Directory(table), table[2])
    successor.add("b")
    assert workers[0].owner("a") is None
    assert workers[0].owner("b").index == 2


def test_a_slot_whose_table_was_cleared_is_skipped(table: Table, workers: list[Sessions]) -> None:
    workers[1].add("a")
    table[2].clear()
    assert workers[0].owner("a") is None


def same_set(sessions: Sessions, count: int) -> list[str]:
    """Names of sessions that have their place in one set."""
    directory = sessions._directory
    wanted = directory.hash_of("0") % SETS
    numbers = iter(range(10_000_000))
    return [str(next(n for n in numbers if directory.hash_of(str(n)) % SETS == wanted)) for _ in range(count)]


def test_the_session_that_was_used_longest_ago_gives_way(workers: list[Sessions]) -> None:
    first, *others, new = same_set(workers[0], WAYS + 1)
    for session in (first, *others):
        workers[0].add(session)
    workers[0].owner(first)  # a request of it
    workers[0].add(new)
    kept = {session for session in (first, *others, new) if workers[1].owner(session) is not None}
    assert kept == {first, *others, new} - {others[0]}


def test_all_workers_have_one_secret_and_another_server_another(table: Table) -> None:
    first, second = Directory(table), Directory(Table(WORKERS + 1, table.fd))
    assert first.secret == second.secret
    assert first.hash_of("a") == second.hash_of("a") != 0
    assert Directory(Table(2)).secret != first.secret


def test_a_worker_leaves_when_it_drains_or_has_gone(table: Table, workers: list[Sessions]) -> None:
    assert not workers[0].is_leaving(2)
    for state in (State.DRAINING, State.FREE):
        table[2][Cell.STATE] = state
        assert workers[0].is_leaving(2)
