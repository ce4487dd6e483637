"""From the start of a server's process to its first answer, and what the server holds in memory then."""

from __future__ import annotations

import socket
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.idle import REQUEST
from benchmarks.process import START_SECONDS, ServerFailed, ServerProcess, started

STARTS = 3  # in each round: one start takes too short a time to be measured once
RETRY_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class Start:
    """Medians: ms to the first answer, and MiB after it."""

    ms: float
    memory_mib: float


def time_start(command: list[str], port: int, core: int, log: Path, environ: Mapping[str, str]) -> Start:
    """Start the server some times. Raises ServerFailed."""
    times, memory = [], []
    for _ in range(STARTS):
        with started(command, port, core, log, environ) as server:
            times.append(await_answer(server) * 1000)
            memory.append(server.memory_kib() / 1024)
    return Start(statistics.median(times), statistics.median(memory))


def await_answer(server: ServerProcess) -> float:
    """Seconds from the server's start to its first answer. Raises ServerFailed."""
    while time.monotonic() < server.born + START_SECONDS:
        server.expect_alive()
        try:
            with socket.create_connection(("127.0.0.1", server.port), timeout=START_SECONDS) as connection:
                connection.sendall(REQUEST)
                answered = connection.recv(65536).startswith(b"HTTP/1.1 200 ")
                elapsed = time.monotonic() - server.born
        except ConnectionError:
            time.sleep(RETRY_SECONDS)  # a peer has no way to tell us that it listens
            continue
        if not answered:
            raise ServerFailed("its first answer is not 200")
        return elapsed
    raise ServerFailed(f"does not answer after {START_SECONDS} s")
