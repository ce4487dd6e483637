"""The results as one SVG of bars, without a plotting library: text, rectangles, and arithmetic. No I/O in this file."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from html import escape

from benchmarks.report import again, number, warnings
from benchmarks.results import OURS, Results
from benchmarks.scenarios import KERNEL, Metric, Scenario

MARGIN = 28
COLUMN = 568
GUTTER = 36
BAR, STEP = 16, 23
HEAD = 46  # a panel's title and unit
TITLE = 92  # the chart's own
NOTE = 15  # a line below the bars
NAMES = 146  # room for the servers' names, set to the right against the bars
VALUES = 128  # room for the numbers behind the longest bar

STYLE = """
svg { background: #ffffff; font-family: Inter, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif; }
.title { font-size: 22px; font-weight: 700; fill: #14231b; }
.facts { font-size: 12px; fill: #5b6b62; }
.panel { font-size: 14.5px; font-weight: 600; fill: #14231b; }
.unit { font-size: 11.5px; fill: #5b6b62; }
.name, .value { font-size: 12px; fill: #37453d; }
.value { font-variant-numeric: tabular-nums; }
.none { font-size: 11px; fill: #8a968f; font-style: italic; }
.bar { fill: #b9c4be; }
.ours { font-weight: 700; fill: #0b6b3a; }
.bar.ours { fill: #17a35b; }
.faint { font-style: italic; fill: #8a968f; }
.bar.faint { fill: #e3e8e5; }
.axis { stroke: #cfd8d3; stroke-width: 1; }
"""


@dataclass(frozen=True, slots=True)
class Bar:
    """One line of a panel. value None: there is no number; `text` says why. ours: highlighted. faint: not a server."""

    name: str
    value: float | None
    text: str
    ours: bool = False
    faint: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """One group of bars, the best first, and what must be said below them."""

    title: str
    unit: str
    bars: tuple[Bar, ...]
    notes: tuple[str, ...] = ()

    @property
    def height(self) -> int:
        """Pixels from the top of its title to below its last line."""
        return HEAD + STEP * len(self.bars) + NOTE * len(self.notes)


def chart(results: Results, only: Collection[str] | None = None) -> str:
    """All scenarios, or those with these names, two panels beside each other."""
    facts, machine = results.facts, results.facts["machine"]
    subtitle = (
        f"{machine['cpu']} · Linux {machine['kernel']} · Python {machine['python']} · "
        "one worker process on one core, wrk on another",
        f"{facts['date']} · medians of {facts['rounds']} interleaved rounds of {facts['seconds']:g} s · "
        "× is the multiple of greenserve's value",
    )
    scenarios = [scenario for scenario in results.scenarios if only is None or scenario.name in only]
    panels = [panel(results, scenario, scenario.metric) for scenario in scenarios]
    panels += [panel(results, scenario, Metric.P99) for scenario in scenarios if scenario.sleeps]
    return document("greenserve and its peers", [*subtitle, *warnings(results)], panels)


UNITS = {
    Metric.CPU: "processor µs for a request, user + system – shorter is better",
    Metric.RATE: "requests per second – longer is better",
    Metric.P99: "99th percentile of the latency in ms – shorter is better",
    Metric.IDLE_KIB: "KiB for each connection – shorter is better",
    Metric.START_MS: "ms – shorter is better",
}


def panel(results: Results, scenario: Scenario, metric: Metric) -> Panel:
    """One scenario's bars."""
    bars, notes = [], again(results, scenario)
    for peer in results.ranked(scenario.name, metric):
        cell = results.cell(scenario.name, peer)
        value = cell.median(metric)
        if value is None:
            bars.append(Bar(peer, None, f"n/a – {cell.missing or 'no number'}"))
            continue
        ratio = results.ratio(scenario.name, peer, metric)
        mark = " *" if cell.notes() else ""
        text = number(value) + ("" if ratio is None else f"  ({ratio:.2f}×)") + mark
        bars.append(Bar(peer, value, text, ours=peer == OURS, faint=peer == KERNEL))
        if mark:
            notes.append(f"* {peer}: {'; '.join(cell.notes())}")
    return Panel(scenario.title, UNITS[metric], tuple(bars), tuple(notes))


def document(title: str, subtitle: Sequence[str], panels: Sequence[Panel]) -> str:
    """The SVG: a title, lines below it, and the panels in two columns."""
    head = TITLE + 17 * max(0, len(subtitle) - 2)
    rows = [panels[start : start + 2] for start in range(0, len(panels), 2)]
    columns = min(2, max(1, len(panels)))
    width = 2 * MARGIN + columns * COLUMN + (columns - 1) * GUTTER
    parts, top = [], head
    for row in rows:
        for column, each in enumerate(row):
            parts.append(_panel(each, MARGIN + column * (COLUMN + GUTTER), top))
        top += max(each.height for each in row) + GUTTER
    heading = [_text(MARGIN, 40, "title", title)]
    heading += [_text(MARGIN, 60 + 17 * line, "facts", text) for line, text in enumerate(subtitle)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{top}" '
            f'viewBox="0 0 {width} {top}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            f'<rect width="{width}" height="{top}" fill="#ffffff"/>',
            *heading,
            *parts,
            "</svg>\n",
        ]
    )


def _panel(panel: Panel, left: int, top: int) -> str:
    longest = max((bar.value for bar in panel.bars if bar.value is not None), default=0.0)
    start, room = left + NAMES, COLUMN - NAMES - VALUES
    parts = [_text(left, top + 14, "panel", panel.title), _text(left, top + 31, "unit", panel.unit)]
    first = top + HEAD
    parts.append(
        f'<line class="axis" x1="{start}" y1="{first - 4}" x2="{start}" y2="{first + STEP * len(panel.bars) - 3}"/>'
    )
    for index, bar in enumerate(panel.bars):
        y = first + index * STEP
        ours = " ours" if bar.ours else " faint" if bar.faint else ""
        parts.append(_text(start - 8, y + 12, f"name{ours}", bar.name, anchor="end"))
        if bar.value is None:
            parts.append(_text(start + 8, y + 12, "none", shortened(bar.text, COLUMN - NAMES - 8)))
            continue
        length = max(1.0, room * bar.value / longest) if longest else 1.0
        parts.append(f'<rect class="bar{ours}" x="{start}" y="{y}" width="{length:.1f}" height="{BAR}" rx="2"/>')
        parts.append(_text(start + length + 7, y + 12, f"value{ours}", bar.text))
    below = first + STEP * len(panel.bars) + 9
    for index, note in enumerate(panel.notes):
        parts.append(_text(start, below + NOTE * index, "none", shortened(note, COLUMN - NAMES)))
    return "\n".join(parts)


def shortened(text: str, pixels: int) -> str:
    """The text, cut at the end where it would not fit (about 5.6 pixels for each character at 11 px)."""
    most = int(pixels / 5.6)
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _text(x: float, y: float, style: str, text: str, anchor: str = "start") -> str:
    place = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}"{place}>{escape(text)}</text>'
