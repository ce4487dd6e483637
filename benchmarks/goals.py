"""What greenserve has set itself to reach, judged on the run's own medians. No I/O in this file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from benchmarks.results import OURS, Results
from benchmarks.scenarios import Metric

GREEN = ("eventlet", "gevent")


class Verdict(Enum):
    """How a goal stands."""

    MET = "met"
    NOT_MET = "not met"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Goal:
    """At least (or at most) `limit` of what `value` takes from the results; unit: how the number is read."""

    text: str
    limit: float
    value: Callable[[Results], float | None]
    unit: str = "×"
    at_least: bool = True

    def bound(self) -> str:
        """The limit with its direction and unit."""
        return f"{'≥' if self.at_least else '≤'} {self.limit:g} {self.unit}"


@dataclass(frozen=True, slots=True)
class Judged:
    """A goal, what was measured, and the verdict."""

    goal: Goal
    value: float | None
    verdict: Verdict

    def line(self) -> str:
        """One line for a reader."""
        return f"{self.verdict.value:<13} {self.goal.text:<50} {self.measured():>10}   (goal {self.goal.bound()})"

    def measured(self) -> str:
        """The value with its unit."""
        return "–" if self.value is None else f"{self.value:.2f} {self.goal.unit}"


def times(scenario: str, *peers: str) -> Callable[[Results], float | None]:
    """greenserve's rate divided by the best rate of these servers."""

    def value(results: Results) -> float | None:
        ours = results.median(scenario, OURS, Metric.RATE)
        theirs = results.best(scenario, peers, Metric.RATE)
        return ours / theirs if ours is not None and theirs else None

    return value


def own(scenario: str, metric: Metric) -> Callable[[Results], float | None]:
    """greenserve's own median."""
    return lambda results: results.median(scenario, OURS, metric)


GOALS = (
    Goal("hello: against eventlet", 8, times("hello", "eventlet")),
    Goal("hello: against granian", 1.2, times("hello", "granian")),
    Goal("hello: against bjoern", 0.55, times("hello", "bjoern")),
    Goal("sleepers: against the best of eventlet and gevent", 2, times("sleepers", *GREEN)),
    Goal("crowd of sleepers: against the best of eventlet and gevent", 2, times("crowd", *GREEN)),
    Goal("sleepers: 99th percentile", 90, own("sleepers", Metric.P99), unit="ms", at_least=False),
    Goal("1 MiB: against the best of eventlet and gevent", 1, times("mebibyte", *GREEN)),
    Goal("upload: against the best of eventlet and gevent", 1, times("upload", *GREEN)),
    Goal("idle: memory of each connection", 3, own("idle", Metric.IDLE_KIB), unit="KiB", at_least=False),
    Goal("idle: slowest of 20 fresh requests meanwhile", 10, own("idle", Metric.FRESH_MS), unit="ms", at_least=False),
)


def judge(results: Results) -> list[Judged]:
    """Every goal with its verdict."""
    return [_judged(goal, goal.value(results)) for goal in GOALS]


def _judged(goal: Goal, value: float | None) -> Judged:
    if value is None:
        return Judged(goal, None, Verdict.NOT_MEASURED)
    reached = value >= goal.limit if goal.at_least else value <= goal.limit
    return Judged(goal, value, Verdict.MET if reached else Verdict.NOT_MET)
