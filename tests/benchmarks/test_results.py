"""Medians, ratios, ranks, and what is noted beside a number."""

import json
from dataclasses import replace

import pytest

from benchmarks.results import Cell, Results, Sample
from benchmarks.scenarios import KERNEL, SCENARIOS, Metric
from tests.benchmarks.conftest import rated


def test_a_cell_shows_the_median_of_its_rounds():
    assert rated(10, 1000, 30).median(Metric.RATE) == 30
    assert rated(10, 30).median(Metric.RATE) == 20


def test_a_cell_that_failed_in_a_later_round_has_no_number():
    cell = rated(10)
    cell.missing = "ended with code 1"
    assert cell.median(Metric.RATE) is None


def test_a_ratio_is_theirs_divided_by_ours(results):
    assert results.ratio("hello", "eventlet", Metric.RATE) == pytest.approx(5000 / 41_000)
    assert results.ratio("hello", "granian", Metric.RATE) is None


def test_rates_rank_from_the_top_and_memory_from_the_bottom_with_the_missing_last(results):
    assert results.ranked("hello", Metric.RATE) == ["bjoern", "greenserve", "gevent", "eventlet", "granian"]
    assert results.ranked("hello", Metric.CPU) == results.ranked("hello", Metric.RATE)
    assert results.ranked("idle", Metric.IDLE_KIB)[:2] == ["greenserve", "gevent"]


def test_the_best_of_several_ignores_the_missing(results):
    assert results.best("hello", ("eventlet", "gevent", "granian"), Metric.RATE) == 6500
    assert results.best("hello", ("granian",), Metric.RATE) is None
    assert results.best("idle", ("greenserve", "gevent"), Metric.IDLE_KIB) == pytest.approx(0.8)


def test_every_kind_of_error_is_noted():
    cell = rated(1, 1, errors=2, timeouts=3, non_2xx=500, notes=("no keep-alive",))
    assert cell.notes() == (
        "no keep-alive",
        "1,000 answers of another status than asked for",
        "4 socket errors",
        "6 answers later than 2 s",
    )


def test_a_client_that_used_up_its_core_is_noted():
    assert rated(1, client_cpu=0.97).notes() == ("wrk was the limit",)
    assert rated(1, client_cpu=0.90).notes() == ()


def test_disturbance_is_the_highest_of_all_rounds(results):
    assert results.disturbance() == 0
    results.cells["hello", "gevent"].samples.append(Sample({Metric.OTHER_CPU: 0.8}))
    assert results.disturbance() == 0.8


def test_json_holds_every_round_and_every_reason(results):
    servers = json.loads(json.dumps(results.to_json()))["scenarios"]["hello"]["servers"]
    assert servers["granian"] == {"missing": "no wheel <for> this | machine"}
    assert [each["requests_per_second"] for each in servers["gevent"]["rounds"]] == [6000, 7000]
    assert servers["gevent"]["median"]["requests_per_second"] == 6500
    assert servers["gevent"]["notes"] == ["no keep-alive"]


def test_a_server_that_a_scenario_is_not_for_is_in_no_table_of_it(results):
    more = replace(results, peers=(*results.peers, KERNEL))
    assert KERNEL in more.ranked("hello", Metric.CPU)
    assert KERNEL not in more.ranked("idle", Metric.IDLE_KIB)
    told = more.to_json()["scenarios"]
    assert (KERNEL in told["hello"]["servers"], KERNEL in told["idle"]["servers"]) == (True, False)


def test_a_server_that_had_no_turn_says_so(results):
    assert results.cell("idle", "eventlet") == Cell(missing="not part of this run")


def test_scenario_names_are_unique():
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)


def test_json_gives_the_results_back(results):
    told = json.loads(json.dumps(results.to_json()))
    again = Results.from_json(told)
    assert again.to_json() == told
    assert again.cell("hello", "bjoern").notes() == results.cell("hello", "bjoern").notes() == ("wrk was the limit",)


def test_a_scenario_that_is_run_again_takes_its_own_place_and_says_when(results):
    facts = {**results.facts, "date": "later", "rounds": 7, "codec": "python"}
    cells = {("hello", peer): rated(1) for peer in results.peers}
    newer = replace(results, facts=facts, scenarios=results.scenarios[:1], cells=cells)
    updated = Results.from_json(json.loads(json.dumps(results.updated(newer).to_json())))
    assert updated.median("hello", "eventlet", Metric.RATE) == 1
    assert updated.median("idle", "gevent", Metric.IDLE_KIB) == 16
    assert updated.facts["date"] == results.facts["date"]
    assert updated.facts["codec"] == "python"
    assert updated.again == {"hello": {"date": "later", "rounds": 7, "seconds": 4}}


def test_a_scenario_that_is_new_joins_in_the_order_of_the_table(results):
    crowd = next(scenario for scenario in SCENARIOS if scenario.name == "crowd")
    newer = replace(results, scenarios=(crowd,), cells={("crowd", "gevent"): rated(5)})
    updated = results.updated(newer)
    assert [scenario.name for scenario in updated.scenarios] == ["hello", "crowd", "idle"]
    assert updated.median("crowd", "gevent", Metric.RATE) == 5
