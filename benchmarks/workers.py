"""Several worker processes: `python benchmarks/workers.py [--seconds 10] [--venv DIR]`.

What fails while workers are replaced and killed under load; what a second worker brings, by processor time; how
connections are spread; what memory eight workers of a Django application with its admin take, beside gunicorn's. The
environment has gunicorn, Django and greenserve (`pip install gunicorn django .`). Writes results/workers.md.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # as a script, Python puts this file's own directory there

import greenserve  # noqa: E402
from benchmarks.environment import machine  # noqa: E402
from benchmarks.load import Load, run_wrk  # noqa: E402
from benchmarks.process import ServerProcess, free_port, running  # noqa: E402
from benchmarks.report import markdown_table  # noqa: E402
from greenserve import websocket  # noqa: E402

CHANGES = "3 × SIGHUP, SIGUSR2, 2 × kill -9, workers replaced after 60,000 requests"
CONNECTIONS = 64
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
Step = Callable[[ServerProcess], None]


@contextmanager
def served(python: str, kind: str, app: str, workers: int, *options: str) -> Iterator[ServerProcess]:
    """A server of this kind, on all processors, which listens. options: greenserve's."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    commands = {
        "greenserve": ["greenserve", app, "--bind", address, "--workers", str(workers), *options],
        "gunicorn sync": ["gunicorn", app, "-b", address, "-w", str(workers), "--preload", "--log-level", "error"],
        "gunicorn gthread": ["gunicorn", app, "-b", address, "-w", str(workers), "--threads", "8", "-k", "gthread"],
    }
    with (
        tempfile.TemporaryDirectory() as directory,
        running([python, "-m", *commands[kind]], port, 0, Path(directory) / "log") as server,
    ):
        for pid, _ in server._members():
            os.sched_setaffinity(pid, os.sched_getaffinity(0))
        yield server


def children(pid: int) -> list[int]:
    """Those that live."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def kill_a_worker(server: ServerProcess) -> None:
    """The one with the most connections."""
    found = {
        pid: sum("socket:" in str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir())
        for pid in children(server.process.pid)
    }
    os.kill(max(found, key=lambda pid: found[pid]), signal.SIGKILL)


def told(number: signal.Signals) -> Step:
    """A signal to the main process."""
    return lambda server: os.kill(server.process.pid, number)


HUP, USR2 = told(signal.SIGHUP), told(signal.SIGUSR2)


def changed(python: str, kind: str, steps: list[Step], seconds: float, *options: str) -> tuple[Load, int]:
    """Load it while these steps are taken, evenly. Returns what wrk says, and how many requests it made."""
    with served(python, kind, "plain:hello", 2, *options) as server:
        run_wrk(f"http://127.0.0.1:{server.port}/", CONNECTIONS, 1)
        thread = threading.Thread(target=take, args=(steps, server, seconds))
        thread.start()
        load = run_wrk(f"http://127.0.0.1:{server.port}/", CONNECTIONS, seconds)
        thread.join()
        return load, round(load.rate * seconds)


def take(steps: list[Step], server: ServerProcess, seconds: float) -> None:
    """The steps, evenly."""
    for step in steps:
        time.sleep(seconds / (len(steps) + 1))
        step(server)


class Reconnecting(NamedTuple):
    """What clients of WebSockets have seen that connect again when theirs ends.

    echoes: messages that came back. closes: by code, 1006 for a killed worker's. refused: connections that failed.
    """

    echoes: int
    closes: Counter[int]
    refused: int


def reconnecting(python: str, steps: list[Step], seconds: float) -> Reconnecting:
    """As `changed`, with 200 WebSockets, each of which sends a message ten times a second."""
    closes: Counter[int] = Counter()
    counts: Counter[str] = Counter()
    end = time.monotonic() + seconds + 2

    def client(url: str) -> None:
        while time.monotonic() < end:
            try:
                ws = websocket.connect(url)
            except (OSError, websocket.WebSocketError):
                counts["refused"] += 1
                greenserve.sleep(0.1)
                continue
            try:
                with ws:
                    while time.monotonic() < end:
                        ws.send("x" * 100)
                        ws.receive(timeout=20)
                        counts["echoes"] += 1
                        greenserve.sleep(0.1)
            except websocket.ConnectionClosed as closed:
                closes[closed.code] += 1

    with served(python, "greenserve", "ws_echo:echo", 2) as server:
        thread = threading.Thread(target=take, args=(steps, server, seconds))
        thread.start()
        with greenserve.TaskGroup() as group:
            for _ in range(200):
                group.spawn(client, f"ws://127.0.0.1:{server.port}/")
        thread.join()
    return Reconnecting(counts["echoes"], closes, counts["refused"])


def cost(python: str, workers: int, seconds: float) -> tuple[float, float]:
    """Microseconds of processor time for each request, and requests a second."""
    with served(python, "greenserve", "plain:hello", workers) as server:
        url = f"http://127.0.0.1:{server.port}/"
        run_wrk(url, CONNECTIONS, 1)
        before = server.cpu_seconds()
        load = run_wrk(url, CONNECTIONS, seconds)
        return (server.cpu_seconds() - before) / (load.rate * seconds) * 1e6, load.rate


def spread(python: str, count: int, *, at_once: bool) -> list[int]:
    """How many of so many connections each of four workers has."""
    with served(python, "greenserve", "workers_django:pid", 4) as server:
        time.sleep(1)
        if not at_once:
            return sorted(Counter(asked(server.port) for _ in range(count)).values())
        socks = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(count)]
        for sock in socks:
            sock.sendall(REQUEST)
        found = Counter(answer(sock) for sock in socks)
        for sock in socks:
            sock.close()
        return sorted(found.values())


KEPT: list[socket.socket] = []


def asked(port: int) -> int:
    """The worker that has this new connection, which stays."""
    sock = socket.create_connection(("127.0.0.1", port))
    KEPT.append(sock)
    sock.sendall(REQUEST)
    return answer(sock)


def answer(sock: socket.socket) -> int:
    """The number in the body."""
    return int(sock.recv(4096).rpartition(b"\r\n\r\n")[2])


class Memory(NamedTuple):
    """MiB (PSS) of a tree of eight workers after 10,000 requests, and of its root; then after `collect` in each."""

    tree: float
    root: float
    collected: float


def memory(python: str, kind: str, app: str) -> Memory:
    """The requests are for the admin's login page, from 16 connections at a time, and then from one in each worker."""
    with served(python, kind, f"{app}:application", 8) as server:
        asked_for = 0.0
        while asked_for < 10_000:
            asked_for += run_wrk(f"http://127.0.0.1:{server.port}/admin/login/", 16, 10).rate * 10
        ask_each(server.port, 8, "/admin/login/", 50)
        root = Path(f"/proc/{server.process.pid}/smaps_rollup").read_text().split("Pss:")[1].split()[0]
        tree = server.memory_kib()
        ask_each(server.port, 8, "/collect/", 1)
        return Memory(tree / 1024, int(root) / 1024, server.memory_kib() / 1024)


def ask_each(port: int, workers: int, path: str, times: int) -> None:
    """Have each worker answer at least once; `times` if it keeps connections. Raises RuntimeError if one does not."""
    kept: dict[str | None, HTTPConnection] = {}
    others = []  # kept as well, so that the next one is another worker's
    for _ in range(50 * workers):
        connection = HTTPConnection("127.0.0.1", port)
        others.append(connection)
        kept[_answerer(connection, path)] = connection
        if len(kept) == workers:
            break
    else:
        raise RuntimeError(f"{len(kept)} of {workers} workers have answered")
    for connection in kept.values():
        for _ in range(times - 1):
            _answerer(connection, path)
    for connection in others:
        connection.close()


def _answerer(connection: HTTPConnection, path: str) -> str | None:
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    return response.getheader("X-Worker")


def start(python: str, workers: int) -> float:
    """Milliseconds from the command to the first answer; the best of three."""
    found = []
    for _ in range(3):
        before = time.monotonic()
        with served(python, "greenserve", "plain:hello", workers) as server:
            with socket.create_connection(("127.0.0.1", server.port)) as sock:
                sock.sendall(REQUEST)
                sock.recv(4096)
            found.append((time.monotonic() - before) * 1000)
    return min(found)


def memory_report(python: str) -> list[str]:
    """As Markdown."""
    found = {
        (kind, app): memory(python, kind, app)
        for app in ("workers_django", "workers_django_warm")
        for kind in ("greenserve", "gunicorn sync")
    }
    rows = [
        (
            kind.replace(" sync", " --preload") + (", a request at import" if app.endswith("warm") else ""),
            f"{each.tree:.0f}",
            f"{each.root:.1f}",
            f"{each.collected:.0f}",
        )
        for (kind, app), each in found.items()
    ]
    print(rows, flush=True)
    ours, theirs = (found[kind, "workers_django"] for kind in ("greenserve", "gunicorn sync"))
    head = (
        "8 workers, Django's admin, 10,000 requests",
        "MiB (PSS)",
        "of it the root",
        "after a full collection in each",
    )
    return [
        markdown_table(head, rows),
        f"greenserve takes {ours.tree / theirs.tree:.0%} of gunicorn's memory (goal: 45%), and "
        f"{ours.collected / theirs.collected:.0%} after each worker's garbage collector has looked at everything once.",
    ]


def main() -> int:
    """The command. Returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of the load while workers are replaced")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv-bench")
    options = parser.parse_args()
    python = str(options.venv / "bin" / "python")
    parts = [f"# Several workers\n\n{machine()}. Load and server share the processors.\n"]
    rows = []
    changes = [HUP, kill_a_worker, HUP, USR2, kill_a_worker, HUP]
    for name, kind, steps in (
        (CHANGES, "greenserve", changes),
        ("3 × SIGHUP", "greenserve", [HUP] * 3),
        ("3 × SIGHUP", "gunicorn gthread", [HUP] * 3),
    ):
        seconds = options.seconds if len(steps) > 3 else options.seconds / 2
        recycled = ("--max-requests", "60000") if steps is changes else ()
        load, count = changed(python, kind, steps, seconds, *recycled)
        rows.append((name, kind, f"{count:,}", str(load.socket_errors + load.timeouts + load.non_2xx)))
        print(rows[-1], flush=True)
    head = ("under 64 connections", "server", "requests", "failed")
    parts.append(markdown_table(head, rows))
    found = reconnecting(python, changes, options.seconds)
    ends = ", ".join(f"{count} × {int(code)}" for code, count in sorted(found.closes.items()))
    print(found, flush=True)
    parts.append(
        f"200 WebSockets through 3 × SIGHUP, SIGUSR2, 2 × kill -9: {found.echoes:,} messages came back, "
        f"{found.refused} connections were refused; closed were {ends} (1012: the worker "
        "was replaced; 1006: it was killed)."
    )
    one, two = (cost(python, workers, 4) for workers in (1, 2))
    rows = [(str(n), f"{used:.1f}", f"{rate:,.0f}") for n, (used, rate) in ((1, one), (2, two))]
    print(rows, flush=True)
    parts.append(markdown_table(("workers", "µs of processor time a request", "per second, wrk beside"), rows))
    parts.append(
        f"Two workers on two processors can serve {2 * one[0] / two[0]:.2f} × one, by processor time (goal: 1.8)."
    )
    spreads = [("400 at once", spread(python, 400, at_once=True)), ("200 in turn", spread(python, 200, at_once=False))]
    parts.append(markdown_table(("connections of 4 workers", "each"), [(a, str(b)) for a, b in spreads]))
    print(spreads, flush=True)
    parts += memory_report(python)
    single, several = start(python, 1), start(python, 2)
    parts.append(f"From the command to the first answer: one process {single:.0f} ms, two workers {several:.0f} ms.")
    print(parts[-1], flush=True)
    (ROOT / "benchmarks" / "results" / "workers.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
