"""What is measured: each scenario is one application under one kind of load. A table; nothing here does anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from benchmarks import answers
from benchmarks.answers import Answer
from benchmarks.traffic import BROWSER, INGRESS, MEMBER, MISSING_EVERY, RETURNING, SITE, Request, Traffic

APPS = Path(__file__).parent / "apps"

OURS = "greenserve"
PURE = "greenserve pure Python"
KERNEL = "kernel alone"
SERVERS = (
    OURS,
    "eventlet",
    "gevent",
    "gunicorn gevent",
    "gunicorn gthread",
    "waitress",
    "cheroot",
    "granian",
    "uwsgi",
    "bjoern",
    "fastwsgi",
)
WITH_PURE = (*SERVERS, PURE)
WITH_KERNEL = (*WITH_PURE, KERNEL)
# The rest are several times slower in every scenario of this kind, and have shown that in `site` and `hello`.
FAST = (OURS, "gevent", "granian", "uwsgi", "bjoern", "fastwsgi", PURE, KERNEL)
FRAMEWORK = (OURS, "gevent", "gunicorn gthread", "granian", "uwsgi", "bjoern", "fastwsgi")


class Metric(Enum):
    """What one measurement may yield. The value is its name in the JSON."""

    RATE = "requests_per_second"
    CPU = "cpu_us_per_request"
    CPU_USER = "cpu_user_us_per_request"
    CPU_SYSTEM = "cpu_system_us_per_request"
    P50 = "p50_ms"
    P99 = "p99_ms"
    MEMORY = "memory_mib"
    IDLE_KIB = "kib_per_idle_connection"
    FRESH_MS = "fresh_request_ms"
    START_MS = "first_answer_ms"
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

    app: as `module:attribute` below apps/. connections: open at once. answer: what each request must bring. metric:
    what servers are ranked by. threads: how many a server on OS threads gets, None for its own default. traffic: the
    requests, None for one without a body or with `posts`. missing: the share of requests for what is not there.
    logs_in: the requests carry the session cookie of a login. peers: the servers that take part.
    """

    name: str
    title: str
    app: str
    connections: int
    answer: Callable[[Request], Answer] = answers.hello
    metric: Metric = Metric.CPU
    threads: int | None = None
    traffic: Traffic | None = None
    missing: float = 0.0
    posts: bytes = b""
    script: Path | None = None
    streams: bool = False
    sleeps: bool = False
    logs_in: bool = False
    peers: tuple[str, ...] = SERVERS


def _framework(name: str, title: str, peers: tuple[str, ...]) -> Scenario:
    heading = f"{title}: session cookie, JSON, every request different"
    app = f"shop_{name}:app"
    return Scenario(name, heading, app, 64, answers.reviews, traffic=MEMBER, logs_in=True, peers=peers)


SCENARIOS = (
    Scenario(
        "site",
        "A site: every request different, a third of them forms, and every answer",
        "shop:page",
        64,
        answers.page,
        traffic=SITE,
        missing=1 / MISSING_EVERY,
        peers=WITH_KERNEL,
    ),
    Scenario("browser", "Every request different, 13 bytes", "plain:hello", 64, traffic=BROWSER, peers=FAST),
    Scenario("returning", "200 requests in turn, 13 bytes", "plain:hello", 64, traffic=RETURNING, peers=FAST),
    Scenario("ingress", "One field different, X-Request-Id, 13 bytes", "plain:hello", 64, traffic=INGRESS, peers=FAST),
    Scenario("hello", "One request repeated, 13 bytes", "plain:hello", 64, peers=WITH_KERNEL),
    _framework("flask", "Flask", WITH_PURE),
    _framework("django", "Django", FRAMEWORK),
    _framework("falcon", "Falcon", FRAMEWORK),
    Scenario(
        "sleepers",
        "Application that waits 50 ms, 500 connections",
        "plain:sleeper",
        500,
        metric=Metric.RATE,
        threads=500,
        sleeps=True,
    ),
    Scenario(
        "crowd",
        "Application that waits 50 ms, 1,500 connections",
        "plain:sleeper",
        1500,
        metric=Metric.RATE,
        threads=1500,
        sleeps=True,
    ),
    Scenario(
        "stream",
        "Stream of 20 small chunks",
        "plain:stream",
        64,
        lambda _: Answer(b"0123456789abcdef" * 80),
        streams=True,
    ),
    Scenario("mebibyte", "1 MiB response", "plain:mebibyte", 64, lambda _: Answer(b"m" * 2**20)),
    Scenario(
        "upload",
        "64 KiB upload",
        "plain:upload",
        64,
        lambda _: Answer(b"65536"),
        posts=b"u" * 65536,
        script=APPS / "upload.lua",
    ),
    Scenario("idle", "5,000 idle keep-alive connections: memory of each", "plain:hello", 5000, metric=Metric.IDLE_KIB),
    Scenario("start", "From start to the first answer", "plain:hello", 1, metric=Metric.START_MS, peers=WITH_PURE),
)
