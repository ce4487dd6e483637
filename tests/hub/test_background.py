"""The hub's background: what it does of a flood, and that whatever is ready comes first."""

from __future__ import annotations

import pytest

from greenserve.hub import sleep, spawn
from greenserve.hub.core.background import LONGEST_WAIT
from greenserve.hub.core.hub import Hub
from tests.hub.support import VirtualTime
from tests.waiting import until


def work(hub: Hub, done: list[object], name: object, *, turn: bool = True) -> None:
    """Use a turn up."""
    done.append(name)
    if turn:
        hub.poll_time = hub.clock()


def test_calls_are_made_in_their_order_and_may_add_others(hub: Hub) -> None:
    done: list[object] = []
    hub.background.add(lambda: hub.background.add(lambda: done.append(3)) or done.append(1))
    hub.background.add(lambda: done.append(2))
    until(lambda: done == [1, 2, 3])
    hub.background.add(lambda: done.append(4))
    until(lambda: done == [1, 2, 3, 4])


def test_what_is_ready_comes_before_the_rest_of_a_flood(hub: Hub) -> None:
    """Also what becomes ready while a turn of the flood lasts."""
    done: list[object] = []

    def flood(number: int) -> None:
        spawn(done.append, "asked")
        work(hub, done, number)

    for number in range(3):
        hub.background.add(lambda each=number: flood(each))
    until(lambda: len(done) == 6)
    assert done == [0, "asked", 1, "asked", 2, "asked"]


def test_many_calls_fit_into_one_turn(hub: Hub) -> None:
    done: list[object] = []
    for number in range(100):
        hub.background.add(lambda each=number: work(hub, done, each, turn=False))
    hub.poll_time = hub.clock() + 1000
    rounds = hub.rounds
    until(lambda: len(done) == 100)
    assert hub.rounds - rounds < 10


def test_it_has_its_turn_though_something_is_always_ready(virtual: VirtualTime) -> None:
    hub: Hub = virtual.hub
    done: list[float] = []
    for _ in range(3):
        hub.background.add(lambda: work(hub, done, hub.clock()))
    began = hub.clock()
    while len(done) < 3:
        sleep(0)
        virtual.now += LONGEST_WAIT / 4
    assert [round((each - began) / LONGEST_WAIT) for each in done] == [1, 2, 3]


def test_an_exception_is_one_calls_alone(hub: Hub) -> None:
    done: list[object] = []

    def fail() -> None:
        raise SystemExit(3)

    hub.background.add(fail)
    hub.background.add(lambda: done.append(1))
    with pytest.raises(SystemExit):
        sleep(10)
    until(lambda: done == [1])
    hub.background.add(lambda: done.append(2))
    until(lambda: done == [1, 2])
