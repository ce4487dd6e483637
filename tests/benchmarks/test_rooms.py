"""The comparison of broadcasts, without load: what is made of its numbers."""

from __future__ import annotations

import pytest

from benchmarks.results import OURS
from benchmarks.rooms import RIVAL, goal, parsed, table


def numbers(rate: float, cpu: float = 0.5) -> dict[str, float]:
    return {"rate": rate, "p50_ms": 1.0, "p99_ms": 2.0, "client_cpu": cpu}


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"), [(300.0, 100.0, "met    "), (299.0, 100.0, "not met"), (1.0, None, "not measured")]
)
def test_the_goal_is_judged_by_the_medians(ours: float, theirs: float | None, verdict: str) -> None:
    found = {OURS: [numbers(1.0), numbers(ours), numbers(1e9)], RIVAL: [numbers(theirs)] if theirs else []}
    assert goal(found).startswith(verdict)


def test_a_server_without_a_number_says_why() -> None:
    found = {OURS: [numbers(100.0, cpu=0.99)], RIVAL: []}
    ours, theirs = table(found, {RIVAL: "no compiler"})
    assert ours == (OURS, "100", "–", "1.0", "2.0", "the receivers were at their limit")
    assert (theirs[1], theirs[-1]) == ("n/a", "no compiler")


def test_a_partial_run_is_not_taken_for_a_whole_one() -> None:
    assert parsed([]).whole
    assert not parsed(["--quick"]).whole
    assert not parsed(["--receivers", "10"]).whole
