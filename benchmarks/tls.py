"""Compare servers that speak TLS: `python benchmarks/tls.py [--quick] [--only hello] [--peers gevent,granian]`.

One worker process each, on one core; wrk has another. Within a row every server has its turn before the next round
begins, and each turn starts the server anew. What counts is the processor time of the server's whole process tree for
each request: the rates depend on what wrk can decrypt. The certificate has a key of 256 bits (ECDSA, P-256).
"""

from __future__ import annotations

import argparse
import operator
import socket
import ssl
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
from benchmarks.load import LoadFailed, run_wrk  # noqa: E402
from benchmarks.peers import Launch, Peer, granian, gunicorn  # noqa: E402
from benchmarks.process import ServerFailed, ServerProcess, free_port, running  # noqa: E402
from benchmarks.results import OURS  # noqa: E402
from benchmarks.scenarios import APPS  # noqa: E402

SETTLE_SECONDS = 1.0  # for a server that frees in the background
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement. app: in plain.py and asgi.py. script: wrk's; idle: memory is measured, not speed."""

    name: str
    title: str
    app: str
    connections: int
    script: Path | None = None
    idle: bool = False


ROWS = (
    Row("handshakes", "a new connection for each request, 16 at once", "hello", 16, APPS / "close.lua"),
    Row("hello", "13 bytes, 32 kept connections", "hello", 32),
    Row("mebibyte", "1 MiB, 8 kept connections", "mebibyte", 8),
    Row("idle", "1,000 connections at rest after 13 bytes each, KiB each", "hello", 1000, idle=True),
    Row("idle after 1 MiB", "1,000 connections at rest after 1 MiB each, KiB each", "mebibyte", 1000, idle=True),
)
SPEED = tuple(row.name for row in ROWS if not row.idle)
# Row, servers, at most so many times their processor time.
GOALS = (
    *((row, ("gevent", "gunicorn gthread", "uvicorn"), 1.0) for row in SPEED),
    ("hello", ("granian",), 1.5),
)

Command = Callable[[Launch, str, str], list[str]]

COMMANDS: dict[str, Command] = {
    OURS: lambda it, cert, key: it.module(
        "greenserve", it.app, "--bind", it.address, "--tls-cert", cert, "--tls-key", key
    ),
    "gevent": lambda it, cert, key: it.launcher("gevent", cert, key),
    "gunicorn gthread": lambda it, cert, key: [*gunicorn("gthread")(it), "--certfile", cert, "--keyfile", key],
    "uvicorn": lambda it, cert, key: it.module(
        "uvicorn",
        *(it.app.replace("plain:", "asgi:"), "--port", str(it.port), "--log-level", "error", "--backlog", "8192"),
        *("--ssl-certfile", cert, "--ssl-keyfile", key),
    ),
    "granian": lambda it, cert, key: [*granian(it), "--ssl-certificate", cert, "--ssl-keyfile", key],
}
PEERS = (
    Peer(OURS, (), lambda _: [], "its defaults"),
    Peer("gevent", ("gevent",), lambda _: [], "pywsgi, patch_all, TCP_NODELAY, log off"),
    Peer("gunicorn gthread", ("gunicorn",), lambda _: [], "8 threads, keep-alive 75 s"),
    Peer("uvicorn", ("uvicorn", "uvloop", "httptools"), lambda _: [], "an ASGI application; uvloop and httptools"),
    Peer("granian", ("granian",), lambda _: [], "--interface wsgi, its default threads"),
)


parsed = partial(parse_options, what="TLS", rows=ROWS, peers=PEERS, seconds=3.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit code."""
    options = parsed(arguments)
    place = environment(options.venv)
    reasons = {peer: provided(place, peer) for peer in options.peers}
    with tempfile.TemporaryDirectory(prefix="greenserve-bench-") as scratch:
        pair = certificate(Path(scratch))
        cells = measured(options, reasons, partial(play, place.python, pair, options.seconds))
    write(options, {**facts_of(options, place), "openssl": ssl.OPENSSL_VERSION}, cells)
    show(options, COLUMNS, partial(table, options, cells), goals(cells))
    return 0


def provided(place: Environment, peer: Peer) -> str | None:
    """None when the server is installed, otherwise why not."""
    return place.provide(peer.packages) if peer.packages else place.provide_checkout()


def certificate(directory: Path) -> tuple[str, str]:
    """Make a pair: the files of a certificate for localhost and its key."""
    cert, key = str(directory / "cert.pem"), str(directory / "key.pem")
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    made += ["-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*made, "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    return cert, key


def play(python: str, pair: tuple[str, str], seconds: float, cell: Cell, peer: Peer, row: Row, core: int) -> None:
    """One turn of a server. An error of it, or of the load, stands in the cell in the place of a number."""
    port = free_port()
    command = COMMANDS[peer.name](Launch(python, f"plain:{row.app}", port, None), *pair)
    with tempfile.TemporaryDirectory() as directory:
        try:
            with running(command, port, core, Path(directory) / "log") as server:
                cell.values.append(idle(server, row, pair[0]) if row.idle else load(server, row, seconds))
                server.expect_alive()
        except (ServerFailed, NotIdle, LoadFailed, OSError) as error:
            cell.missing = str(error)[:200]


def load(server: ServerProcess, row: Row, seconds: float) -> dict[str, float]:
    """Microseconds of processor time for each request, and the rate. Raises LoadFailed."""
    url = f"https://127.0.0.1:{server.port}/"
    run_wrk(url, row.connections, 1, row.script)
    before = server.cpu_seconds()
    found = run_wrk(url, row.connections, seconds, row.script)
    used = server.cpu_seconds() - before
    if found.non_2xx:
        raise LoadFailed(f"{found.non_2xx} answers other than 2xx")
    whole = max(1, round(seconds))
    return {
        "value": used / (found.rate * whole) * 1e6,
        "rate": found.rate,
        "p99_ms": found.p99,
        "errors": found.socket_errors + found.timeouts,
        "client_cpu": found.client_cpu,
    }


def idle(server: ServerProcess, row: Row, cafile: str) -> dict[str, float]:
    """Memory of the server for each connection at rest, in KiB. Raises NotIdle, OSError."""
    raise_descriptor_limit(row.connections + 200)
    context = ssl.create_default_context(cafile=cafile)
    kept = [asked(server.port, context) for _ in range(64)]  # what the first ones cost once and for all
    time.sleep(SETTLE_SECONDS)
    before = server.memory_kib()
    try:
        kept += [asked(server.port, context) for _ in range(row.connections)]
        time.sleep(SETTLE_SECONDS)
        return {"value": (server.memory_kib() - before) / row.connections}
    finally:
        for connection in kept:
            connection.close()


def asked(port: int, context: ssl.SSLContext) -> socket.socket:
    """A connection that has had one answer."""
    plain = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection = context.wrap_socket(plain, server_hostname="localhost")
    connection.sendall(REQUEST)
    with connection.makefile("rb") as file:
        size = 0
        while (line := file.readline().lower()) not in (b"\r\n", b""):
            if line.startswith(b"content-length:"):
                size = int(line.split(b":")[1])
        if not size or len(file.read(size)) < size:
            raise NotIdle("an answer was cut off")
    return connection


COLUMNS = ("server", "median", "÷ greenserve", "per second", "p99 ms", "notes")


def table(options: argparse.Namespace, cells: Cells, row: Row) -> list[tuple[str, ...]]:
    """One row of texts for each server, the best first. Speed: µs of processor time for each request."""
    ours = cells[row.name, OURS].median() if (row.name, OURS) in cells else None
    lines = []
    for peer in sorted(options.peers, key=lambda peer: cells[row.name, peer.name].median() or 1e12):
        cell = cells[row.name, peer.name]
        value = cell.median()
        if value is None:
            lines.append((peer.name, "n/a", "–", "–", "–", cell.missing or "no number"))
            continue
        times = "–" if not ours or peer.name == OURS else f"{value / ours:.2f}×"
        more = ("–", "–") if row.idle else (f"{cell.median('rate'):,.0f}", f"{cell.median('p99_ms'):.1f}")
        errors = 0 if row.idle else cell.median("errors")
        unit = "KiB" if row.idle else "µs"
        lines.append((peer.name, f"{value:,.1f} {unit}", times, *more, f"{errors:.0f} errors" if errors else ""))
    return lines


def goals(cells: Cells) -> list[str]:
    """The goals, judged."""
    return judged(cells, GOALS, operator.le, "the processor time of ")


def write(options: argparse.Namespace, facts: Mapping[str, object], cells: Cells) -> None:
    """tls.json and tls.md; partial.tls.* when something was left out."""
    heading = (
        f"# Servers that speak TLS compared\n\n{facts['date']}, medians of {facts['rounds']} interleaved rounds, "
        f"one core, {facts['openssl']}. Speed is processor time of the server for each request."
    )
    lines = partial(table, options, cells)
    write_results(options, "tls", facts, cells, heading, COLUMNS, lines, goals(cells))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
