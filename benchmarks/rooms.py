"""Compare broadcasts: `python benchmarks/rooms.py [--quick] [--receivers 2000] [--peers greenserve]`.

One process each, on one core; the receivers have another. Every server has its turn before the next round begins, and
each turn starts the server anew.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # as a script, Python puts this file's own directory there

from benchmarks.choices import chosen, rotated  # noqa: E402
from benchmarks.environment import environment, machine  # noqa: E402
from benchmarks.peers import SERVERS, Launch, Peer  # noqa: E402
from benchmarks.process import ServerFailed, cores, free_port, running  # noqa: E402
from benchmarks.report import aligned, markdown_table  # noqa: E402
from benchmarks.results import OURS  # noqa: E402

LOAD = ROOT / "benchmarks" / "rooms_load.py"
LOAD_SECONDS = 180
RIVAL = "Flask-SocketIO gevent"
GOAL = 3.0  # times as many messages as the rival's
NEAR_FULL = 0.95  # of its core: then the receivers are what was measured

PEERS = (
    Peer(OURS, (), lambda it: it.module("greenserve", "ws_rooms:app", "--bind", it.address), "plain"),
    Peer(
        RIVAL,
        ("flask-socketio", "gevent", "gevent-websocket"),
        lambda it: [it.python, str(SERVERS / "rooms_socketio.py"), str(it.port)],
        "socketio",
    ),
)  # note: the dialect

Found = Mapping[str, list[dict[str, float]]]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit code."""
    options = parsed(arguments)
    place = environment(options.venv)
    found: dict[str, list[dict[str, float]]] = {peer.name: [] for peer in options.peers}
    missing: dict[str, str] = {}
    for peer in options.peers:
        why = place.provide(peer.packages) if peer.packages else place.provide_checkout()
        if why:
            missing[peer.name] = why
    host = machine()  # before this process gives up one of the cores
    server_core, client_core = cores()
    os.sched_setaffinity(0, {client_core})  # the receivers inherit it
    for turn in range(options.rounds):
        for peer in rotated(options.peers, turn):
            if peer.name not in missing:
                try:
                    found[peer.name].append(play(peer, place.python, server_core, options))
                    said = f"{found[peer.name][-1]['rate']:,.0f} messages/s"
                except (ServerFailed, OSError, subprocess.SubprocessError) as error:
                    missing[peer.name] = said = str(error)[:200]
                print(f"{turn + 1}/{options.rounds}  {peer.name:<22} {said}", file=sys.stderr, flush=True)
    facts = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": host,
        "receivers": options.receivers,
        "versions": place.versions([peer.packages[0] if peer.packages else peer.name for peer in options.peers]),
    }
    write(options, facts, found, missing)
    print(aligned([COLUMNS, *table(found, missing)]) + "\n\n" + goal(found))
    return 0


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; `peers` as objects."""
    parser = argparse.ArgumentParser(description="Compare greenserve's rooms with Flask-SocketIO's.")
    parser.add_argument("--rounds", type=int, help="turns of each server (default 3)")
    parser.add_argument("--receivers", type=int, help="sockets in the room (default 2000)")
    parser.add_argument("--peers", help="servers, comma-separated: " + ", ".join(peer.name for peer in PEERS))
    parser.add_argument("--quick", action="store_true", help="one round with 200 receivers: does everything work?")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv-bench", help="where the servers are installed")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results", help="where the results go")
    options = parser.parse_args(arguments)
    options.whole = not (options.receivers or options.peers or options.quick)
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.receivers = options.receivers or (200 if options.quick else 2000)
    options.flood, options.paced = (10, 3) if options.quick else (50, 12)
    try:
        options.peers = chosen(options.peers, {peer.name: peer for peer in PEERS})
    except ValueError as error:
        parser.error(str(error))
    return options


def play(peer: Peer, python: str, core: int, options: argparse.Namespace) -> dict[str, float]:
    """One turn. Raises ServerFailed, OSError with the last word of the receivers."""
    port = free_port()
    with (
        tempfile.TemporaryDirectory() as directory,
        running(peer.command(Launch(python, "", port, None)), port, core, Path(directory) / "log") as server,
    ):
        numbers = [str(number) for number in (options.receivers, options.flood, options.paced)]
        ran = subprocess.run(
            [sys.executable, str(LOAD), str(port), peer.note, *numbers],
            capture_output=True,
            text=True,
            timeout=LOAD_SECONDS,
            check=False,
        )
        server.expect_alive()
        if ran.returncode:
            raise OSError((ran.stderr.strip().splitlines() or ["the receivers ended without a word"])[-1])
        found: dict[str, float] = json.loads(ran.stdout)
        return found


COLUMNS = ("server", "messages/s", "÷ greenserve", "p50 ms", "p99 ms", "notes")


def median(found: Found, name: str, key: str) -> float | None:
    """Over the rounds; None where there are none."""
    return statistics.median(each[key] for each in found[name]) if found.get(name) else None


def table(found: Found, missing: Mapping[str, str]) -> list[tuple[str, ...]]:
    """A row of texts for each server."""
    ours, lines = median(found, OURS, "rate"), []
    for name in found:
        rate = median(found, name, "rate")
        if rate is None:
            lines.append((name, "n/a", "–", "–", "–", missing.get(name, "no number")))
            continue
        times = "–" if not ours or name == OURS else f"{rate / ours:.2f}×"
        waits = [f"{median(found, name, key):.1f}" for key in ("p50_ms", "p99_ms")]
        full = (median(found, name, "client_cpu") or 0) > NEAR_FULL
        lines.append((name, f"{rate:,.0f}", times, *waits, "the receivers were at their limit" if full else ""))
    return lines


def goal(found: Found) -> str:
    """The goal, judged."""
    ours, theirs = median(found, OURS, "rate"), median(found, RIVAL, "rate")
    if not ours or not theirs:
        return f"not measured  broadcast: {RIVAL}"
    verdict = "met    " if ours >= GOAL * theirs else "not met"
    return f"{verdict}  broadcast: {ours / theirs:.2f} × {RIVAL} (goal: {GOAL:g})"


def write(options: argparse.Namespace, facts: Mapping[str, object], found: Found, missing: Mapping[str, str]) -> None:
    """rooms.json and rooms.md; partial.rooms.* when something was left out."""
    name = "rooms" if options.whole else "partial.rooms"
    options.output.mkdir(parents=True, exist_ok=True)
    report = json.dumps({**facts, "rounds": found, "missing": missing}, indent=1, ensure_ascii=False)
    (options.output / f"{name}.json").write_text(report + "\n", encoding="utf-8")
    text = (
        f"# Broadcasts compared\n\n{facts['date']}, {options.receivers:,} sockets in one room, 125 bytes, medians of "
        f"{options.rounds} interleaved rounds, one core\n\n{markdown_table(COLUMNS, table(found, missing))}\n\n"
        f"- {goal(found)}\n"
    )
    (options.output / f"{name}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
