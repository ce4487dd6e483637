"""What comparisons by row and server have in common: options, turns, values of each round, goals against peers, the
result files.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.choices import chosen, rotated
from benchmarks.environment import Environment, machine
from benchmarks.process import cores
from benchmarks.report import aligned, markdown_table
from benchmarks.results import OURS

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Cell:
    """One server in one row: the values of each round, or why there is none."""

    values: list[dict[str, float]] = field(default_factory=list)
    missing: str | None = None

    def median(self, name: str = "value") -> float | None:
        """Over the rounds."""
        return statistics.median(value[name] for value in self.values) if self.values and not self.missing else None


Cells = Mapping[tuple[str, str], Cell]  # by row and server


def parse_options(
    arguments: Sequence[str] | None, what: str, rows: Sequence[Any], peers: Sequence[Any], seconds: float
) -> argparse.Namespace:
    """The options; `rows` and `peers` as objects, each with a name. seconds: the default of one measurement."""
    parser = argparse.ArgumentParser(description=f"Compare greenserve's {what} with other servers'.")
    parser.add_argument("--rounds", type=int, help="turns of each server in each row (default 3)")
    parser.add_argument("--seconds", type=float, help=f"length of one measurement (default {seconds:g})")
    parser.add_argument("--only", help="rows, comma-separated: " + ", ".join(row.name for row in rows))
    parser.add_argument("--peers", help="servers, comma-separated: " + ", ".join(peer.name for peer in peers))
    parser.add_argument("--quick", action="store_true", help="one round of one second: does everything work?")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv-bench", help="where the peers are installed")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results", help="where the results go")
    options = parser.parse_args(arguments)
    options.whole = not (options.only or options.peers or options.quick)
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.seconds = options.seconds or (1.0 if options.quick else seconds)
    try:
        options.rows = chosen(options.only, {row.name: row for row in rows})
        options.peers = chosen(options.peers, {peer.name: peer for peer in peers})
    except ValueError as error:
        parser.error(str(error))
    return options


def measured(
    options: argparse.Namespace, reasons: Mapping[Any, str | None], play: Callable[[Cell, Any, Any, int], None]
) -> Cells:
    """All rows, all rounds. reasons: why a peer cannot be measured. play: one turn of a peer in a row, its server on a
    core; this process, and whatever makes the load, has another.
    """
    cells = {(row.name, peer.name): Cell(missing=why) for row in options.rows for peer, why in reasons.items()}
    server_core, client_core = cores()
    os.sched_setaffinity(0, {client_core})
    for row in options.rows:
        for turn in range(options.rounds):
            for peer in rotated(options.peers, turn):
                cell = cells[row.name, peer.name]
                if cell.missing is None:
                    play(cell, peer, row, server_core)
                    said = cell.missing or f"{cell.values[-1]['value']:,.1f}"
                    line = f"{row.name} {turn + 1}/{options.rounds}  {peer.name:<18} {said}"
                    print(line, file=sys.stderr, flush=True)
    return cells


def facts_of(options: argparse.Namespace, place: Environment) -> dict[str, Any]:
    """What the results are results of."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": machine(),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "versions": place.versions([peer.packages[0] if peer.packages else peer.name for peer in options.peers]),
        "notes": {peer.name: peer.note for peer in options.peers},
    }


def show(
    options: argparse.Namespace,
    columns: Sequence[str],
    table: Callable[[Any], Sequence[Sequence[str]]],
    goals: Iterable[str],
) -> None:
    """The tables and the goals, on standard output. table: the lines of a row."""
    for row in options.rows:
        print(f"{row.title}\n{aligned([columns, *table(row)])}\n")
    print("\n".join(goals))


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
