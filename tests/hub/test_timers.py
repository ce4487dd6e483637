"""Deadlines on a heap, without a hub."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

import pytest
from greenlet import greenlet
from hypothesis import given
from hypothesis import strategies as st

from greenserve.hub.core.timers import MIN_DEAD, Timer, Timers
from tests.hub.interrupting import everywhere, interrupted


class Hit(BaseException):
    """What a signal handler raises."""


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


def test_deadlines_of_one_millisecond_fire_together_and_none_too_early():
    timers = Timers()
    for name, deadline in (("late", 1.0008), ("early", 1.0002), ("next", 1.0012)):
        timers.add(deadline, [Entry(name)])
    assert timers.next_deadline() == 1.0008
    assert fired(timers, 1.0007) == []
    assert fired(timers, 1.0008) == ["late", "early"]
    assert fired(timers, 1.0013) == ["next"]


def test_infinite_deadlines_are_never_or_always_due():
    timers = Timers()
    for name, deadline in (("never", math.inf), ("at once", -math.inf), ("now", 0.0)):
        timers.add(deadline, [Entry(name)])
    assert fired(timers, 0.0) == ["at once", "now"]
    assert fired(timers, 1e300) == []
    assert timers.next_deadline() == math.inf


def test_a_callback_that_sets_a_timer_for_a_time_long_past_keeps_nothing_from_its_turn():
    timers = Timers()
    timers.add(1.0, [Entry("one", lambda: timers.add(0.5, [Entry("past")]))])
    timers.add(1.0, [Entry("two")])
    timers.add(2.0, [Entry("three")])
    assert fired(timers, 2.0) == ["one"]
    assert fired(timers, 2.0) == ["past", "two", "three"]
    assert timers.next_deadline() is None


def test_a_sweep_keeps_the_living_of_a_millisecond_where_new_ones_are_set():
    timers = Timers()
    timers.add(1.0, [Entry("living")])
    dead = [["x"] for _ in range(2 * MIN_DEAD)]
    for token in dead:
        timers.add(1.0, token)
    for token in dead:  # the oldest first: none is the one that was set last
        token.clear()
        timers.forget(token)
        timers.add(1.0, [Entry("new")])
    assert len(timers) < 3 * MIN_DEAD + 2 * MIN_DEAD
    assert fired(timers, 1.0) == ["living", *["new"] * len(dead)]


def test_timers_started_and_cancelled_over_many_milliseconds_grow_nothing():
    timers = Timers()
    for millisecond in range(20_000):
        token = ["x"]
        timers.add(10 + millisecond / 1000, token)
        token.clear()
        timers.forget(token)
        assert len(timers.heap) <= MIN_DEAD + 1


def test_an_error_before_any_instruction_of_add_or_fire_loses_no_sleeper():
    """All whose timers stand are made ready, wherever an error comes; once too often is harmless."""

    def scenario(instruction: int) -> bool:
        timers, hub = Timers(), FakeHub()
        sleepers = [greenlet() for _ in range(4)]
        timers.add(1.0, [sleepers[0]])
        timers.add(1.5, [sleepers[1]])

        def operation() -> None:
            with contextlib.suppress(Hit):
                timers.add(1.0001, [greenlet()])
                timers.add(3.0, [greenlet()])
                timers.fire(2.0, hub)

        def hit() -> None:
            raise Hit

        _, came = interrupted(operation, hit, instruction)
        timers.add(1.0001, [sleepers[2]])
        timers.add(3.0, [sleepers[3]])
        for _ in range(3):
            timers.fire(9.0, hub)
        assert set(sleepers) <= set(hub.ready), f"before instruction {instruction}"
        assert timers.next_deadline() is None
        return came

    assert everywhere(scenario) > 50


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
    for living, token in zip(range(9_999, 0, -1), tokens, strict=False):
        token.clear()
        timers.forget(token)
        if living % 500 == 0:
            assert len(timers) <= living + max(MIN_DEAD, living) + 1
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
