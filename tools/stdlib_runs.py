"""Runs of the standard library's tests, each kept in a file: what has been run is not run again.

Strategy: a module's tests run in a process of their own, which reports each outcome as it comes. A test during which
nothing is reported for a while is noted as hung, and the process killed; another one goes on with those that are left.
So one bad test costs itself only.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

CHILD = Path(__file__).resolve().parent / "stdlib_child.py"
MAX_PROCESSES = 50  # for one module: each but the last has had a test that killed it, or hung


@dataclass
class Run:
    """The outcomes of one module's tests, by test."""

    outcomes: dict[str, str] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)
    problem: str = ""

    def count(self) -> Counter[str]:
        """How many of each outcome."""
        return Counter(self.outcomes.values())


class Cache:
    """A directory with a file for each run."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def get(self, version: str, module: str, patch: str) -> Run | None:
        """The run of before; None: there was none."""
        path = self._path(version, module, patch)
        return Run(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None

    def put(self, version: str, module: str, patch: str, run: Run) -> None:
        """Keep a run."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._path(version, module, patch).write_text(json.dumps(asdict(run), indent=1) + "\n", encoding="utf-8")

    def _path(self, version: str, module: str, patch: str) -> Path:
        return self._directory / f"{version}-{patch}-{module}.json"


def run_module(python: str, module: str, patch: str, silence: float, without: Sequence[str] = ()) -> Run:
    """All tests of a module but those `without`, in as many processes as it needs."""
    run = Run()
    run.outcomes.update(dict.fromkeys(without, "excluded"))
    for _ in range(MAX_PROCESSES):
        before = len(run.outcomes)
        if _run_process(python, module, patch, run, silence) or len(run.outcomes) == before:
            break
    return run


def _run_process(python: str, module: str, patch: str, run: Run, silence: float) -> bool:
    """One process. Returns whether it came to the end."""
    read_fd, write_fd = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as work:  # the tests write into where they are
        process = subprocess.Popen(
            [python, str(CHILD), module, patch, str(write_fd)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[write_fd],
            cwd=work,
            start_new_session=True,
        )
        os.close(write_fd)
        assert process.stdin is not None
        process.stdin.write(json.dumps(sorted(run.outcomes)).encode())
        process.stdin.close()
        try:
            return _Listener(process, read_fd, run).listen(silence)
        finally:
            os.close(read_fd)
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            assert process.stdout is not None
            process.stdout.close()
            process.wait()


class _Listener:
    """Hears one child's reports, and what it prints."""

    def __init__(self, process: subprocess.Popen[bytes], fd: int, run: Run) -> None:
        self._process = process
        self._fd = fd
        self._run = run
        self._current = ""
        self._buffer = b""
        self._output = b""

    def listen(self, silence: float) -> bool:
        """Until the end, a death or too long a silence. Returns whether it came to the end."""
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._fd, selectors.EVENT_READ)
            selector.register(self._process.stdout, selectors.EVENT_READ)
            deadline = time.monotonic() + silence
            while ready := selector.select(max(0.0, deadline - time.monotonic())):
                for key, _ in ready:
                    data = os.read(key.fd, 65536)
                    if key.fd == self._fd:
                        deadline = time.monotonic() + silence
                        ended = self._hear(data)
                        if ended is not None:
                            return ended
                    elif data:
                        self._output = (self._output + data)[-20000:]
                    else:
                        selector.unregister(self._process.stdout)
        self._broken("hung")
        return False

    def _hear(self, data: bytes) -> bool | None:
        """Reports; none at all means that the child has died. Returns whether it has come to its end; None: it goes
        on.
        """
        if not data:
            self._broken("failed")
            return False
        self._buffer += data
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            outcome, test, detail = json.loads(line)
            if outcome == "ended":
                return True
            self._current = test if outcome == "began" else ""
            if outcome != "began" and self._run.outcomes.get(test) != "failed":
                self._run.outcomes[test] = outcome
                self._run.details[test] = detail
        return None

    def _broken(self, outcome: str) -> None:
        said = f"{outcome}: {self._output[-4000:].decode(errors='replace')}"
        if self._current:
            self._run.outcomes[self._current] = outcome
            self._run.details[self._current] = said
        else:
            self._run.problem = said
