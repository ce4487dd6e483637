"""run_dag: each function as soon as it can be run, and no sooner."""

from __future__ import annotations

from graphlib import CycleError

import pytest

from greenserve.hub import run_dag, sleep


def test_results_go_to_those_who_need_them_in_the_order_they_name_them(hub):
    results = run_dag(
        {
            "sum": (("b", "a"), lambda b, a: (b, a)),
            "a": ((), lambda: 1),
            "b": (("a",), lambda a: a + 1),
        }
    )
    assert results == {"a": 1, "b": 2, "sum": (2, 1)}
    assert run_dag({}) == {}


def test_what_needs_nothing_of_each_other_runs_at_the_same_time(virtual):
    def nap(seconds):
        return lambda *needed: sleep(seconds)

    run_dag({"a": ((), nap(3)), "b": ((), nap(5)), "c": (("a",), nap(1)), "d": (("b", "c"), nap(1))})
    assert virtual.now == 6


def test_an_error_ends_the_others_and_arrives_as_a_group(virtual):
    ran = []
    with pytest.raises(ExceptionGroup) as caught:
        run_dag(
            {
                "bad": ((), lambda: int("x")),
                "long": ((), lambda: sleep(1000)),
                "after": (("bad",), ran.append),
            }
        )
    assert [type(error) for error in caught.value.exceptions] == [ValueError]
    assert virtual.now == 0
    assert ran == []


def test_graphs_that_cannot_be_run_are_refused():
    with pytest.raises(CycleError):
        run_dag({"a": (("b",), int), "b": (("a",), int)})
    with pytest.raises(ValueError, match="'b', 'c'"):
        run_dag({"a": (("c", "b"), int)})
