"""What greenserve has set itself to reach, judged on the run's own medians. No I/O in this file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from benchmarks.results import Results
from benchmarks.scenarios import OURS, PURE, Metric

GREEN = ("eventlet", "gevent")
CONCURRENT = (*GREEN, "gunicorn gevent", "gunicorn gthread", "waitress", "cheroot", "granian", "uwsgi")


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


def cost(scenario: str, *peers: str, ours: str = OURS) -> Callable[[Results], float | None]:
    """Processor time of greenserve's request (or `ours`, another row) divided by the least of these servers'."""

    def value(results: Results) -> float | None:
        own_cost = results.median(scenario, ours, Metric.CPU)
        theirs = results.best(scenario, peers, Metric.CPU)
        return own_cost / theirs if own_cost is not None and theirs else None

    return value


def against_browser(scenario: str) -> Callable[[Results], float | None]:
    """Processor time of greenserve's request, divided by that where nothing repeats: what its caches cost, or save."""

    def value(results: Results) -> float | None:
        here, there = (results.median(name, OURS, Metric.CPU) for name in (scenario, "browser"))
        return here / there if here is not None and there else None

    return value


def own(scenario: str, metric: Metric) -> Callable[[Results], float | None]:
    """greenserve's own median."""
    return lambda results: results.median(scenario, OURS, metric)


def at_most(text: str, limit: float, value: Callable[[Results], float | None], unit: str = "×") -> Goal:
    """A goal with an upper limit."""
    return Goal(text, limit, value, unit, at_least=False)


VARIED = ("site", "browser")
FRAMEWORKS = ("flask", "django", "falcon")
GOALS = (
    *(at_most(f"{name}: CPU against bjoern", 1.25, cost(name, "bjoern")) for name in VARIED),
    *(at_most(f"{name}: CPU against granian and uwsgi", 0.75, cost(name, "granian", "uwsgi")) for name in VARIED),
    *(at_most(f"{name}, pure Python: CPU against granian", 1, cost(name, "granian", ours=PURE)) for name in VARIED),
    at_most("hello: CPU against bjoern", 1.15, cost("hello", "bjoern")),
    at_most("200 in turn: CPU against nothing repeated", 1, against_browser("returning")),
    at_most("one field different: CPU against nothing repeated", 1.05, against_browser("ingress")),
    *(at_most(f"{name}: CPU against all with concurrency", 1, cost(name, *CONCURRENT)) for name in FRAMEWORKS),
    *(at_most(f"{name}: CPU against bjoern", 1.05, cost(name, "bjoern")) for name in FRAMEWORKS),
    at_most("sleepers: CPU against the best of eventlet and gevent", 0.5, cost("sleepers", *GREEN)),
    Goal("crowd of sleepers: against the best of eventlet and gevent", 2, times("crowd", *GREEN)),
    at_most("sleepers: 99th percentile", 90, own("sleepers", Metric.P99), "ms"),
    at_most("stream: CPU against granian", 1, cost("stream", "granian")),
    at_most("1 MiB: CPU against uwsgi", 1, cost("mebibyte", "uwsgi")),
    at_most("upload: CPU against granian and uwsgi", 1, cost("upload", "granian", "uwsgi")),
    at_most("idle: memory of each connection", 1, own("idle", Metric.IDLE_KIB), "KiB"),
    at_most("idle: slowest of 20 fresh requests meanwhile", 10, own("idle", Metric.FRESH_MS), "ms"),
    at_most("start to first answer", 150, own("start", Metric.START_MS), "ms"),
)


def judge(results: Results) -> list[Judged]:
    """Every goal with its verdict."""
    return [_judged(goal, goal.value(results)) for goal in GOALS]


def _judged(goal: Goal, value: float | None) -> Judged:
    if value is None:
        return Judged(goal, None, Verdict.NOT_MEASURED)
    reached = value >= goal.limit if goal.at_least else value <= goal.limit
    return Judged(goal, value, Verdict.MET if reached else Verdict.NOT_MET)
