"""What was measured, and its medians: one cell for each server in each scenario. No I/O in this file."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.scenarios import Metric, Scenario

OURS = "greenserve"
CLIENT_BOUND = 0.95  # of its core; above this the number says how fast wrk is
DISTURBED = 0.15  # of a core, used by processes that are no part of the comparison


@dataclass(frozen=True, slots=True)
class Sample:
    """One round of one server in one scenario."""

    values: Mapping[Metric, float]
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class Cell:
    """All rounds of one server in one scenario; `missing` says why there is no number."""

    samples: list[Sample] = field(default_factory=list)
    missing: str | None = None

    def median(self, metric: Metric) -> float | None:
        """The median over the rounds, None when there is none."""
        if self.missing is not None:
            return None
        values = [sample.values[metric] for sample in self.samples if metric in sample.values]
        return statistics.median(values) if values else None

    def total(self, metric: Metric) -> int:
        """The sum of a count over the rounds."""
        return round(sum(sample.values.get(metric, 0) for sample in self.samples))

    def notes(self) -> tuple[str, ...]:
        """What makes the numbers suspect, or tells how they came about."""
        said = list(dict.fromkeys(note for sample in self.samples for note in sample.notes))
        for metric, name in (
            (Metric.NON_2XX, "answers that are not 2xx"),
            (Metric.ERRORS, "socket errors"),
            (Metric.TIMEOUTS, "answers later than 2 s"),
        ):
            if count := self.total(metric):
                said.append(f"{count:,} {name}")
        if (self.median(Metric.CLIENT_CPU) or 0) > CLIENT_BOUND:
            said.append("wrk was the limit")
        return tuple(said)


@dataclass(frozen=True, slots=True)
class Results:
    """One run. cells: (scenario name, server name) -> what came out."""

    facts: Mapping[str, Any]
    scenarios: tuple[Scenario, ...]
    peers: tuple[str, ...]
    cells: dict[tuple[str, str], Cell]

    def cell(self, scenario: str, peer: str) -> Cell:
        """The cell, an empty one that says so when it was not part of the run."""
        return self.cells.get((scenario, peer), Cell(missing="not part of this run"))

    def median(self, scenario: str, peer: str, metric: Metric) -> float | None:
        """The median of one cell."""
        return self.cell(scenario, peer).median(metric)

    def best(self, scenario: str, peers: Iterable[str], metric: Metric) -> float | None:
        """The best median among some servers, None when none of them has one."""
        found = [value for peer in peers if (value := self.median(scenario, peer, metric)) is not None]
        if not found:
            return None
        return max(found) if metric.higher_is_better else min(found)

    def ranked(self, scenario: str, metric: Metric) -> list[str]:
        """Server names, the best first; those without a number last, in the order of the table of peers."""
        sign = -1 if metric.higher_is_better else 1

        def rank(peer: str) -> tuple[bool, float]:
            value = self.median(scenario, peer, metric)
            return (True, 0.0) if value is None else (False, sign * value)

        return sorted(self.peers, key=rank)

    def ratio(self, scenario: str, peer: str, metric: Metric) -> float | None:
        """The server's median divided by greenserve's."""
        theirs, ours = self.median(scenario, peer, metric), self.median(scenario, OURS, metric)
        return theirs / ours if theirs is not None and ours else None

    def disturbance(self) -> float:
        """How many cores other processes used while servers were measured: the highest of all rounds."""
        samples = [sample for cell in self.cells.values() for sample in cell.samples]
        return max((sample.values.get(Metric.OTHER_CPU, 0.0) for sample in samples), default=0.0)

    def to_json(self) -> dict[str, Any]:
        """Everything, each round included, as plain objects."""
        return {
            **self.facts,
            "other_processes_cpu_share": round(self.disturbance(), 3),
            "scenarios": {
                scenario.name: {
                    "title": scenario.title,
                    "connections": scenario.connections,
                    "servers": {peer: self._cell_json(scenario.name, peer) for peer in self.peers},
                }
                for scenario in self.scenarios
            },
        }

    def _cell_json(self, scenario: str, peer: str) -> dict[str, Any]:
        cell = self.cell(scenario, peer)
        if cell.missing is not None:
            return {"missing": cell.missing}
        medians = {metric.value: value for metric in Metric if (value := cell.median(metric)) is not None}
        rounds = [{metric.value: value for metric, value in sample.values.items()} for sample in cell.samples]
        return {"median": medians, "notes": list(cell.notes()), "rounds": rounds}
