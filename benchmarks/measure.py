"""One server, one scenario, one round: start it, see that it answers rightly, load it, read its memory, end it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.check import check
from benchmarks.idle import hold_idle
from benchmarks.load import run_wrk
from benchmarks.peers import Launch, Peer
from benchmarks.process import ServerProcess, busy_seconds, free_port, running
from benchmarks.results import Sample
from benchmarks.scenarios import Metric, Scenario

WARM_SECONDS = 1


def measure(peer: Peer, scenario: Scenario, python: str, core: int, seconds: float) -> Sample:
    """Raises ServerFailed, WrongAnswer, NotIdle or LoadFailed: why there is no number."""
    port = free_port()
    command = peer.command(Launch(python, scenario.app, port, scenario.threads))
    with (
        tempfile.TemporaryDirectory(prefix="greenserve-bench-") as scratch,
        running(command, port, core, Path(scratch) / "log") as server,
    ):
        notes = check(port, scenario)
        idle = scenario.metric is Metric.IDLE_KIB
        values = _idle(server, scenario) if idle else _loaded(server, scenario, seconds)
        server.expect_alive()
        return Sample(values, notes)


def _idle(server: ServerProcess, scenario: Scenario) -> dict[Metric, float]:
    idle = hold_idle(server, scenario.connections)
    memory = server.memory_kib() / 1024
    return {Metric.IDLE_KIB: idle.kib, Metric.FRESH_MS: idle.worst_ms, Metric.P50: idle.fresh_ms, Metric.MEMORY: memory}


def _loaded(server: ServerProcess, scenario: Scenario, seconds: float) -> dict[Metric, float]:
    url = f"http://127.0.0.1:{server.port}/"
    run_wrk(url, scenario.connections, WARM_SECONDS, scenario.script)
    used, busy = server.cpu_seconds(), busy_seconds()
    load = run_wrk(url, scenario.connections, seconds, scenario.script)
    span = max(1, round(seconds))
    server_cpu = (server.cpu_seconds() - used) / span
    return {
        Metric.RATE: load.rate,
        Metric.P50: load.p50,
        Metric.P99: load.p99,
        Metric.MEMORY: server.memory_kib() / 1024,
        Metric.ERRORS: load.socket_errors,
        Metric.TIMEOUTS: load.timeouts,
        Metric.NON_2XX: load.non_2xx,
        Metric.SERVER_CPU: server_cpu,
        Metric.CLIENT_CPU: load.client_cpu,
        Metric.OTHER_CPU: max(0.0, (busy_seconds() - busy) / span - server_cpu - load.client_cpu),
    }
