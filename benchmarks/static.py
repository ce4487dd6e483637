"""Compare servers of static files: `python benchmarks/static.py [--rounds 3] [--seconds 3] [--peers greenserve,nginx]`.

What counts is the server's processor time for each request, since a client that is slower than nginx would hide the
difference in rates. One worker process each, on one core; the load has another; rounds are interleaved.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shutil
import statistics
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # as a script, Python puts this file's own directory there

from benchmarks.choices import chosen, rotated  # noqa: E402
from benchmarks.environment import environment, machine  # noqa: E402
from benchmarks.load import LoadFailed, run_wrk  # noqa: E402
from benchmarks.peers import Launch  # noqa: E402
from benchmarks.process import ServerFailed, cores, free_port, running  # noqa: E402
from benchmarks.report import markdown_table  # noqa: E402

CONNECTIONS = 32
SIZES = {"1 KiB": ("small.css", 1 << 10), "1 MiB": ("large.bin", 1 << 20)}

NGINX = """
daemon off; master_process off; worker_processes 1; pid {scratch}/nginx.pid; error_log {scratch}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000;
    types {{ text/css css; }} default_type application/octet-stream;
    client_body_temp_path {scratch}/a; proxy_temp_path {scratch}/b; fastcgi_temp_path {scratch}/c;
    uwsgi_temp_path {scratch}/d; scgi_temp_path {scratch}/e;
    server {{ listen 127.0.0.1:{port}; location /static/ {{ alias {directory}/; gzip_static on; }} }}
}}
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """One server: what pip installs, and the command that serves `directory` at /static."""

    name: str
    packages: tuple[str, ...]
    command: Callable[[Launch, Path, Path], list[str]]
    note: str


def nginx(launch: Launch, directory: Path, scratch: Path) -> list[str]:
    """nginx as its documentation advises for files."""
    program = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if program is None:
        raise ServerFailed("nginx is not installed")
    file = scratch / "nginx.conf"
    file.write_text(NGINX.format(scratch=scratch, directory=directory, port=launch.port), "utf-8")
    return [program, "-p", str(scratch), "-e", str(scratch / "error.log"), "-c", str(file)]


PEERS = (
    Peer(
        "greenserve",
        (),
        lambda it, directory, _: it.module(
            "greenserve", "plain:hello", "--bind", it.address, "--static", f"/static={directory}"
        ),
        "--static",
    ),
    Peer("nginx", (), nginx, "sendfile, tcp_nopush, gzip_static, no cache of open files, log off"),
    Peer(
        "greenserve whitenoise",
        ("whitenoise",),
        lambda it, *_: it.module("greenserve", "static_whitenoise:app", "--bind", it.address),
        "WhiteNoise in the application",
    ),
    Peer(
        "bjoern whitenoise",
        ("bjoern", "whitenoise"),
        lambda it, *_: Launch(it.python, "static_whitenoise:app", it.port, None).launcher("bjoern"),
        "WhiteNoise in the application; head and file in two sends, with Nagle's delay",
    ),
)


@dataclass(slots=True)
class Cell:
    """One server with one file: microseconds of processor time, and requests a second, of each round."""

    cpu: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    missing: str | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit code."""
    options = parsed(arguments)
    place = environment(options.venv)
    cells = {(size, peer.name): Cell() for size in SIZES for peer in options.peers}
    wanted = {name for peer in options.peers for name in peer.packages}
    why = place.provide_checkout()
    missing = {name: place.provide((name,)) for name in wanted}
    for (_, name), cell in cells.items():
        packages = next(peer.packages for peer in options.peers if peer.name == name)
        cell.missing = why or next(filter(None, map(missing.get, packages)), None)
    options.machine = machine()
    server_core, client_core = cores()
    os.sched_setaffinity(0, {client_core})  # wrk inherits it
    with files() as directory:
        os.environ["STATIC_DIRECTORY"] = str(directory)
        for turn in range(options.rounds):
            for peer in rotated(options.peers, turn):
                play(cells, peer, place.python, directory, server_core, options.seconds)
    text = report(options, cells, place.versions(["greenserve", *wanted]))
    print(text)
    if options.output:
        options.output.write_text(text, "utf-8")
    return 0


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options; `peers` as objects."""
    parser = argparse.ArgumentParser(description="Compare greenserve's static files with other servers'.")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each server")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one measurement")
    parser.add_argument("--peers", help="servers, comma-separated: " + ", ".join(peer.name for peer in PEERS))
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv-bench", help="where the servers are installed")
    parser.add_argument("--output", type=Path, help="the file that the table goes to, besides standard output")
    options = parser.parse_args(arguments)
    try:
        options.peers = chosen(options.peers, {peer.name: peer for peer in PEERS})
    except ValueError as error:
        parser.error(str(error))
    return options


@contextmanager
def files() -> Iterator[Path]:
    """A directory with a file of each size."""
    with tempfile.TemporaryDirectory(prefix="greenserve-static-") as name:
        for file, size in SIZES.values():
            path = Path(name) / file
            path.write_bytes(b"x" * size)
            os.utime(path, (1_700_000_000, 1_700_000_000))
        yield Path(name)


def play(
    cells: dict[tuple[str, str], Cell], peer: Peer, python: str, directory: Path, core: int, seconds: float
) -> None:
    """One turn of a server with each file; what goes wrong becomes the reason why there is no number."""
    port = free_port()
    with tempfile.TemporaryDirectory() as scratch:
        for size, (file, length) in SIZES.items():
            cell = cells[size, peer.name]
            if cell.missing is not None:
                continue
            try:
                command = peer.command(Launch(python, "", port, None), directory, Path(scratch))
                with running(command, port, core, Path(scratch) / "log") as server:
                    url = f"http://127.0.0.1:{port}/static/{file}"
                    with urllib.request.urlopen(url) as answer:
                        if answer.read() != b"x" * length:
                            raise ServerFailed("sends another file")
                    run_wrk(url, CONNECTIONS, 1)
                    before = server.cpu_seconds()
                    load = run_wrk(url, CONNECTIONS, seconds)
                    used = server.cpu_seconds() - before
                if load.non_2xx or load.socket_errors:
                    raise ServerFailed(f"{load.non_2xx} answers other than 2xx, {load.socket_errors} socket errors")
                cell.rate.append(load.rate)
                cell.cpu.append(used / (load.rate * max(1, round(seconds))) * 1e6)
                print(f"{size}  {peer.name:<22} {cell.cpu[-1]:8.1f} us {load.rate:10,.0f}/s", file=sys.stderr)
            except (ServerFailed, LoadFailed, OSError) as error:
                cell.missing = str(error)[:200]


def report(options: argparse.Namespace, cells: dict[tuple[str, str], Cell], versions: dict[str, str]) -> str:
    """The page."""
    facts = options.machine
    lines = [
        "# Static files compared",
        "",
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC, medians of {options.rounds} interleaved rounds of "
        f"{options.seconds:g} s, {CONNECTIONS} connections, one core for the server, one for wrk",
    ]
    for size in SIZES:
        rows = []
        for peer in options.peers:
            cell = cells[size, peer.name]
            values = [f"{statistics.median(each):,.1f}" if each else "n/a" for each in (cell.cpu, cell.rate)]
            rows.append([peer.name, *values, cell.missing or peer.note])
        columns = ["server", "CPU µs a request", "requests/s", "notes"]
        lines += ["", f"## A file of {size}", "", *markdown_table(columns, rows).splitlines()]
    named = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    lines += [
        "",
        f"{facts['cpu']}, {facts['cores']} cores, kernel {facts['kernel']}, Python {facts['python']}; {named}",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
