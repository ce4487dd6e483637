"""Runs the small programs of a directory, each of which once showed a fault, and says which show the right value now.

    python tools/reports.py DIR                      # all of them, some minutes
    python tools/reports.py DIR hub/b28 server       # those whose name begins so
    python tools/reports.py DIR --list               # what is right, for each

DIR has subfolders of programs, as report_rows.toml names them. It is only read: each program runs in a copy of its
folder, with this interpreter's directory first on PATH, in a session of its own of which nothing is left behind. What a
program says is shown when it is wrong. The exit code is 0 only when all are right.
"""

from __future__ import annotations

import argparse
import functools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DRIVERS = Path(__file__).resolve().parent / "report_drivers.py"
TABLE = Path(__file__).resolve().parent / "report_rows.toml"
FIXED_PORT = re.compile(r"\b18\d{3}\b")
NETCAT = """#!{python}
import socket, sys
with socket.create_connection((sys.argv[-2], int(sys.argv[-1])), 5) as s:
    s.sendall(sys.stdin.buffer.read())
    try:
        while data := s.recv(65536):
            sys.stdout.buffer.write(data)
            sys.stdout.flush()
    except OSError:
        pass
"""


@dataclass(frozen=True)
class Row:
    """One way to run one program.

    right: what is right, in words. says, never: patterns that its output (both streams) has, and has not; `^` and `$`
    are at lines. most: pattern with one group → the largest that any of its numbers may be. status: the exit status.
    limit: seconds. times: how often it runs. driver: the function of report_drivers.py that plays with the program,
    where that is only an application. edits: text of the program → what stands in its place, where it could not run or
    would never end otherwise.
    """

    program: str
    right: str
    arguments: tuple[str, ...] = ()
    says: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    most: Mapping[str, float] = field(default_factory=dict)
    status: int = 0
    limit: float = 30.0
    times: int = 1
    driver: str = ""
    edits: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The program with its arguments."""
        return " ".join([self.program, *self.arguments]) + (f" ({self.times} times)" if self.times > 1 else "")


def read_rows() -> Iterator[Row]:
    """The rows of the table. There each of `ways`, the words after the program, is a row of its own."""
    for program, entries in tomllib.loads(TABLE.read_text(encoding="utf-8")).items():
        for entry in entries:
            ways: list[str] = entry.pop("ways", [""])
            more: dict[str, Any] = entry
            yield from (Row(program, arguments=tuple(way.split()), **more) for way in ways)


@dataclass(frozen=True)
class Run:
    """What one run of a program came to. status: None when it ran into its time limit."""

    output: str
    status: int | None
    seconds: float


def session_members(leader: int) -> Iterator[int]:
    """The processes of the session that `leader` began."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[3]) == leader:
                yield int(entry.name)


def run_program(command: list[str], folder: Path, environ: dict[str, str], limit: float) -> Run:
    """Run it with a time limit in seconds. However it ends, all processes of its session are ended, by their ids."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as output:  # not a pipe: a grandchild that lives on would keep it open
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status: int | None = process.wait(limit)
        except subprocess.TimeoutExpired:
            status = None
        seconds = time.monotonic() - began
        # The leader, when it has ended, is awaited last: until then its number, the session's, is not given away.
        while members := [pid for pid in session_members(process.pid) if pid != process.pid or status is None]:
            for pid in members:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            process.poll()
            time.sleep(0.02)
        process.wait()
        output.seek(0)
        return Run(output.read().decode(errors="backslashreplace"), status, seconds)


def faults(row: Row, run: Run) -> list[str]:
    """What is wrong with a run; empty when it is right."""
    found = []
    if run.status is None:
        found.append(f"ran longer than {row.limit:g} s")
    elif run.status != row.status:
        found.append(f"exit status {run.status} instead of {row.status}")
    found += [f"does not say {pattern!r}" for pattern in row.says if not re.search(pattern, run.output, re.M)]
    found += [f"says {pattern!r}" for pattern in row.never if re.search(pattern, run.output, re.M)]
    for pattern, most in row.most.items():
        numbers = [float(number) for number in re.findall(pattern, run.output, re.M)]
        if not numbers:
            found.append(f"does not say {pattern!r}")
        elif max(numbers) > most:
            found.append(f"{pattern!r} is {max(numbers):g}, more than {most:g}")
    return found


@functools.cache
def port_for(number: str) -> str:
    """A free port in the place of one that a program has chosen: another process may run the same program."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@contextmanager
def copied(directory: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """A copy of a folder, and the environment for its programs."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / directory.name
        shutil.copytree(directory, folder, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "d").mkdir(exist_ok=True)
        for path in (*folder.glob("*.py"), *folder.glob("*.sh")):
            path.write_text(FIXED_PORT.sub(lambda found: port_for(found[0]), path.read_text(encoding="utf-8")))
        binaries = Path(sys.executable).parent
        (Path(scratch) / "venv").symlink_to(binaries.parent)
        extra = Path(scratch) / "bin"
        extra.mkdir()
        if shutil.which("nc") is None:
            (extra / "nc").write_text(NETCAT.format(python=sys.executable), encoding="utf-8")
            (extra / "nc").chmod(0o755)
        environ = {name: value for name, value in os.environ.items() if not name.startswith("GREENSERVE_")}
        environ |= {
            "PATH": os.pathsep.join([str(binaries), environ["PATH"], str(extra)]),
            "PYTHONPATH": environ.get("PYTHONPATH", ""),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            "HOME": str(folder),
            "TMPDIR": scratch,
        }
        yield folder, environ


def edit(path: Path, edits: Mapping[str, str]) -> None:
    """Put other text into a program. Raises ValueError when the text to be replaced is not there."""
    text = path.read_text(encoding="utf-8")
    for old, new in edits.items():
        if old not in text:
            raise ValueError(f"{path} has no {old!r}")
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


def play(directory: Path, row: Row) -> tuple[list[str], Run]:
    """Run a row's program as often as the row asks for, until it is wrong."""
    if row.driver:
        command = [sys.executable, str(DRIVERS), row.driver, *row.arguments]
    else:
        command = ["bash" if row.program.endswith(".sh") else sys.executable, Path(row.program).name, *row.arguments]
    for _ in range(row.times):
        with copied((directory / row.program).parent) as (folder, environ):
            edit(folder / Path(row.program).name, row.edits)
            run = run_program(command, folder, environ, row.limit)
        if wrong := faults(row, run):
            break
    return wrong, run


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("names", nargs="*", metavar="NAME", help="run only what begins so, such as hub/b28 or server")
    parser.add_argument("--list", action="store_true", help="say what is right instead of running")
    parser.add_argument("--lines", type=int, default=12, help="of the output of a wrong run to show")
    options = parser.parse_args()
    rows = [row for row in read_rows() if not options.names or row.program.startswith(tuple(options.names))]
    if options.list:
        for row in rows:
            print(f"{row.name:50} {row.right}")
        return 0
    if missing := sorted({row.program for row in rows if not (options.directory / row.program).is_file()}):
        parser.error(f"{options.directory} has no {', '.join(missing)}")
    wrong_rows = 0
    for row in rows:
        wrong, run = play(options.directory, row)
        print(f"{'WRONG' if wrong else 'right':5} {run.seconds:5.1f} s  {row.name:48} {row.right}", flush=True)
        wrong_rows += bool(wrong)
        for reason in wrong:
            print(f"        - {reason}")
        if wrong:
            print("".join(f"        | {line[:300]}\n" for line in run.output.splitlines()[-options.lines :]), end="")
    print(f"{len(rows) - wrong_rows} of {len(rows)} are right")
    return 1 if wrong_rows or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
