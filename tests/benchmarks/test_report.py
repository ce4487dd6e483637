"""Goals, tables and the chart."""

import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest

from benchmarks.chart import chart, shortened
from benchmarks.goals import Verdict, judge
from benchmarks.report import aligned, markdown, markdown_table, number, terminal
from benchmarks.results import DISTURBED, Sample
from benchmarks.scenarios import Metric
from tests.benchmarks.conftest import rated


def verdicts(results):
    return {judged.goal.text: judged.verdict for judged in judge(results)}


def test_a_goal_is_judged_by_the_medians(results):
    said = verdicts(results)
    assert said["hello: against eventlet"] is Verdict.MET  # 41,000 / 5,000
    assert said["hello: against bjoern"] is Verdict.NOT_MET  # 41,000 / 82,000
    assert said["idle: memory of each connection"] is Verdict.MET


def test_a_goal_without_its_servers_is_not_measured(results):
    said = verdicts(results)
    assert said["hello: against granian"] is Verdict.NOT_MEASURED
    assert said["sleepers: 99th percentile"] is Verdict.NOT_MEASURED


def test_the_limit_itself_is_met(results):
    results.cells["hello", "eventlet"] = rated(41_000 / 8)
    assert verdicts(results)["hello: against eventlet"] is Verdict.MET


def test_an_upper_limit_is_not_to_be_exceeded(results):
    results.cells["sleepers", "greenserve"] = rated(9000, p99=90.5)
    assert verdicts(results)["sleepers: 99th percentile"] is Verdict.NOT_MET


def test_the_terminal_shows_numbers_ratios_and_reasons(results):
    shown = terminal(results)
    assert "41,000" in shown
    assert "0.12×" in shown
    assert "no wheel <for> this | machine" in shown
    assert "not met       hello: against bjoern" in shown
    assert "0.80" in shown


def test_a_disturbed_run_says_so_first(results):
    assert "Disturbed" not in terminal(results)
    results.cells["hello", "gevent"].samples.append(Sample({Metric.OTHER_CPU: DISTURBED * 2}))
    assert terminal(results).split("\n\n")[1].startswith("Disturbed: other processes")
    assert "Disturbed" in markdown(results)
    assert "Disturbed" in chart(results)


def test_a_scenario_that_was_run_again_says_so(results):
    facts = {"date": "2026-01-02 00:00 UTC", "rounds": 7, "seconds": 4}
    later = replace(results, again={"hello": facts})
    line = "Run again: 2026-01-02 00:00 UTC, medians of 7 interleaved rounds of 4 s."
    assert "Run again" not in terminal(results) + markdown(results) + chart(results)
    assert [show(later).count(line) for show in (terminal, markdown, chart)] == [1, 1, 1]


def test_columns_line_up():
    assert aligned([("a", "x", "note"), ("bbb", "1,000", "n")]) == "  a        x  note\n  bbb  1,000  n"


def test_a_markdown_table_escapes_bars_and_stresses_our_row():
    table = markdown_table(("server", "number", "notes"), [("greenserve", "1", ""), ("other", "2", "a | b")])
    assert table.split("\n") == [
        "| server | number | notes |",
        "| :-- | --: | :-- |",
        "| **greenserve** | **1** |  |",
        "| other | 2 | a \\| b |",
    ]


@pytest.mark.parametrize(("value", "text"), [(None, "–"), (0.754, "0.75"), (17.53, "17.5"), (1234.5, "1,234")])
def test_a_number_has_as_many_digits_as_it_is_worth(value, text):
    assert number(value) == text


def test_the_chart_is_well_formed_and_highlights_one_bar_in_each_panel(results):
    root = ElementTree.fromstring(chart(results))
    space = "{http://www.w3.org/2000/svg}"
    bars = [each for each in root.iter(f"{space}rect") if (each.get("class") or "").startswith("bar")]
    assert [each.get("class") for each in bars].count("bar ours") == 2
    assert len(bars) == 4 + 2
    texts = [each.text for each in root.iter(f"{space}text")]
    assert "n/a – no wheel <for> this | machine" in texts
    assert "* gevent: no keep-alive" in texts


def test_bars_are_as_long_as_their_values(results):
    root = ElementTree.fromstring(chart(results))
    widths = [float(each.get("width")) for each in root.iter("{http://www.w3.org/2000/svg}rect") if each.get("class")]
    assert widths[1] / widths[0] == pytest.approx(41_000 / 82_000, rel=0.01)


def test_a_long_reason_is_cut_where_it_would_not_fit():
    assert shortened("short", 100) == "short"
    assert shortened("x" * 100, 100) == "x" * 16 + "…"
