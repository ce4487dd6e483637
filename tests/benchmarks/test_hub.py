"""The table and the goals of the green-thread comparison; nothing is measured here."""

import argparse
import ast

import pytest

from benchmarks import hub
from benchmarks.hub import MEMORY, ROWS, Measured, goals, million, missing, table

OPTIONS = argparse.Namespace(rows=[*ROWS, MEMORY], libraries=list(hub.LIBRARIES))


def cells(ours=100.0, eventlet=500.0, gevent=300.0):
    each = {"greenserve": ours, "eventlet": eventlet, "gevent": gevent, "asyncio": 200.0}
    return {(row.name, name): Measured([value]) for row in OPTIONS.rows for name, value in each.items()}


def test_each_number_has_the_multiple_of_ours_beside_it():
    head, first, *_ = table(OPTIONS, cells())
    assert head == ("operation", "greenserve", "eventlet", "÷", "gevent", "÷", "asyncio", "÷")
    assert first[1:] == ("100", "500", "5.00×", "300", "3.00×", "200", "2.00×")


def verdicts(cells):
    return [line[:14].strip() for line in goals(cells)]


def test_each_row_is_judged_against_the_better_of_the_green_libraries():
    assert verdicts(cells())[:-1] == ["met"] * len(ROWS)
    slower = cells() | {(ROWS[0].name, "greenserve"): Measured([300 / ROWS[0].goal + 1])}
    assert verdicts(slower)[:2] == ["not met", "met"]
    assert goals(cells())[0].startswith(f"met           {ROWS[0].title}: 3.00× as fast as the better")


def test_memory_is_judged_in_bytes():
    assert verdicts(cells())[-1] == "met"
    assert verdicts(cells() | {("memory", "greenserve"): Measured([6145.0])})[-1] == "not met"
    assert goals({})[-1] == f"not measured  {MEMORY.title}"


def test_goals_without_every_number_are_not_measured():
    partly = cells() | {(ROWS[0].name, "gevent"): Measured([1.0, 2.0], missing="it broke")}
    assert goals(partly)[0] == f"not measured  {ROWS[0].title}"
    assert verdicts(partly)[1] == "met"
    assert missing(partly) == [f"n/a: gevent, {ROWS[0].name}: it broke"]


def test_a_million_is_extrapolated_in_gibibytes():
    assert million(OPTIONS, cells(ours=2**30 / 1_000_000))[0].startswith("greenserve: a million asleep take 1.00 GiB")


@pytest.mark.parametrize("library", hub.LIBRARIES)
def test_every_library_has_every_row(library):
    source = (hub.CHILD.parent / f"rows_{library}.py").read_text(encoding="utf-8")
    defined = {node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert {row.name for row in ROWS} | {"park"} <= defined
