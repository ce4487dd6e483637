"""What is measured: each scenario is one application under one kind of load. A table; nothing here does anything."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

APPS = Path(__file__).parent / "apps"
HELLO = b"Hello, World!"


class Metric(Enum):
    """What one measurement may yield. The value is its name in the JSON."""

    RATE = "requests_per_second"
    P50 = "p50_ms"
    P99 = "p99_ms"
    MEMORY = "memory_mib"
    IDLE_KIB = "kib_per_idle_connection"
    FRESH_MS = "fresh_request_ms"
    ERRORS = "socket_errors"
    TIMEOUTS = "timeouts"
    NON_2XX = "non_2xx"
    SERVER_CPU = "server_cpu_share"
    CLIENT_CPU = "client_cpu_share"
    OTHER_CPU = "other_processes_cpu_share"

    @property
    def higher_is_better(self) -> bool:
        """Whether more of it is better; True for the rate alone."""
        return self is Metric.RATE


@dataclass(frozen=True, slots=True)
class Scenario:
    """One application under one kind of load.

    app: as `module:attribute` below apps/. connections: open at once. body: what every answer must be. threads: how
    many a server on OS threads gets, None for its own default. metric: what servers are ranked by.
    """

    name: str
    title: str
    app: str
    connections: int
    body: bytes
    metric: Metric = Metric.RATE
    threads: int | None = None
    posts: bytes = b""
    script: Path | None = None
    streams: bool = False
    sleeps: bool = False


SCENARIOS = (
    Scenario("hello", "Hello, World!, 64 connections", "plain:hello", 64, HELLO),
    Scenario(
        "sleepers",
        "Application that waits 50 ms, 500 connections",
        "plain:sleeper",
        500,
        HELLO,
        threads=500,
        sleeps=True,
    ),
    Scenario(
        "crowd",
        "Application that waits 50 ms, 1,500 connections",
        "plain:sleeper",
        1500,
        HELLO,
        threads=1500,
        sleeps=True,
    ),
    Scenario(
        "stream",
        "Stream of 20 small chunks, 64 connections",
        "plain:stream",
        64,
        b"0123456789abcdef" * 80,
        streams=True,
    ),
    Scenario("mebibyte", "1 MiB response, 64 connections", "plain:mebibyte", 64, b"m" * 2**20),
    Scenario(
        "upload",
        "64 KiB upload, 64 connections",
        "plain:upload",
        64,
        b"65536",
        posts=b"u" * 65536,
        script=APPS / "upload.lua",
    ),
    Scenario("flask", "Flask hello, 64 connections", "flask_hello:app", 64, HELLO),
    Scenario(
        "idle", "5,000 idle keep-alive connections: memory of each", "plain:hello", 5000, HELLO, metric=Metric.IDLE_KIB
    ),
)
