"""A run that never ran: two scenarios, five servers, two rounds."""

import pytest

from benchmarks.results import Cell, Results, Sample
from benchmarks.scenarios import SCENARIOS, Metric

PEERS = ("greenserve", "eventlet", "gevent", "granian", "bjoern")


def rated(*rates, notes=(), **values):
    """A cell with one round for each rate, of a server that fills its core; further values by the names of Metric."""
    more = {Metric[name.upper()]: value for name, value in values.items()}
    common = {Metric.P50: 1.0, Metric.P99: 20.0, Metric.MEMORY: 16.0}
    return Cell([Sample({Metric.RATE: rate, Metric.CPU: 1e6 / rate, **common, **more}, notes) for rate in rates])


@pytest.fixture
def results():
    by_name = {scenario.name: scenario for scenario in SCENARIOS}
    idle = {Metric.P50: 0.4, Metric.FRESH_MS: 2.0, Metric.MEMORY: 20.0}
    cells = {
        ("hello", "greenserve"): rated(40_000, 42_000),
        ("hello", "eventlet"): rated(5_000, 5_000),
        ("hello", "gevent"): rated(6_000, 7_000, notes=("no keep-alive",)),
        ("hello", "granian"): Cell(missing="no wheel <for> this | machine"),
        ("hello", "bjoern"): rated(80_000, 84_000, client_cpu=0.99),
        ("idle", "greenserve"): Cell(
            [Sample({Metric.IDLE_KIB: 0.75, **idle}), Sample({Metric.IDLE_KIB: 0.85, **idle})]
        ),
        ("idle", "gevent"): Cell([Sample({Metric.IDLE_KIB: 16.0, **idle})]),
    }
    facts = {
        "date": "2026-01-01 00:00 UTC",
        "machine": {"cpu": "A & B", "cores": 2, "kernel": "6", "python": "3.11", "wrk": "wrk 4"},
        "rounds": 2,
        "seconds": 4,
        "codec": "compiled",
        "servers": {name: {"version": "1.0", "note": "its defaults"} for name in PEERS},
    }
    return Results(facts, (by_name["hello"], by_name["idle"]), PEERS, cells)
