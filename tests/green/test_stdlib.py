"""The quick ones among the standard library's own tests, under patching; `make stdlib-tests` runs them all."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, missing

sys.path.insert(0, str(REPOSITORY / "tools"))

from stdlib_exclusions import EXCLUSIONS, reason_for
from stdlib_runs import Cache, Run
from stdlib_tests import Comparison, Runner, document

QUICK = ("test_queue", "test_select", "test_poll", "test_epoll", "test_thread", "test_threading_local", "test_sched")
QUICK += ("test_socketserver", "test_time", "test_context")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("module", QUICK)
def test_the_standard_librarys_own_tests_pass_patched(module: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(f"test.{module}") is None:
        missing(f"this interpreter comes without test.{module}", "stdlib-tests")
    one = Runner(Cache(tmp_path), silence=60, again=False).compare(sys.executable, module, ["greenserve"])
    assert one is not None
    assert one.passed > 1
    assert one.unexplained == [], [one.greenserve.details.get(test) for test in one.unexplained]


def test_what_is_lost_counts_whether_it_is_explained_or_not() -> None:
    unpatched = Run({"a": "passed", "b": "passed", "c": "passed", "d": "failed", "e": "passed"})
    ours = Run({"a": "passed", "b": "hung", "c": "excluded", "e": "skipped"})
    one = Comparison("test_x", "3.12", unpatched, ours, Run({"a": "passed"}))
    assert one.lost(one.greenserve) == one.unexplained == ["b", "c"]
    text = document([one])
    assert "| 3.12 | test_x | 4 | 2 | 1 | 1, 0, 1, 1, 1 |" in text
    assert "| **4** | **2 (50.00 %)** | **1 (25.00 %)** |" in text


def test_a_run_that_is_kept_is_not_run_again(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assert cache.get("3.12", "test_x", "none") is None
    cache.put("3.12", "test_x", "none", Run({"a": "passed"}, {"a": ""}, "something"))
    assert cache.get("3.12", "test_x", "none") == Run({"a": "passed"}, {"a": ""}, "something")
    assert cache.get("3.12", "test_x", "greenserve") is None


def test_every_exclusion_has_a_reason() -> None:
    assert all(len(reason.split()) > 3 for reason in EXCLUSIONS.values())
    assert reason_for("test.test_select.SelectTestCase.test_disallow_instantiation", "3.11")
    assert reason_for("test.test_select.SelectTestCase.test_select", "3.11") is None
