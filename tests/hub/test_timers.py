"""Deadlines on a heap, without a hub."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.hub.timers import MIN_DEAD, Timer, Timers


def claimed(timers: Timers, now: float) -> list[Any]:
    return [token.pop() for token in timers.due(now)]


def test_equal_deadlines_fire_in_the_order_in_which_they_were_set():
    timers = Timers()
    for name in "abc":
        timers.add(1.0, [name])
    timers.add(0.5, ["first"])
    assert claimed(timers, 0.4) == []
    assert claimed(timers, 1.0) == ["first", "a", "b", "c"]
    assert claimed(timers, 9.0) == []


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
    for token in timers.due(3.0):
        token.pop().expire(None)
    assert calls == ["two"]
    assert not two.pending


def test_a_timer_may_be_cancelled_by_one_that_is_due_at_the_same_time():
    timers = Timers()
    calls: list[str] = []
    Timer(timers, 1.0, lambda: other.cancel(), ())  # noqa: PLW0108 - it is not made yet
    other = Timer(timers, 1.0, calls.append, ("cancelled",))
    for token in timers.due(2.0):
        token.pop().expire(None)
    assert calls == []


def test_what_is_set_by_a_callback_for_this_very_moment_waits_for_the_next_time():
    timers = Timers()
    timers.add(1.0, ["one"])
    due = timers.due(2.0)
    assert next(due).pop() == "one"
    timers.add(1.0, ["two"])
    assert list(due) == []
    assert claimed(timers, 2.0) == ["two"]


def test_a_token_that_an_error_keeps_from_being_claimed_is_due_again():
    timers = Timers()
    for name in ("one", "two"):
        timers.add(1.0, [name])

    def fail() -> None:
        for _ in timers.due(2.0):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert claimed(timers, 2.0) == ["one", "two"]


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
    model: list[tuple[int, int, list[int]]] = []
    for step, amount in steps:
        if step == "add":
            token = [number]
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
            assert claimed(timers, now) == expected
            model = [entry for entry in model if entry[0] > now]
        assert timers.next_deadline() == min((entry[0] for entry in model), default=None)
