"""The feed of figures, and the facts."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from greenserve.demo import live as live_module
from greenserve.demo.live import watchers
from greenserve.version import VERSION
from tests.demo.support import Clock, begun, call


def figures(event: bytes) -> Any:
    assert event.startswith(b"data: ")
    assert event.endswith(b"\n\n")
    return json.loads(event.removeprefix(b"data: "))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(overrun=0.025)
    monkeypatch.setattr(live_module, "time", clock)
    return clock


def test_the_feed_samples_ten_times_a_second(clock: Clock) -> None:
    with begun("GET", "/live") as (answer, pieces):
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert next(pieces).startswith(b"retry: ")
        first, second = figures(next(pieces)), figures(next(pieces))
    assert clock.sleeps == [0.1]
    assert first["in_flight"] == second["in_flight"] == 0
    assert first["memory"] is None or first["memory"] > 1_000_000


def test_the_feed_tells_by_how_much_its_sleeps_overrun(clock: Clock) -> None:
    with begun("GET", "/live") as (_, pieces):
        next(pieces)
        assert figures(next(pieces))["late_ms"] == 0
        assert figures(next(pieces))["late_ms"] == pytest.approx(25)


def test_a_feed_ends_by_itself(clock: Clock) -> None:
    list(live_module.samples())
    assert clock.now - 1000 == pytest.approx(live_module.LIFETIME, abs=0.2)


class Stopping:
    """Stands for environ["greenserve.stopping"]: set after some waits."""

    def __init__(self, waits: int) -> None:
        self.left = waits

    def wait(self, timeout: float) -> bool:
        self.left -= 1
        return self.left < 0


def test_a_feed_goes_on_until_the_server_says_that_it_stops(clock: Clock) -> None:
    samples = int(10 * live_module.LIFETIME / live_module.INTERVAL)
    assert len(list(live_module.samples(Stopping(samples)))) == samples + 2  # the retry, and one before the first wait
    assert clock.sleeps == []


def test_only_so_many_pages_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchers, "most", 1)
    with begun("GET", "/live"):
        answer = call("GET", "/live")
        assert answer.status == 503
        assert answer.headers["Retry-After"] == "5"
    with begun("GET", "/live") as (again, _):
        assert again.status == 200
    assert watchers.taken == 0


def test_the_facts_are_those_of_this_process() -> None:
    facts = call("GET", "/facts").lines[0]
    assert facts["pid"] == os.getpid()
    assert facts["greenserve"] == VERSION


def test_without_proc_memory_is_the_most_that_was_ever_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "Path", lambda name: _Missing())
    memory = live_module.resident_memory()
    assert memory is not None
    assert memory > 1_000_000


class _Missing:
    def read_bytes(self) -> bytes:
        raise FileNotFoundError
