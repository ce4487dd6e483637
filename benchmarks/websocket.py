"""Compare WebSocket servers: `python benchmarks/websocket.py [--quick] [--only echo125] [--peers picows,websockets]`.

One worker process each, on one core; the load has another. Within a row every server has its turn before the next round
begins, and each turn starts the server anew.
"""

from __future__ import annotations

import argparse
import json
import operator
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # as a script, Python puts this file's own directory there

from benchmarks.cells import Cell, Cells, facts_of, judged, measured, parse_options, show, write_results  # noqa: E402
from benchmarks.environment import Environment, environment  # noqa: E402
from benchmarks.idle import NotIdle, raise_descriptor_limit  # noqa: E402
from benchmarks.peers import SERVERS, Launch, Peer  # noqa: E402
from benchmarks.process import ServerFailed, ServerProcess, free_port, running  # noqa: E402
from benchmarks.results import OURS  # noqa: E402
from benchmarks.scenarios import PURE  # noqa: E402
from benchmarks.websocket_load import opened  # noqa: E402

LOAD = ROOT / "benchmarks" / "websocket_load.py"
LOAD_SECONDS = 60
SETTLE_SECONDS = 1.0  # for a server that frees in the background
NEAR_FULL = 0.95  # of its core: then the load is what was measured


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement. size: bytes of a message; 0: the connections are idle, and memory is measured."""

    name: str
    title: str
    connections: int
    size: int


ROWS = (
    Row("echo125", "echo of 125 bytes, 64 connections, messages/s", 64, 125),
    Row("echo16k", "echo of 16 KiB, 64 connections, messages/s", 64, 16384),
    Row("idle", "5,000 idle WebSockets, KiB each", 5000, 0),
)


def _script(name: str) -> Callable[[Launch], list[str]]:
    return lambda it: [it.python, str(SERVERS / f"ws_{name}.py"), str(it.port)]


def _greenserve(it: Launch) -> list[str]:
    return it.module("greenserve", "ws_echo:echo", "--bind", it.address)


PEERS = (
    Peer(OURS, (), _greenserve, "its defaults"),
    Peer(PURE, (), _greenserve, "as greenserve, GREENSERVE_CODEC=python", environ={"GREENSERVE_CODEC": "python"}),
    Peer("eventlet", ("eventlet",), _script("eventlet"), "eventlet.websocket"),
    Peer("gevent-websocket", ("gevent-websocket", "gevent"), _script("gevent"), "on gevent.pywsgi"),
    Peer("websockets", ("websockets",), _script("websockets"), "its asyncio server"),
    Peer(
        "uvicorn wsproto",
        ("uvicorn", "wsproto"),
        lambda it: it.module(
            "uvicorn",
            *("ws_asgi:echo", "--ws", "wsproto", "--loop", "asyncio", "--log-level", "error"),
            *("--port", str(it.port), "--backlog", "8192"),
        ),
        "on asyncio",
    ),
    Peer("picows", ("picows",), _script("picows"), "written in C, callbacks, on asyncio"),
)

# Row, servers, at least so many times as many messages (or at most the bytes); of these the comparison is judged.
GOALS = (
    ("echo125", ("eventlet", "gevent-websocket"), 2.0),
    ("echo125", ("websockets", "uvicorn wsproto"), 1.0),
    ("echo125", ("picows",), 1.0),
    ("echo16k", ("websockets",), 2.5),
)
IDLE_KIB = 12.0


parsed = partial(parse_options, what="WebSockets", rows=ROWS, peers=PEERS, seconds=4.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit code."""
    options = parsed(arguments)
    place = environment(options.venv)
    reasons = {peer: provided(place, peer) for peer in options.peers}
    cells = measured(options, reasons, partial(play, place.python, options.seconds))
    write(options, facts_of(options, place) | {"codec": place.codec()}, cells)
    show(options, COLUMNS, partial(table, options, cells), goals(cells))
    return 0


def provided(place: Environment, peer: Peer) -> str | None:
    """None when the server is installed, otherwise why not."""
    return place.provide(peer.packages) if peer.packages else place.provide_checkout()


def play(python: str, seconds: float, cell: Cell, peer: Peer, row: Row, core: int) -> None:
    """One turn of a server. An error of it, or of the load, stands in the cell in the place of a number."""
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        try:
            command, log = peer.command(Launch(python, "", port, None)), Path(directory) / "log"
            with running(command, port, core, log, peer.environ) as server:
                cell.values.append(idle(server, row) if not row.size else load(server, row, seconds))
                server.expect_alive()
        except (ServerFailed, NotIdle, OSError, subprocess.SubprocessError) as error:
            cell.missing = str(error)[:200]


def load(server: ServerProcess, row: Row, seconds: float) -> dict[str, float]:
    """What the load measures, in a process of its own, and the server's processor time for a message, in microseconds;
    that of its handshakes is in it. Raises OSError with its last word.
    """
    before = server.cpu_seconds()
    command = [sys.executable, str(LOAD), str(server.port), str(row.connections), str(row.size), str(seconds)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=LOAD_SECONDS + seconds, check=False)
    if ran.returncode:
        raise OSError((ran.stderr.strip().splitlines() or ["the load ended without a word"])[-1])
    found: dict[str, float] = json.loads(ran.stdout)
    return {"value": found["rate"], "cpu_us": (server.cpu_seconds() - before) / found["messages"] * 1e6, **found}


def idle(server: ServerProcess, row: Row) -> dict[str, float]:
    """Memory of the server for each open WebSocket, in KiB. Raises NotIdle, OSError."""
    raise_descriptor_limit(row.connections + 200)
    kept = [opened(server.port) for _ in range(64)]  # what the first ones cost once and for all
    time.sleep(SETTLE_SECONDS)
    before = server.memory_kib()
    try:
        kept += [opened(server.port) for _ in range(row.connections)]
        time.sleep(SETTLE_SECONDS)
        return {"value": (server.memory_kib() - before) / row.connections}
    finally:
        for connection in kept:
            connection.close()


COLUMNS = ("server", "median", "÷ greenserve", "CPU µs", "p50 ms", "p99 ms", "notes")


def table(options: argparse.Namespace, cells: Cells, row: Row) -> list[tuple[str, ...]]:
    """One row of texts for each server, the best first."""
    best = -1.0 if row.size else 1.0
    ours = cells[row.name, OURS].median() if (row.name, OURS) in cells else None
    lines = []
    order = sorted(options.peers, key=lambda peer: best * (cells[row.name, peer.name].median() or -best * 1e12))
    for peer in order:
        cell = cells[row.name, peer.name]
        value = cell.median()
        if value is None:
            lines.append((peer.name, "n/a", "–", "–", "–", "–", cell.missing or "no number"))
            continue
        times = "–" if not ours or peer.name == OURS else f"{value / ours:.2f}×"
        waits = [f"{cell.median(name):.2f}" if row.size else "–" for name in ("cpu_us", "p50_ms", "p99_ms")]
        note = "the load was at its limit" if row.size and (cell.median("client_cpu") or 0) > NEAR_FULL else ""
        lines.append((peer.name, f"{value:,.0f}" if row.size else f"{value:.1f}", times, *waits, note))
    return lines


def goals(cells: Cells) -> list[str]:
    """The goals, judged."""
    lines = judged(cells, GOALS, operator.ge)
    size = cells["idle", OURS].median() if ("idle", OURS) in cells else None
    if size is not None:
        lines.append(f"{'met    ' if size <= IDLE_KIB else 'not met'}  idle: {size:.1f} KiB each (goal: {IDLE_KIB:g})")
    return lines


def write(options: argparse.Namespace, facts: Mapping[str, object], cells: Cells) -> None:
    """websocket.json and websocket.md; partial.websocket.* when something was left out."""
    heading = (
        f"# WebSocket servers compared\n\n{facts['date']}, medians of {facts['rounds']} interleaved rounds, one core; "
        f"CPU µs: the server's processor time for a message; greenserve's codec: {facts['codec']}"
    )
    lines = partial(table, options, cells)
    write_results(options, "websocket", facts, cells, heading, COLUMNS, lines, goals(cells))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
