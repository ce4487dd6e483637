"""The results as text: a table for the terminal and one in Markdown, from the same rows. No I/O in this file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.goals import judge
from benchmarks.results import DISTURBED, OURS, Results
from benchmarks.scenarios import Metric, Scenario

LEAD = {  # the scenarios that tell most, in a few words
    "site": "a site: every request and answer different",
    "browser": "every request different",
    "hello": "one request repeated",
    "flask": "Flask, session, JSON",
}
LATENCIES = (("p50 ms", Metric.P50), ("p99 ms", Metric.P99), ("memory MiB", Metric.MEMORY))
COLUMNS: dict[Metric, tuple[str, tuple[tuple[str, Metric], ...]]] = {  # by what is ranked: its name, and the rest
    Metric.CPU: (
        "CPU µs",
        (("user", Metric.CPU_USER), ("system", Metric.CPU_SYSTEM), ("requests/s", Metric.RATE), *LATENCIES),
    ),
    Metric.RATE: ("requests/s", (("CPU µs", Metric.CPU), *LATENCIES)),
    Metric.IDLE_KIB: (
        "KiB each",
        (("fresh ms", Metric.P50), ("slowest ms", Metric.FRESH_MS), ("memory MiB", Metric.MEMORY)),
    ),
    Metric.START_MS: ("ms", (("memory MiB", Metric.MEMORY),)),
}


def table(results: Results, scenario: Scenario) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """(column names, one row of texts for each server, the best first)."""
    first, others = COLUMNS[scenario.metric]
    rows: list[tuple[str, ...]] = []
    for peer in results.ranked(scenario.name, scenario.metric):
        cell = results.cell(scenario.name, peer)
        value = cell.median(scenario.metric)
        if value is None:
            rows.append((peer, "n/a", *["–"] * (1 + len(others)), cell.missing or "no number"))
            continue
        ratio = results.ratio(scenario.name, peer, scenario.metric)
        rest = [number(cell.median(metric)) for _, metric in others]
        rows.append((peer, number(value), "–" if ratio is None else f"{ratio:.2f}×", *rest, "; ".join(cell.notes())))
    return ("server", first, "÷ greenserve", *(name for name, _ in others), "notes"), rows


def summary(results: Results) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """(column names, one row for each server): processor µs for a request in the scenarios that lead."""
    names = [scenario.name for scenario in results.scenarios if scenario.name in LEAD]
    rows = [
        (peer, *(number(results.median(name, peer, Metric.CPU)) for name in names))
        for peer in (results.ranked(names[0], Metric.CPU) if names else ())
    ]
    return ("processor µs for a request", *(LEAD[name] for name in names)), rows


def number(value: float | None) -> str:
    """A latency or a size with as many digits as it is worth."""
    if value is None:
        return "–"
    return f"{value:.2f}" if value < 10 else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def terminal(results: Results) -> str:
    """Everything for a terminal."""
    parts = [facts_line(results), *warnings(results)]
    for scenario in results.scenarios:
        columns, rows = table(results, scenario)
        parts.append("\n".join([scenario.title, *again(results, scenario), aligned([columns, *rows])]))
    parts.append("Goals\n" + "\n".join(f"  {judged.line()}" for judged in judge(results)))
    return "\n\n".join(parts) + "\n"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns of even width; the first and the last begin at the left, the numbers between end at the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    last = len(widths) - 1
    lines = []
    for row in rows:
        cells = [
            text.ljust(width) if column in (0, last) else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(("  " + "  ".join(cells)).rstrip())
    return "\n".join(lines)


def markdown(results: Results) -> str:
    """Everything as a Markdown page."""
    parts = [
        "# greenserve and its peers",
        facts_line(results),
        *warnings(results),
        "![The same numbers as bars](latest.svg)",
        markdown_table(*summary(results), notes=False),
    ]
    for scenario in results.scenarios:
        columns, rows = table(results, scenario)
        parts += [f"## {scenario.title}", *again(results, scenario), markdown_table(columns, rows)]
    goals = [(each.goal.text, each.measured(), each.goal.bound(), each.verdict.value) for each in judge(results)]
    parts += ["## Goals", markdown_table(("goal", "measured", "limit", "verdict"), goals), "## Servers"]
    servers = [
        (name, server.get("version") or "–", server.get("missing") or server["note"])
        for name, server in results.facts["servers"].items()
    ]
    parts.append(markdown_table(("server", "version", "configuration"), servers))
    return "\n\n".join(parts) + "\n"


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, notes: bool = True) -> str:
    """A Markdown table; greenserve's row is bold. All columns are set to the right but the first, and the last if that
    has notes.
    """
    rule = [":--", *["--:"] * (len(columns) - 1 - notes), *[":--"] * notes]
    lines = [columns, rule]
    for row in rows:
        cells = [cell.replace("|", "\\|") for cell in row]
        lines.append([f"**{cell}**" if cell and row[0] == OURS else cell for cell in cells])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def again(results: Results, scenario: Scenario) -> list[str]:
    """Where a scenario is of another day than the others, or was measured otherwise: when, and how."""
    facts = results.again.get(scenario.name)
    if facts is None or all(_of_run(facts, name) == _of_run(results.facts, name) for name in facts):
        return []
    return [f"Run again: {facts['date']}, medians of {facts['rounds']} interleaved rounds of {facts['seconds']:g} s."]


def _of_run(facts: Mapping[str, Any], name: str) -> object:
    """A fact of a run, its date without the time."""
    return facts[name].split()[0] if name == "date" else facts[name]


def warnings(results: Results) -> list[str]:
    """What a reader must know before any number."""
    share, said = results.disturbance(), []
    if results.facts.get("codec") == "python":
        said.append("greenserve was installed without its compiled codec: its two rows are of the same code.")
    if share > DISTURBED:
        said.append(
            f"Disturbed: other processes of this machine used up to {share:.0%} of a core during a measurement."
        )
    return said


def facts_line(results: Results) -> str:
    """One line: when, on what, how."""
    facts, machine = results.facts, results.facts["machine"]
    return (
        f"{facts['date']} · {machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']} · "
        f"Python {machine['python']} · greenserve's codec: {facts.get('codec', 'unknown')} · "
        f"{machine['wrk']} · one worker process on one core, wrk on another · "
        f"medians of {facts['rounds']} interleaved rounds of "
        f"{facts['seconds']:g} s"
    )
