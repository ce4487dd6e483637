"""The sleeping request, and the burst: where it calls, what it reports, and that it never takes more than its share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.client import HTTPException
from types import SimpleNamespace
from typing import Any

import pytest

import greenserve
from greenserve.demo import slow as slow_module
from greenserve.demo.slow import MAX_BURST, Burst, clients, own_address
from greenserve.demo.web import Refused
from tests.demo.support import Clock, begun, call, environ_of


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(slow_module, "time", clock)
    return clock


@pytest.fixture(autouse=True)
def seats_are_given_back() -> Iterator[None]:
    yield
    assert clients.taken == 0


class Connection:
    """Stands for http.client.HTTPConnection. outcome: a status, or the exception that the request ends with."""

    def __init__(self, clock: Clock, outcome: int | Exception = 200) -> None:
        self.clock = clock
        self.outcome = outcome
        self.closed = False

    def request(self, method: str, path: str, headers: dict[str, str]) -> None:
        assert (method, path) == ("GET", "/slow?seconds=2")

    def getresponse(self) -> Any:
        self.clock.now += 2
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return SimpleNamespace(status=self.outcome, reason="Because", read=lambda: b"")

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(greenserve, "spawn", lambda function: function(), raising=False)


def reported(clock: Clock, outcomes: list[int | Exception]) -> list[Any]:
    connections = [Connection(clock, outcome) for outcome in outcomes]
    waiting = iter(connections)
    connect: Callable[[], Any] = lambda: next(waiting)  # noqa: E731 - typed, and used once
    clients.take(len(outcomes))
    run = Burst(len(outcomes), 2.0, connect, "/slow?seconds=2")
    lines = list(run.report())
    assert all(connection.closed for connection in connections)
    return lines


def test_slow_sleeps_for_as_long_as_it_was_asked(clock: Clock) -> None:
    assert call("GET", "/slow?seconds=1.5").text == "slept 1.5 s\n"
    assert clock.sleeps == [1.5]


@pytest.mark.parametrize("query", ["n=0", "n=1001", "n=1.5", "n=x", "n=5&seconds=10.1"])
def test_a_burst_out_of_bounds_is_refused_in_clear_text(query: str) -> None:
    answer = call("POST", f"/burst?{query}")
    assert answer.status == 400
    assert "number from" in answer.text


@pytest.mark.usefixtures("run_at_once")
def test_a_burst_reports_its_end(clock: Clock) -> None:
    *_, last = map(json.loads, reported(clock, [200, 200, 200]))
    assert last == {
        "n": 3,
        "seconds": 2.0,
        "done": 3,
        "failed": 0,
        "elapsed": 6.0,
        "slowest": 2.0,
        "errors": {},
        "finished": True,
    }


@pytest.mark.usefixtures("run_at_once")
def test_failures_are_counted_with_their_reasons_but_only_a_few_kinds_of_them(clock: Clock) -> None:
    outcomes = [200, 503, ConnectionRefusedError("no"), HTTPException("odd"), ConnectionRefusedError("no"), 500]
    *_, last = map(json.loads, reported(clock, outcomes))
    assert (last["done"], last["failed"]) == (1, 5)
    assert last["errors"] == {
        "HTTPException: 503 Because": 1,
        "ConnectionRefusedError: no": 2,
        "HTTPException: odd": 1,
    }


def test_a_report_goes_on_until_the_last_client_has_ended(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    spawned: list[Callable[[], None]] = []
    monkeypatch.setattr(greenserve, "spawn", spawned.append, raising=False)
    clients.take(2)
    run = Burst(2, 2.0, lambda: Connection(clock), "/slow?seconds=2")  # type: ignore[arg-type, return-value]
    report = run.report()
    assert b'"done":0' in next(report)
    spawned.pop()()
    assert b'"done":1' in next(report)
    spawned.pop()()
    assert b'"finished":true' in next(report)
    assert list(report) == []


def test_a_burst_whose_report_is_never_read_gives_its_seats_back() -> None:
    with begun("POST", "/burst?n=7"):
        assert clients.taken == 7
    assert clients.taken == 0


def test_bursts_beyond_the_most_clients_are_asked_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_module, "free_files", lambda: None)
    with begun("POST", f"/burst?n={MAX_BURST}"), begun("POST", f"/burst?n={MAX_BURST}"):
        answer = call("POST", "/burst?n=1&seconds=3")
    assert answer.status == 429
    assert answer.headers["Retry-After"] == "4"


def test_a_burst_that_would_run_out_of_descriptors_says_how_many_are_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_module, "free_files", lambda: 464)
    answer = call("POST", "/burst?n=201")
    assert answer.status == 503
    assert "at most 200 requests" in answer.text
    assert "ulimit -n" in answer.text


@pytest.mark.parametrize(
    ("name", "port", "address"),
    [
        ("127.0.0.1", "8000", ("127.0.0.1", 8000)),
        ("10.1.2.3", "80", ("10.1.2.3", 80)),
        ("0.0.0.0", "8000", ("127.0.0.1", 8000)),
        ("::", "8000", ("::1", 8000)),
        ("::1", "8000", ("::1", 8000)),
        ("example.org", "8000", ("127.0.0.1", 8000)),
    ],
)
def test_a_burst_calls_the_address_that_listens(name: str, port: str, address: tuple[str, int]) -> None:
    environ = environ_of("POST", "/burst", HTTP_HOST="elsewhere:1") | {"SERVER_NAME": name, "SERVER_PORT": port}
    assert own_address(environ) == address


@pytest.mark.parametrize(
    "change",
    [
        {"wsgi.url_scheme": "https"},
        {"SSL_PROTOCOL": "TLSv1.3"},
        {"SERVER_PORT": ""},
        {"SERVER_PORT": "70000"},
        {"REMOTE_ADDR": ""},
    ],
)
def test_a_burst_without_a_plain_tcp_address_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(Refused) as refusal:
        own_address(environ_of("POST", "/burst") | change)
    assert refusal.value.status.startswith("409")
