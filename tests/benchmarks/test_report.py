"""Goals, tables and the chart."""

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest

from benchmarks.chart import chart, shortened
from benchmarks.goals import Verdict, judge
from benchmarks.report import LEAD, aligned, markdown, markdown_table, number, summary, table, terminal
from benchmarks.results import DISTURBED, Results, Sample
from benchmarks.scenarios import KERNEL, PURE, SCENARIOS, Metric
from tests.benchmarks.conftest import rated
from tests.conftest import REPOSITORY


def verdicts(results):
    return {judged.goal.text: judged.verdict for judged in judge(results)}


def test_a_goal_is_judged_by_the_medians(results):
    assert verdicts(results)["hello: CPU against bjoern"] is Verdict.NOT_MET  # twice as much
    assert verdicts(results)["idle: memory of each connection"] is Verdict.MET
    results.cells["hello", "bjoern"] = rated(41_000)
    assert verdicts(results)["hello: CPU against bjoern"] is Verdict.MET


def test_a_goal_without_its_servers_is_not_measured(results):
    said = verdicts(results)
    assert said["upload: CPU against granian and uwsgi"] is Verdict.NOT_MEASURED
    assert said["sleepers: 99th percentile"] is Verdict.NOT_MEASURED


def test_the_cheapest_of_several_decides(results):
    results.cells["upload", "greenserve"] = rated(10_000)
    results.cells["upload", "granian"] = rated(5_000)
    assert verdicts(results)["upload: CPU against granian and uwsgi"] is Verdict.MET
    results.cells["upload", "uwsgi"] = rated(10_001)
    assert verdicts(results)["upload: CPU against granian and uwsgi"] is Verdict.NOT_MET


def test_the_limit_itself_is_met(results):
    results.cells["crowd", "greenserve"], results.cells["crowd", "gevent"] = rated(8000), rated(4000)
    assert verdicts(results)["crowd of sleepers: against the best of eventlet and gevent"] is Verdict.MET


def test_an_upper_limit_is_not_to_be_exceeded(results):
    results.cells["sleepers", "greenserve"] = rated(9000, p99=90.5)
    assert verdicts(results)["sleepers: 99th percentile"] is Verdict.NOT_MET


def test_pure_python_has_goals_of_its_own(results):
    results.cells["site", "granian"] = rated(40_000)
    results.cells["site", "greenserve"] = rated(80_000)
    results.cells["site", PURE] = rated(39_000)
    assert verdicts(results)["site, pure Python: CPU against granian"] is Verdict.NOT_MET


def test_a_cache_that_costs_more_than_it_saves_fails(results):
    results.cells["browser", "greenserve"] = rated(50_000)
    results.cells["ingress", "greenserve"] = rated(47_000)
    results.cells["returning", "greenserve"] = rated(51_000)
    said = verdicts(results)
    assert said["one field different: CPU against nothing repeated"] is Verdict.NOT_MET
    assert said["200 in turn: CPU against nothing repeated"] is Verdict.MET


def test_the_terminal_shows_numbers_ratios_and_reasons(results):
    shown = terminal(results)
    assert "41,000" in shown
    assert "0.50×" in shown
    assert "no wheel <for> this | machine" in shown
    assert "not met       hello: CPU against bjoern" in shown
    assert "0.80" in shown


def test_processor_time_leads_where_it_decides_and_the_rate_where_applications_wait(results):
    sleepers = next(scenario for scenario in SCENARIOS if scenario.name == "sleepers")
    assert table(results, results.scenarios[0])[0][:5] == ("server", "CPU µs", "÷ greenserve", "user", "system")
    assert table(results, sleepers)[0][:4] == ("server", "requests/s", "÷ greenserve", "CPU µs")


def test_every_row_has_every_column(results):
    for scenario in SCENARIOS:
        columns, rows = table(results, scenario)
        assert {len(row) for row in rows} == {len(columns)}


def test_the_codec_is_named_and_a_missing_one_is_warned_of(results):
    assert "greenserve's codec: compiled" in terminal(results)
    assert "without its compiled codec" not in terminal(results)
    assert "without its compiled codec" in terminal(replace(results, facts={**results.facts, "codec": "python"}))


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


def test_a_scenario_of_the_same_day_and_length_is_part_of_the_same_comparison(results):
    facts = {"date": "2026-01-01 03:00 UTC", "rounds": 2, "seconds": 4}
    assert "Run again" not in terminal(replace(results, again={"hello": facts}))
    assert "Run again" in terminal(replace(results, again={"hello": {**facts, "seconds": 5}}))


def test_the_summary_leads_and_has_no_notes(results):
    results.cells["hello", "greenserve"] = rated(50_000)
    page = markdown(results)
    rows = [line for line in page.split("\n") if line.startswith("| ")]
    assert rows[:2] == ["| processor µs for a request | one request repeated |", "| :-- | --: |"]
    assert "| **greenserve** | **20.0** |" in rows
    assert summary(replace(results, scenarios=()))[1] == []


def test_the_readme_has_the_summary_of_the_latest_results():
    latest = json.loads((REPOSITORY / "benchmarks" / "results" / "latest.json").read_text(encoding="utf-8"))
    table = markdown_table(*summary(Results.from_json(latest)), notes=False)
    assert table in (REPOSITORY / "README.md").read_text(encoding="utf-8")


def test_the_leading_chart_has_the_leading_scenarios_alone(results):
    whole, leading = chart(results), chart(results, LEAD)
    assert "5,000 idle" in whole
    assert "5,000 idle" not in leading
    assert "One request repeated" in leading
    assert set(LEAD) <= {scenario.name for scenario in SCENARIOS}


def test_what_is_no_server_is_faint(results):
    results.cells["hello", KERNEL] = rated(160_000)
    assert 'class="bar faint"' in chart(replace(results, peers=(*results.peers, KERNEL)))


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
    assert widths[0] / widths[1] == pytest.approx(41_000 / 82_000, rel=0.01)  # half the processor time


def test_a_long_reason_is_cut_where_it_would_not_fit():
    assert shortened("short", 100) == "short"
    assert shortened("x" * 100, 100) == "x" * 16 + "…"
