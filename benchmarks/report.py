"""The results as text: a table for the terminal and one in Markdown, from the same rows. No I/O in this file."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.goals import judge
from benchmarks.results import DISTURBED, OURS, Results
from benchmarks.scenarios import Metric, Scenario

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


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; greenserve's row is bold, all columns but the first and last are set to the right."""
    rule = [":--" if column in (0, len(columns) - 1) else "--:" for column in range(len(columns))]
    lines = [columns, rule]
    for row in rows:
        cells = [cell.replace("|", "\\|") for cell in row]
        lines.append([f"**{cell}**" if cell and row[0] == OURS else cell for cell in cells])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def again(results: Results, scenario: Scenario) -> list[str]:
    """Where a scenario is of a later run than the others: when, and how."""
    facts = results.again.get(scenario.name)
    if facts is None:
        return []
    return [f"Run again: {facts['date']}, medians of {facts['rounds']} interleaved rounds of {facts['seconds']:g} s."]


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
