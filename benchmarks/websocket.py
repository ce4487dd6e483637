"""Compare WebSocket servers: `python benchmarks/websocket.py [--quick] [--only echo125] [--peers picows,websockets]`.

One worker process each, on one core; the load has another. Within a row every server has its turn before the next round
begins, and each turn starts the server anew.
"""

from __future__ import annotations

import argparse
import datetime
import json
import operator
import os
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

from benchmarks.cells import Cell, Cells, judged, write_results  # noqa: E402
from benchmarks.choices import chosen, rotated  # noqa: E402
from benchmarks.environment import Environment, environment, machine  # noqa: E402
from benchmarks.idle import NotIdle, raise_descriptor_limit  # noqa: E402
from benchmarks.peers import SERVERS, Launch, Peer  # noqa: E402
from benchmarks.process import ServerFailed, ServerProcess, cores, free_port, running  # noqa: E402
from benchmarks.report import aligned  # noqa: E402
from benchmarks.results import OURS  # noqa: E402
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


PEERS = (
    Peer(
        OURS,
        (),
        lambda it: it.module("greenserve", "ws_echo:echo", "--bind", it.address),
        "its defaults; websockets' C function unmasks (the extra `speedups`)",
    ),
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
    ("echo125", ("picows",), 0.8),
    ("echo16k", ("websockets",), 1.0),
)
IDLE_KIB = 12.0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit code."""
    options = parsed(arguments)
    place = environment(options.venv)
    reasons = {peer: provided(place, peer) for peer in options.peers}
    versions = place.versions([peer.packages[0] if peer.packages else peer.name for peer in options.peers])
    cells = measured(options, place.python, reasons)
    facts = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": machine(),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "versions": versions,
        "notes": {peer.name: peer.note for peer in options.peers},
    }
    write(options, facts, cells)
    for row in options.rows:
        print(f"{row.title}\n{aligned([COLUMNS, *table(options, cells, row)])}\n")
    print("\n".join(goals(cells)))
    return 0


def provided(place: Environment, peer: Peer) -> str | None:
    """None when the server is installed, otherwise why not."""
    return (
        place.provide_checkout() or place.provide(("websockets",))
        if not peer.packages
        else place.provide(peer.packages)
    )


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; `rows` and `peers` as objects."""
    parser = argparse.ArgumentParser(description="Compare greenserve's WebSockets with other servers'.")
    parser.add_argument("--rounds", type=int, help="turns of each server in each row (default 3)")
    parser.add_argument("--seconds", type=float, help="length of one measurement (default 4)")
    parser.add_argument("--only", help="rows, comma-separated: " + ", ".join(row.name for row in ROWS))
    parser.add_argument("--peers", help="servers, comma-separated: " + ", ".join(peer.name for peer in PEERS))
    parser.add_argument("--quick", action="store_true", help="one round of one second: does everything work?")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv-bench", help="where the peers are installed")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results", help="where the results go")
    options = parser.parse_args(arguments)
    options.whole = not (options.only or options.peers or options.quick)
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.seconds = options.seconds or (1.0 if options.quick else 4.0)
    try:
        options.rows = chosen(options.only, {row.name: row for row in ROWS})
        options.peers = chosen(options.peers, {peer.name: peer for peer in PEERS})
    except ValueError as error:
        parser.error(str(error))
    return options


def measured(options: argparse.Namespace, python: str, reasons: Mapping[Peer, str | None]) -> Cells:
    """All rows, all rounds."""
    cells = {(row.name, peer.name): Cell(missing=why) for row in options.rows for peer, why in reasons.items()}
    server_core, client_core = cores()
    os.sched_setaffinity(0, {client_core})  # the load inherits it
    for row in options.rows:
        for turn in range(options.rounds):
            for peer in rotated(options.peers, turn):
                cell = cells[row.name, peer.name]
                if cell.missing is None:
                    play(cell, peer, row, python, server_core, options.seconds)
                    said = cell.missing or f"{cell.values[-1]['value']:,.1f}"
                    print(
                        f"{row.name} {turn + 1}/{options.rounds}  {peer.name:<18} {said}", file=sys.stderr, flush=True
                    )
    return cells


def play(cell: Cell, peer: Peer, row: Row, python: str, core: int, seconds: float) -> None:
    """One turn; what goes wrong becomes the reason why there is no number."""
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        try:
            with running(peer.command(Launch(python, "", port, None)), port, core, Path(directory) / "log") as server:
                cell.values.append(idle(server, row) if not row.size else load(port, row, seconds))
                server.expect_alive()
        except (ServerFailed, NotIdle, OSError, subprocess.SubprocessError) as error:
            cell.missing = str(error)[:200]


def load(port: int, row: Row, seconds: float) -> dict[str, float]:
    """What the load measures, in a process of its own. Raises OSError with its last word."""
    command = [sys.executable, str(LOAD), str(port), str(row.connections), str(row.size), str(seconds)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=LOAD_SECONDS + seconds, check=False)
    if ran.returncode:
        raise OSError((ran.stderr.strip().splitlines() or ["the load ended without a word"])[-1])
    found: dict[str, float] = json.loads(ran.stdout)
    return {"value": found["rate"], **found}


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


COLUMNS = ("server", "median", "÷ greenserve", "p50 ms", "p99 ms", "notes")


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
            lines.append((peer.name, "n/a", "–", "–", "–", cell.missing or "no number"))
            continue
        times = "–" if not ours or peer.name == OURS else f"{value / ours:.2f}×"
        waits = [f"{cell.median(name):.2f}" if row.size else "–" for name in ("p50_ms", "p99_ms")]
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
        f"# WebSocket servers compared\n\n{facts['date']}, medians of {facts['rounds']} interleaved rounds, one core"
    )
    lines = partial(table, options, cells)
    write_results(options, "websocket", facts, cells, heading, COLUMNS, lines, goals(cells))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
