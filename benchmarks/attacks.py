"""Attack the server, and see how a healthy client fares: `python benchmarks/attacks.py [--only slowloris] [--quick]`.

The server has one core, the attackers and the healthy client the other. For each attack the server is started anew;
the healthy client is measured before the attack and while it stands, then it is seen when the attackers are gone, and
what memory is left.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # as a script, Python puts this file's own directory there

from benchmarks.attacks_load import ATTACKS  # noqa: E402
from benchmarks.environment import machine  # noqa: E402
from benchmarks.idle import raise_descriptor_limit  # noqa: E402
from benchmarks.process import ServerProcess, cores, free_port, running  # noqa: E402
from benchmarks.report import aligned, markdown_table  # noqa: E402

LOAD = ROOT / "benchmarks" / "attacks_load.py"
# Shorter than the defaults, so that all deadlines come within an attack.
TIMEOUTS = {"--header-timeout": 5.0, "--body-timeout": 5.0, "--write-timeout": 5.0}
DEADLINE = max(TIMEOUTS.values())
SLACK = 3.0  # seconds after the deadline: the sweep comes once a second, and a client lingers for two
ENDLESS = ("floods of one-byte chunks", "endless pipelines")  # they break no rule, and so have no deadline
FACTOR, MEMORY = 3.0, 1.05  # the goals: of the healthy client's p99, of the memory
WARMING = 3.0  # seconds of a first attack
BEGUN = 1.0  # seconds: the requests with which an attack begins are like any others, and are served in their order
CALM = 2.0  # seconds in which the server frees what it holds
COLUMNS = ("attack", "p50 ms", "p99 ms", "÷ unloaded", "slowest ms", "failed", "gone after s", "memory MiB", "goals")


@dataclass(frozen=True, slots=True)
class Played:
    """One attack: the healthy client before and meanwhile, the attackers, the memory in MiB before and after."""

    before: dict[str, float]
    meanwhile: dict[str, float]
    attackers: dict[str, float]
    memory: tuple[float, float]

    @property
    def factor(self) -> float:
        """By how much the healthy client's p99 has grown."""
        return self.meanwhile["p99"] / self.before["p99"]

    def missed(self, name: str) -> str:
        """The goals that were not reached, in words."""
        late = self.attackers["left"] or self.attackers["last"] > DEADLINE + SLACK
        faults = {
            "failures": self.meanwhile["failures"] > 0,
            "p99": self.factor > FACTOR,
            "attackers": bool(late) and name not in ENDLESS,
            "memory": self.memory[1] > self.memory[0] * MEMORY,
        }
        return ", ".join(fault for fault, found in faults.items() if found) or "met"

    def row(self, name: str) -> tuple[str, ...]:
        """The attack as texts."""
        gone = "–" if name in ENDLESS else f"{self.attackers['last']:.1f}"
        if self.attackers["left"] and name not in ENDLESS:
            gone += f" ({self.attackers['left']} stay)"
        return (
            f"{ATTACKS[name].count:,} {name}",
            f"{self.before['p50']:.2f} → {self.meanwhile['p50']:.2f}",
            f"{self.before['p99']:.2f} → {self.meanwhile['p99']:.2f}",
            f"{self.factor:.1f}×",
            f"{self.meanwhile['worst']:.1f}",
            f"{self.meanwhile['failures']} of {self.meanwhile['count']}",
            gone,
            f"{self.memory[0]:.1f} → {self.memory[1]:.1f}",
            self.missed(name),
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit code."""
    options = parsed(arguments)
    host = machine()  # before this process gives up one of the cores
    server_core, client_core = cores()
    os.sched_setaffinity(0, {client_core})  # the attackers inherit it
    rows = []
    for name in options.only:
        played = play(name, options.python, server_core, options.seconds)
        rows.append(played.row(name))
        print("  ".join(rows[-1]), file=sys.stderr, flush=True)
    print(aligned([COLUMNS, *rows]))
    if options.whole:
        date = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
        limits = ", ".join(f"`{name} {value:g}`" for name, value in TIMEOUTS.items())
        text = (
            f"# Attacks\n\n{date}, {host['cpu']}, {host['cores']} cores, Python {host['python']}. "
            f"A healthy client asks 200 times a second, on a kept connection and on new "
            f"ones in turns, before an attack and while it stands; the server has one core, and its defaults except "
            f"{limits}.\nGoals: no request fails, p99 within {FACTOR:g} times its value without the attack, the "
            f"attackers gone {DEADLINE:g} s after their last sign of life (and at most {SLACK:g} s for the sweep and "
            f"lingering), memory within {MEMORY - 1:.0%} of what it was after a first attack of the same kind.\n\n"
            f"{markdown_table(COLUMNS, rows)}\n"
        )
        options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "attacks.md").write_text(text, encoding="utf-8")
    return 0


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description="Attack greenserve, and see how a healthy client fares.")
    parser.add_argument("--only", help="attacks, comma-separated: " + "; ".join(ATTACKS))
    parser.add_argument("--quick", action="store_true", help="two seconds of each: does everything work?")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has greenserve")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results", help="where the results go")
    options = parser.parse_args(arguments)
    options.whole = not (options.only or options.quick)
    options.seconds = 2.0 if options.quick else DEADLINE + SLACK
    options.only = [name.strip() for name in options.only.split(",")] if options.only else list(ATTACKS)
    if unknown := [name for name in options.only if name not in ATTACKS]:
        parser.error(f"no such attack: {unknown[0]!r}")
    return options


def play(name: str, python: str, core: int, seconds: float) -> Played:
    """One attack on a new server. Raises ServerFailed, CalledProcessError."""
    raise_descriptor_limit(2500)
    port = free_port()
    limits = [str(part) for pair in TIMEOUTS.items() for part in pair]
    command = [python, "-m", "greenserve", "attacked:app", "--bind", f"127.0.0.1:{port}", *limits]
    with (
        tempfile.TemporaryDirectory() as directory,
        running(command, port, core, Path(directory) / "log") as server,
    ):
        with contextlib.suppress(PermissionError):  # what else the machine does is not to be measured
            os.setpriority(os.PRIO_PGRP, server.process.pid, -19)
        measured(name, port, WARMING)  # what a first attack leaves in the allocator is there for the next
        before = measured("healthy", port, seconds / 2)
        memory = calm_memory(server)
        with subprocess.Popen(
            command_of(name, port, seconds + BEGUN + 1), stdout=subprocess.PIPE, text=True
        ) as attackers:
            assert attackers.stdout is not None
            attackers.stdout.readline()
            time.sleep(BEGUN)
            meanwhile = measured("healthy", port, seconds)
            said = attackers.stdout.read()
        server.expect_alive()
        return Played(before, meanwhile, json.loads(said), (memory, calm_memory(server)))


def calm_memory(server: ServerProcess) -> float:
    """MiB, after a moment."""
    time.sleep(CALM)
    return server.memory_kib() / 1024


def measured(name: str, port: int, seconds: float) -> dict[str, float]:
    """What a client prints."""
    ran = subprocess.run(command_of(name, port, seconds), stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return found


def command_of(name: str, port: int, seconds: float) -> list[str]:
    """How it is started."""
    return [sys.executable, str(LOAD), name, str(port), str(seconds)]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
