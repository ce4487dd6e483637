"""One server, one scenario, one round: start it, see that it answers rightly, load it, read its memory, end it."""

from __future__ import annotations

import statistics
from pathlib import Path

from benchmarks.check import check, first_requests, log_in
from benchmarks.idle import hold_idle
from benchmarks.load import Load, LoadFailed, run_wrk
from benchmarks.peers import Launch, Peer
from benchmarks.process import ServerProcess, busy_seconds, free_port, running
from benchmarks.results import Sample
from benchmarks.scenarios import APPS, Metric, Scenario
from benchmarks.start import time_start

WARM_SECONDS = 1
MILLION = 1_000_000


def measure(peer: Peer, scenario: Scenario, python: str, core: int, seconds: float, scratch: Path) -> Sample:
    """scratch: a directory for the requests and the server's log. Raises ServerFailed, WrongAnswer, NotIdle or
    LoadFailed: why there is no number.
    """
    port, log = free_port(), scratch / "log"
    command = peer.command(Launch(python, scenario.app, port, scenario.threads, answer_bytes(scenario)))
    if scenario.metric is Metric.START_MS:
        start = time_start(command, port, core, log, peer.environ)
        return Sample({Metric.START_MS: start.ms, Metric.MEMORY: start.memory_mib})
    with running(command, port, core, log, peer.environ) as server:
        session = log_in(port) if scenario.logs_in else ""
        notes = check(port, scenario, session) if peer.serves else ()
        if scenario.metric is Metric.IDLE_KIB:
            values = _idle(server, scenario)
        else:
            values = _loaded(server, scenario, seconds, script_arguments(scenario, session, scratch))
            if not peer.serves:
                values[Metric.NON_2XX] = 0  # it answers everything with 200
        server.expect_alive()
        return Sample(values, notes)


def answer_bytes(scenario: Scenario) -> int:
    """What an answer has in the mean, without the status line and what a server adds."""
    return round(statistics.mean(scenario.answer(request).size() for request in first_requests(scenario)))


def script_arguments(scenario: Scenario, session: str, scratch: Path) -> list[str]:
    """What apps/replay.lua is told, for a scenario that has its requests made."""
    if scenario.traffic is None:
        return []
    return [str(scenario.traffic.written(scratch)), *([session] if session else [])]


def unexpected(load: Load, scenario: Scenario) -> int:
    """How many answers have another status than asked for, as far as counts can tell.

    Requests are sent in turn, so their share is exact, apart from those without an answer when the load ends: at most
    one for each connection.
    """
    unanswered = scenario.connections if scenario.missing else 0
    return max(0, round(abs(load.non_2xx - load.requests * scenario.missing)) - unanswered)


def _idle(server: ServerProcess, scenario: Scenario) -> dict[Metric, float]:
    idle = hold_idle(server, scenario.connections)
    memory = server.memory_kib() / 1024
    return {Metric.IDLE_KIB: idle.kib, Metric.FRESH_MS: idle.worst_ms, Metric.P50: idle.fresh_ms, Metric.MEMORY: memory}


def _loaded(server: ServerProcess, scenario: Scenario, seconds: float, arguments: list[str]) -> dict[Metric, float]:
    url = f"http://127.0.0.1:{server.port}/"
    script = APPS / "replay.lua" if scenario.traffic else scenario.script
    run_wrk(url, scenario.connections, WARM_SECONDS, script, arguments)
    before, busy = server.processor_time(), busy_seconds()
    load = run_wrk(url, scenario.connections, seconds, script, arguments)
    after = server.processor_time()
    if not load.requests:
        raise LoadFailed(f"answered no request in {max(1, round(seconds))} s")
    span = max(1, round(seconds))
    user, system = (spent - earlier for spent, earlier in zip(after, before, strict=True))
    server_cpu = (user + system) / span
    answered = load.requests
    return {
        Metric.RATE: load.rate,
        Metric.CPU: (user + system) / answered * MILLION,
        Metric.CPU_USER: user / answered * MILLION,
        Metric.CPU_SYSTEM: system / answered * MILLION,
        Metric.P50: load.p50,
        Metric.P99: load.p99,
        Metric.MEMORY: server.memory_kib() / 1024,
        Metric.ERRORS: load.socket_errors,
        Metric.TIMEOUTS: load.timeouts,
        Metric.NON_2XX: unexpected(load, scenario),
        Metric.SERVER_CPU: server_cpu,
        Metric.CLIENT_CPU: load.client_cpu,
        Metric.OTHER_CPU: max(0.0, (busy_seconds() - busy) / span - server_cpu - load.client_cpu),
    }
