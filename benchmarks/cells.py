"""What comparisons by row and server have in common: values of each round, goals against peers, the result files."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.report import markdown_table
from benchmarks.results import OURS


@dataclass
class Cell:
    """One server in one row: the values of each round, or why there is none."""

    values: list[dict[str, float]] = field(default_factory=list)
    missing: str | None = None

    def median(self, name: str = "value") -> float | None:
        """Over the rounds."""
        return statistics.median(value[name] for value in self.values) if self.values and not self.missing else None


Cells = Mapping[tuple[str, str], Cell]  # by row and server


def judged(
    cells: Cells, goals: Iterable[tuple[str, Sequence[str], float]], met: Callable[[float, float], bool], of: str = ""
) -> list[str]:
    """A line for each goal: a row, servers, and a limit for the ratio of ours to theirs, which `met` compares with it.
    of: what of theirs it is, before the server's name.
    """
    lines = []
    for row, names, limit in goals:
        for name in names:
            ours, theirs = (cells[row, each].median() if (row, each) in cells else None for each in (OURS, name))
            if ours is None or theirs is None:
                lines.append(f"not measured  {row}: {name}")
            else:
                verdict = "met    " if met(ours, limit * theirs) else "not met"
                lines.append(f"{verdict}  {row}: {ours / theirs:.2f} × {of}{name} (goal: {limit:g})")
    return lines


def write_results(
    options: argparse.Namespace,
    name: str,
    facts: Mapping[str, object],
    cells: Cells,
    heading: str,
    columns: Sequence[str],
    table: Callable[[Any], Sequence[Sequence[str]]],
    goals: Iterable[str],
) -> None:
    """NAME.json and NAME.md; partial.NAME.* when something was left out. table: the lines of a row."""
    name = name if options.whole else f"partial.{name}"
    options.output.mkdir(parents=True, exist_ok=True)
    found = {
        row.name: {
            peer.name: {"missing": cell.missing} if cell.missing else {"rounds": cell.values}
            for peer in options.peers
            for cell in (cells[row.name, peer.name],)
        }
        for row in options.rows
    }
    report = json.dumps({**facts, "rows": found}, indent=1, ensure_ascii=False)
    (options.output / f"{name}.json").write_text(report + "\n", encoding="utf-8")
    parts = [heading]
    parts += [f"## {row.title}\n\n{markdown_table(columns, table(row))}" for row in options.rows]
    parts.append("\n".join(f"- {line}" for line in goals))
    (options.output / f"{name}.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
