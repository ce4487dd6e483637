"""What was measured, and its medians: one cell for each server in each scenario. No I/O in this file."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from benchmarks.scenarios import OURS, SCENARIOS, Metric, Scenario

CLIENT_BOUND = 0.95  # of its core; above this the number says how fast wrk is
DISTURBED = 0.15  # of a core, used by processes that are not part of the comparison
ONE_RUN = ("date", "rounds", "seconds")  # the facts that a scenario that was run again has of its own


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
            (Metric.NON_2XX, "answers of another status than asked for"),
            (Metric.ERRORS, "socket errors"),
            (Metric.TIMEOUTS, "answers later than 2 s"),
        ):
            if count := self.total(metric):
                said.append(f"{count:,} {name}")
        if (self.median(Metric.CLIENT_CPU) or 0) > CLIENT_BOUND:
            said.append("wrk was the limit")
        return tuple(dict.fromkeys(said))  # of an earlier run they are among the samples' own


@dataclass(frozen=True, slots=True)
class Results:
    """One run. cells: (scenario name, server name) -> what came out. again: scenarios of a later run -> its facts."""

    facts: Mapping[str, Any]
    scenarios: tuple[Scenario, ...]
    peers: tuple[str, ...]
    cells: dict[tuple[str, str], Cell]
    again: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """What `to_json` has given. Scenarios and metrics that do not exist any more are left out."""
        told = data["scenarios"]
        scenarios = tuple(scenario for scenario in SCENARIOS if scenario.name in told)
        cells = {
            (scenario.name, peer): _cell_from_json(cell)
            for scenario in scenarios
            for peer, cell in told[scenario.name]["servers"].items()
        }
        again = {
            scenario.name: told[scenario.name]["again"] for scenario in scenarios if "again" in told[scenario.name]
        }
        facts = {name: value for name, value in data.items() if name not in ("scenarios", "other_processes_cpu_share")}
        return cls(facts, scenarios, tuple(data["servers"]), cells, again)

    def updated(self, newer: Results) -> Results:
        """With the scenarios of a newer run in the place of their earlier selves, and its facts said of them."""
        names = {scenario.name for scenario in newer.scenarios}
        kept = {key: cell for key, cell in self.cells.items() if key[0] not in names}
        facts = {name: newer.facts[name] for name in ONE_RUN}
        return replace(
            self,
            facts={
                **self.facts,
                "codec": newer.facts["codec"],
                "servers": {**self.facts["servers"], **newer.facts["servers"]},
            },
            scenarios=tuple(each for each in SCENARIOS if each in self.scenarios or each in newer.scenarios),
            peers=(*self.peers, *(peer for peer in newer.peers if peer not in self.peers)),
            cells={**kept, **newer.cells},
            again={**self.again, **dict.fromkeys(names, facts)},
        )

    def taking_part(self, scenario: str) -> list[str]:
        """The names of the servers that this scenario is for, in the order of the table of peers."""
        meant = next(each.peers for each in SCENARIOS if each.name == scenario)
        return [peer for peer in self.peers if peer in meant]

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

        return sorted(self.taking_part(scenario), key=rank)

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
                    **({"again": self.again[scenario.name]} if scenario.name in self.again else {}),
                    "servers": {peer: self._cell_json(scenario.name, peer) for peer in self.taking_part(scenario.name)},
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


def _cell_from_json(told: Mapping[str, Any]) -> Cell:
    if "missing" in told:
        return Cell(missing=told["missing"])
    known = {metric.value: metric for metric in Metric}
    notes = tuple(told["notes"])
    return Cell(
        [Sample({known[name]: value for name, value in one.items() if name in known}, notes) for one in told["rounds"]]
    )
