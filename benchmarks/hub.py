"""Compare green-thread libraries: `python benchmarks/hub.py [--quick] [--only spawn_and_wait] [--libraries gevent]`.

Every measurement is a process of its own on one core; within a row every library has its turn before the next round
begins. The rows themselves are in hub_rows/, one file for each library, written as its users would.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # as a script, Python puts this file's own directory there

from benchmarks.chart import Bar, Panel, document  # noqa: E402
from benchmarks.choices import chosen, rotated  # noqa: E402
from benchmarks.environment import environment, machine  # noqa: E402
from benchmarks.report import aligned, markdown_table  # noqa: E402
from benchmarks.results import OURS  # noqa: E402

CHILD = ROOT / "benchmarks" / "hub_rows" / "child.py"
CHILD_SECONDS = 120
MILLION = 1_000_000
GREEN = ("eventlet", "gevent")  # every row must beat these

LIBRARIES = {OURS: (), "eventlet": ("eventlet",), "gevent": ("gevent",), "asyncio": ()}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. count: operations in one measurement, enough for some tenths of a second. goal: how many
    times as fast as the better of the green libraries it is to be (for memory: how many bytes at most).
    """

    name: str
    title: str
    count: int
    goal: float


ROWS = (
    Row("spawn_and_wait", "spawn one and wait for it", 30_000, 2),
    Row("spawn_thousand", "spawn a thousand, then wait for all", 30_000, 2),
    Row("sleep_zero", "sleep(0) among 100", 200_000, 2),
    Row("queue_round_trip", "round trip through two queues", 50_000, 1.3),
    Row("timeout_start_and_cancel", "timeout, started and cancelled", 100_000, 2),
    Row("timed_sleeps", "sleep of 1 ms, thousands at once", 50_000, 1.3),
    Row("tcp_echo_round_trip", "TCP echo, there and back", 20_000, 1.3),
    Row("pool_spawn", "spawn in a pool of 100", 30_000, 2),
)
MEMORY = Row("memory", "memory of one that sleeps", 100_000, 6 * 1024)

Cells = Mapping[tuple[str, str], "Measured"]


@dataclass(slots=True)
class Measured:
    """One library in one row: nanoseconds (or bytes) of each round, or why there are none."""

    values: list[float]
    missing: str | None = None

    @property
    def median(self) -> float | None:
        """The median over the rounds."""
        return statistics.median(self.values) if self.values and self.missing is None else None


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit code."""
    options = parsed(arguments)
    place = environment(options.venv)
    reasons = {
        name: place.provide_checkout() if name == OURS else place.provide(LIBRARIES[name]) for name in options.libraries
    }
    versions = place.versions(options.libraries)
    facts = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": machine(),
        "rounds": options.rounds,
        "versions": {name: versions.get(name, machine()["python"]) for name in options.libraries},
    }
    cells = measured(options, place.python, reasons)
    write(options, facts, cells)
    print(text(options, facts, cells))
    return 0


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; `rows` as objects, `whole` when nothing was left out."""
    rows = {row.name: row for row in (*ROWS, MEMORY)}
    parser = argparse.ArgumentParser(description="Compare greenserve's green threads with other libraries'.")
    parser.add_argument("--rounds", type=int, help="turns of each library in each row (default 5)")
    parser.add_argument("--only", help="rows, comma-separated: " + ", ".join(rows))
    parser.add_argument("--libraries", help="comma-separated: " + ", ".join(LIBRARIES))
    parser.add_argument("--quick", action="store_true", help="one round of a tenth of the operations")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv-bench", help="where the libraries are installed")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results", help="where the results go")
    options = parser.parse_args(arguments)
    options.whole = not (options.only or options.libraries or options.quick)
    options.rounds = options.rounds or (1 if options.quick else 5)
    try:
        options.rows = chosen(options.only, rows)
        options.libraries = chosen(options.libraries, {name: name for name in LIBRARIES})
    except ValueError as error:
        parser.error(str(error))
    return options


def measured(options: argparse.Namespace, python: str, reasons: Mapping[str, str | None]) -> Cells:
    """All rows, all rounds."""
    cells = {(row.name, name): Measured([], reasons[name]) for row in options.rows for name in options.libraries}
    for row in options.rows:
        count = row.count // 10 if options.quick else row.count
        for turn in range(options.rounds):
            for name in rotated(options.libraries, turn):
                cell = cells[row.name, name]
                if cell.missing is None:
                    play(cell, [python, str(CHILD), name, row.name, str(count)])
        said = "  ".join(f"{name} {shown(cells[row.name, name].median)}" for name in options.libraries)
        print(f"{row.name:<26}{said}", file=sys.stderr, flush=True)
    return cells


def play(cell: Measured, command: Sequence[str]) -> None:
    """One measurement in a process of its own; what goes wrong becomes the reason why there is no number."""
    core = min(os.sched_getaffinity(0))
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("GREENSERVE_", "PYTHON"))}
    try:
        ran = subprocess.run(
            command,
            cwd=CHILD.parent,
            env=environ | {"PYTHONWARNINGS": "ignore", "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=CHILD_SECONDS,
            check=False,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
    except subprocess.TimeoutExpired:
        cell.missing = f"took longer than {CHILD_SECONDS} s"
        return
    try:
        cell.values += json.loads(ran.stdout).values()
    except ValueError:
        lines = [line for line in ran.stderr.splitlines() if line.strip()]
        cell.missing = lines[-1].strip()[:160] if lines else f"ended with code {ran.returncode}"


def shown(value: float | None) -> str:
    """Nanoseconds or bytes."""
    return "n/a" if value is None else f"{value:,.0f}"


def ratio(cells: Cells, row: Row, name: str) -> float | None:
    """How many times as long (or as large) as greenserve's."""
    theirs, ours = median(cells, row, name), median(cells, row, OURS)
    return theirs / ours if theirs is not None and ours else None


def median(cells: Cells, row: Row, name: str) -> float | None:
    """The median of one cell, None where there is none."""
    cell = cells.get((row.name, name))
    return cell.median if cell else None


def table(options: argparse.Namespace, cells: Cells) -> list[tuple[str, ...]]:
    """The rows of the table, its head first: each library's number, and beside it the multiple of greenserve's."""
    head = ["operation"]
    for name in options.libraries:
        head += [name] if name == OURS else [name, "÷"]
    lines = [tuple(head)]
    for row in options.rows:
        line = [row.title + (", bytes" if row is MEMORY else ", ns")]
        for name in options.libraries:
            line.append(shown(median(cells, row, name)))
            if name != OURS:
                times = ratio(cells, row, name)
                line.append("–" if times is None else f"{times:.2f}×")
        lines.append(tuple(line))
    return lines


def goals(cells: Cells) -> list[str]:
    """The goal of each row, judged against the better of eventlet and gevent; and the memory of one that sleeps."""
    lines = []
    for row in ROWS:
        margin = _margin(cells, row)
        if margin is None:
            lines.append(f"not measured  {row.title}")
        else:
            said = f"{margin:.2f}× as fast as the better of eventlet and gevent (goal: {row.goal:g}×)"
            lines.append(f"{_verdict(margin >= row.goal)}{row.title}: {said}")
    size = median(cells, MEMORY, OURS)
    if size is None:
        return [*lines, f"not measured  {MEMORY.title}"]
    return [*lines, f"{_verdict(size <= MEMORY.goal)}{MEMORY.title}: {size:,.0f} bytes (goal: {MEMORY.goal:,.0f})"]


def _verdict(reached: bool) -> str:
    return "met           " if reached else "not met       "


def _margin(cells: Cells, row: Row) -> float | None:
    """How many times as fast as the better green library, None unless all three have a number."""
    ratios = [value for name in GREEN if (value := ratio(cells, row, name)) is not None]
    return min(ratios) if len(ratios) == len(GREEN) else None


def million(options: argparse.Namespace, cells: Cells) -> list[str]:
    """What a million parked green threads would take."""
    sizes = {name: median(cells, MEMORY, name) for name in options.libraries}
    return [
        f"{name}: a million asleep take {size * MILLION / 2**30:.2f} GiB (from {MEMORY.count:,})"
        for name, size in sizes.items()
        if size is not None
    ]


def missing(cells: Cells) -> list[str]:
    """Why a number is not there."""
    return [f"n/a: {name}, {row}: {cell.missing}" for (row, name), cell in cells.items() if cell.missing]


def headline(facts: Mapping[str, Any]) -> str:
    """One line: when, on what, how."""
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return (
        f"{facts['date']} · {facts['machine']['cpu']}, Linux {facts['machine']['kernel']} · "
        f"Python {facts['machine']['python']} · {versions} · one core, medians of {facts['rounds']} interleaved rounds"
    )


def text(options: argparse.Namespace, facts: Mapping[str, Any], cells: Cells) -> str:
    """Everything for a terminal."""
    parts = [headline(facts), aligned([(*line, "") for line in table(options, cells)])]
    parts += ["\n".join(lines) for lines in (million(options, cells), missing(cells), goals(cells)) if lines]
    return "\n\n".join(parts)


def markdown(options: argparse.Namespace, facts: Mapping[str, Any], cells: Cells) -> str:
    """Everything as a Markdown page."""
    head, *lines = table(options, cells)
    remarks = [f"- {line}" for line in (*million(options, cells), *missing(cells), *goals(cells))]
    parts = ["# Green threads compared", headline(facts), markdown_table(head, lines), "\n".join(remarks)]
    return "\n\n".join(parts) + "\n"


def chart(options: argparse.Namespace, facts: Mapping[str, Any], cells: Cells) -> str:
    """One panel for each row."""
    panels = []
    for row in options.rows:
        unit = "bytes – shorter is better" if row is MEMORY else "ns for each operation – shorter is better"
        bars = []
        for name in sorted(options.libraries, key=lambda name: median(cells, row, name) or float("inf")):
            value, times = median(cells, row, name), ratio(cells, row, name)
            label = shown(value) + ("" if times is None else f"  ({times:.2f}×)")
            why = cells[row.name, name].missing
            bars.append(Bar(name, value, label if value is not None else f"n/a – {why}", name == OURS))
        panels.append(Panel(row.title, unit, tuple(bars)))
    lead, _, rest = headline(facts).partition(" · Python")
    return document("Green threads compared", [lead, f"Python{rest}"], panels)


def write(options: argparse.Namespace, facts: Mapping[str, Any], cells: Cells) -> None:
    """hub.json, hub.md and hub.svg; partial.hub.* when something was left out."""
    name = "hub" if options.whole else "partial.hub"
    options.output.mkdir(parents=True, exist_ok=True)
    rows = {
        row.name: {
            library: {"missing": cell.missing} if cell.missing else {"median": cell.median, "rounds": cell.values}
            for library in options.libraries
            for cell in (cells[row.name, library],)
        }
        for row in options.rows
    }
    report = json.dumps({**facts, "rows": rows}, indent=1)
    (options.output / f"{name}.json").write_text(report + "\n", encoding="utf-8")
    (options.output / f"{name}.md").write_text(markdown(options, facts, cells), encoding="utf-8")
    (options.output / f"{name}.svg").write_text(chart(options, facts, cells), encoding="utf-8")
    print(f"written: {options.output / name}.json, .md, .svg", file=sys.stderr)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
