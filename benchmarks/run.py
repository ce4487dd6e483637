"""Compare greenserve with its peers: `python benchmarks/run.py [--quick] [--only hello] [--peers eventlet,granian]`.

Rounds are interleaved: within a scenario every server has its turn before the next round begins, so that a machine that
grows slower or faster meanwhile does so to all of them. Each turn starts the server anew.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # as a script, Python puts this file's own directory there

from benchmarks.chart import chart  # noqa: E402
from benchmarks.check import WrongAnswer  # noqa: E402
from benchmarks.choices import chosen, rotated  # noqa: E402
from benchmarks.environment import Environment, environment, machine  # noqa: E402
from benchmarks.idle import NotIdle  # noqa: E402
from benchmarks.load import LoadFailed  # noqa: E402
from benchmarks.measure import measure  # noqa: E402
from benchmarks.peers import APPLICATION_PACKAGES, PEERS, Peer  # noqa: E402
from benchmarks.process import ServerFailed, cores  # noqa: E402
from benchmarks.report import LEAD, markdown, number, terminal  # noqa: E402
from benchmarks.results import OURS, Cell, Results  # noqa: E402
from benchmarks.scenarios import SCENARIOS, Scenario  # noqa: E402

SECONDS = 2  # with three rounds and all servers the whole comparison takes some 35 minutes
NO_NUMBER = (ServerFailed, WrongAnswer, NotIdle, LoadFailed)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit code: 0 when all was measured that could be, whatever the goals say."""
    options = parsed(arguments)
    if shutil.which("wrk") is None:
        print("wrk is not installed; it makes the load (Debian: apt-get install wrk)", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _terminated)
    place = environment(options.venv)
    servers = provided(place, options.peers)
    with tempfile.TemporaryDirectory(prefix="greenserve-bench-") as scratch:
        results = run(options, place, servers, Path(scratch))
    if options.update:
        results = options.update.updated(results)
    name = "latest" if options.whole else "partial"
    write(results, options.output, name)
    print(terminal(results))
    print(f"written: {options.output / name}.json, .md, .svg, .lead.svg", file=sys.stderr)
    return 0


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; `scenarios` and `peers` as objects, `whole` when nothing was left out."""
    parser = argparse.ArgumentParser(description="Compare greenserve with other WSGI servers on this machine.")
    parser.add_argument("--rounds", type=int, help="turns of each server in each scenario (default 3)")
    parser.add_argument("--seconds", type=float, help=f"length of one measurement (default {SECONDS})")
    parser.add_argument("--only", help="scenarios, comma-separated: " + ", ".join(each.name for each in SCENARIOS))
    parser.add_argument("--peers", help="servers, comma-separated: " + ", ".join(each.name for each in PEERS))
    parser.add_argument("--update", action="store_true", help="put the scenarios of --only into the results of before")
    parser.add_argument("--quick", action="store_true", help="one round of one second: does everything work?")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv-bench", help="where the peers are installed")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results", help="where the results go")
    options = parser.parse_args(arguments)
    options.whole = not (options.peers or options.quick or (options.only and not options.update))
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.seconds = options.seconds or (1 if options.quick else SECONDS)
    try:
        options.scenarios = tuple(chosen(options.only, {each.name: each for each in SCENARIOS}))
        options.peers = tuple(chosen(options.peers, {each.name: each for each in PEERS}))
        if options.update:
            options.update = earlier(options.output / "latest.json", whole=options.whole)
    except ValueError as error:
        parser.error(str(error))
    return options


def earlier(path: Path, *, whole: bool) -> Results:
    """The results that are to be updated. Raises ValueError when there are none, or this run cannot update them."""
    if not whole:
        raise ValueError("--update keeps a comparison of all servers: it goes neither with --peers nor with --quick")
    try:
        return Results.from_json(json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        raise ValueError(f"there is nothing to update: {path} is missing") from None


def provided(place: Environment, peers: Sequence[Peer]) -> dict[Peer, str | None]:
    """Each server -> None when it is installed, otherwise why not."""
    _say(f"environment: {place.path}")
    reason = place.provide(APPLICATION_PACKAGES)
    if reason:
        _say(f"a framework is missing, and so its scenario: {reason}")
    reason = place.provide_checkout()
    if not reason:
        _say(f"greenserve's codec: {place.codec()}")
    servers = {}
    for peer in peers:
        if peer.source is not None:
            servers[peer] = place.compile(peer.source)
        else:
            servers[peer] = place.provide(peer.packages) if peer.packages else reason
        if servers[peer]:
            _say(f"missing: {peer.name}: {servers[peer]}")
    return servers


def run(options: argparse.Namespace, place: Environment, servers: dict[Peer, str | None], scratch: Path) -> Results:
    """All scenarios, all rounds. scratch: a directory for the requests and the servers' logs."""
    facts = gathered(options, place, servers)
    server_core, client_core = cores()
    if server_core == client_core:
        _say("this machine has one core: server and client share it, so the numbers are low and close together")
    os.sched_setaffinity(0, {client_core})  # wrk and everything else on the client's side inherit it
    cells = {
        (scenario.name, peer.name): Cell(missing=reason)
        for scenario in options.scenarios
        for peer, reason in servers.items()
        if peer.name in scenario.peers
    }
    for scenario in options.scenarios:
        taking_part = [peer for peer in options.peers if peer.name in scenario.peers]
        for turn in range(options.rounds):
            for peer in rotated(taking_part, turn):
                cell = cells[scenario.name, peer.name]
                if cell.missing is None:
                    play(cell, peer, scenario, place.python, server_core, options.seconds, scratch)
                    _say(f"{scenario.name} {turn + 1}/{options.rounds}  {peer.name:<18} {told(cell, scenario)}")
    return Results(facts, options.scenarios, tuple(peer.name for peer in options.peers), cells)


def play(cell: Cell, peer: Peer, scenario: Scenario, python: str, core: int, seconds: float, scratch: Path) -> None:
    """One turn; what goes wrong becomes the reason why there is no number."""
    cell.missing = peer.unfit.get(scenario.name)
    if cell.missing is None:
        try:
            cell.samples.append(measure(peer, scenario, python, core, seconds, scratch))
        except NO_NUMBER as error:
            cell.missing = str(error)


def told(cell: Cell, scenario: Scenario) -> str:
    """The newest number of a cell, or why there is none."""
    if cell.missing is not None:
        return f"n/a: {cell.missing}"
    newest = cell.samples[-1]
    return f"{number(newest.values[scenario.metric]):>8} {scenario.metric.value}  {'; '.join(newest.notes)}"


def gathered(options: argparse.Namespace, place: Environment, servers: dict[Peer, str | None]) -> dict[str, object]:
    """The facts of this run, for the head of the JSON."""
    versions = place.versions(["greenserve", *(package for peer in servers for package in peer.packages[:1])])
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": machine(),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "codec": place.codec(),
        "servers": {
            peer.name: {
                "version": None if peer.source else versions.get(peer.packages[0] if peer.packages else OURS),
                "note": peer.note,
                **({"missing": reason} if reason else {}),
            }
            for peer, reason in servers.items()
        },
    }


def write(results: Results, directory: Path, name: str) -> None:
    """NAME.json, NAME.md, NAME.svg, and NAME.lead.svg with the scenarios that lead."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.json").write_text(
        json.dumps(results.to_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    (directory / f"{name}.md").write_text(markdown(results).replace("latest.svg", f"{name}.svg"), encoding="utf-8")
    (directory / f"{name}.svg").write_text(chart(results), encoding="utf-8")
    (directory / f"{name}.lead.svg").write_text(chart(results, LEAD), encoding="utf-8")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _terminated(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(143)  # so that every `with` and `finally` ends its children


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
