"""wrk: run it, and read what it prints."""

from __future__ import annotations

import re
import resource
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0, "h": 3_600_000.0}


class LoadFailed(Exception):
    """wrk could not run, or said something that cannot be read."""


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk measured. Latencies in ms; requests (answered) and errors are counts; client_cpu: the share of its core
    that wrk used.
    """

    requests: int
    rate: float
    p50: float
    p99: float
    socket_errors: int
    timeouts: int
    non_2xx: int
    client_cpu: float = 0.0


def run_wrk(
    url: str, connections: int, seconds: float, script: Path | None = None, arguments: Sequence[str] = ()
) -> Load:
    """Load `url` from one thread, on the caller's core, for so many (whole) seconds. arguments: the script's. Raises
    LoadFailed.
    """
    whole = max(1, round(seconds))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{whole}s", "--latency"]
    if script is not None:
        command += ["-s", str(script)]
    words = ["--", *arguments] if arguments else []
    before = _children_seconds()
    try:
        ran = subprocess.run([*command, url, *words], capture_output=True, text=True, timeout=whole + 30, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise LoadFailed(f"wrk did not run to its end: {error}") from error
    if ran.returncode != 0:
        raise LoadFailed(f"wrk ended with code {ran.returncode}: {(ran.stderr or ran.stdout).strip()[:200]}")
    return parse_wrk(ran.stdout, client_cpu=(_children_seconds() - before) / whole)


def parse_wrk(output: str, client_cpu: float = 0.0) -> Load:
    """Read the output of `wrk --latency`. Raises LoadFailed when a number that is always there is not."""
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    connect, read, write, timeouts = map(int, errors.groups()) if errors else (0, 0, 0, 0)
    non_2xx = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    return Load(
        requests=int(_found(r"^\s+(\d+) requests in", output)[0]),
        rate=float(_found(r"Requests/sec:\s+([\d.]+)", output)[0]),
        p50=_percentile(50, output),
        p99=_percentile(99, output),
        socket_errors=connect + read + write,
        timeouts=timeouts,
        non_2xx=int(non_2xx[1]) if non_2xx else 0,
        client_cpu=client_cpu,
    )


def _percentile(which: int, output: str) -> float:
    number, unit = _found(rf"^\s+{which}%\s+([\d.]+)(us|ms|s|m|h)\s*$", output)
    return float(number) * MILLISECONDS[unit]


def _found(pattern: str, output: str) -> tuple[str, ...]:
    found = re.search(pattern, output, re.MULTILINE)
    if found is None:
        raise LoadFailed(f"wrk printed no match for {pattern}")
    return found.groups()


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
