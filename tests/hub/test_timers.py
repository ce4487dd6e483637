"""Deadlines on a heap, without a hub."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.hub.core.timers import MIN_DEAD, Timer, Timers


class FakeHub:
    def __init__(self) -> None:
        self.ready: list[Any] = []


class Entry:
    """What stands in a token, and notes when it expires."""

    def __init__(self, name: object, then: Callable[[], object] = int) -> None:
        self.name = name
        self.then = then

    def expire(self, hub: FakeHub) -> None:
        hub.ready.append(self.name)
        self.then()


def fired(timers: Timers, now: float) -> list[Any]:
    hub = FakeHub()
    timers.fire(now, hub)
    return hub.ready


def test_equal_deadlines_fire_in_the_order_in_which_they_were_set():
    timers = Timers()
    for name in "abc":
        timers.add(1.0, [Entry(name)])
    timers.add(0.5, [Entry("first")])
    assert fired(timers, 0.4) == []
    assert fired(timers, 1.0) == ["first", "a", "b", "c"]
    assert fired(timers, 9.0) == []


def test_a_deadline_that_is_not_a_number_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        Timers().add(math.nan, [])


def test_a_cancelled_timer_makes_no_call():
    timers = Timers()
    calls: list[str] = []
    one = Timer(timers, 1.0, calls.append, ("one",))
    two = Timer(timers, 2.0, calls.append, ("two",))
    one.cancel()
    one.cancel()
    assert (one.pending, two.pending) == (False, True)
    fired(timers, 3.0)
    assert calls == ["two"]
    assert not two.pending


def test_a_timer_may_be_cancelled_by_one_that_is_due_at_the_same_time():
    timers = Timers()
    calls: list[str] = []
    Timer(timers, 1.0, lambda: other.cancel(), ())  # noqa: PLW0108 - it is not made yet
    other = Timer(timers, 1.0, calls.append, ("cancelled",))
    fired(timers, 2.0)
    assert calls == []


def test_what_is_set_by_a_callback_for_this_very_moment_waits_for_the_next_time():
    timers = Timers()
    timers.add(1.0, [Entry("one", lambda: timers.add(0.5, [Entry("two")]))])
    assert fired(timers, 2.0) == ["one"]
    assert fired(timers, 2.0) == ["two"]


def test_what_an_error_keeps_from_its_turn_is_due_again():
    timers = Timers()

    def fail() -> None:
        raise KeyboardInterrupt

    timers.add(1.0, [Entry("one", fail)])
    timers.add(1.0, [Entry("two")])
    hub = FakeHub()
    with pytest.raises(KeyboardInterrupt):
        timers.fire(2.0, hub)
    assert hub.ready == ["one"]
    assert fired(timers, 2.0) == ["two"]


def test_a_token_that_another_thread_claims_meanwhile_is_passed_over():
    timers = Timers()
    taken = [Entry("taken")]
    timers.add(1.0, [Entry("one", taken.clear)])
    timers.add(1.0, taken)
    timers.add(1.0, [Entry("last")])
    assert fired(timers, 2.0) == ["one", "last"]


def test_cancelled_timers_are_forgotten():
    timers = Timers()
    tokens = [["x"] for _ in range(10_000)]
    for number, token in enumerate(tokens):
        timers.add(float(number), token)
    for token in tokens[:-1]:
        token.clear()
        timers.forget(token)
        assert len(timers) < 2 * (1 + sum(map(bool, tokens[-1:]))) + 10_000
    assert len(timers) <= MIN_DEAD + 2


@given(st.lists(st.tuples(st.sampled_from(["add", "cancel", "pass"]), st.integers(0, 50))))
def test_what_is_due_is_what_a_sorted_list_says(steps: list[tuple[str, int]]):
    timers = Timers()
    now = 0
    number = 0
    model: list[tuple[int, int, list[Entry]]] = []
    for step, amount in steps:
        if step == "add":
            token = [Entry(number)]
            timers.add(now + amount, token)
            model.append((now + amount, number, token))
            number += 1
        elif step == "cancel" and model:
            entry = model.pop(amount % len(model))
            entry[2].clear()
            timers.forget(entry[2])
        elif step == "pass":
            now += amount
            expected = [name for deadline, name, _ in sorted(model) if deadline <= now]
            assert fired(timers, now) == expected
            model = [entry for entry in model if entry[0] > now]
        assert timers.next_deadline() == min((entry[0] for entry in model), default=None)
