"""What the hub's tests share: virtual time, and programs that run in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

from greenserve.hub.core.hub import Hub
from greenserve.hub.core.poller import default_poller

ROOT = Path(__file__).resolve().parents[2]


class VirtualTime:
    """A clock, and the poller that makes it jump instead of sleeping. Descriptors are real."""

    hub: Hub

    def __init__(self, forever: bool = True) -> None:
        self.now = 0.0
        self.forever = forever  # whether everybody may wait for good
        self.sleeps: list[float] = []
        self._poller = default_poller()
        self.edges = self._poller.edges
        self.readable, self.writable = self._poller.readable, self._poller.writable
        self.hangup = self._poller.hangup
        self.add, self.rearm, self.remove = self._poller.add, self._poller.rearm, self._poller.remove
        self.arm, self.disarm, self.close = self._poller.arm, self._poller.disarm, self._poller.close

    def clock(self) -> float:
        return self.now

    def wait(self, timeout: float | None) -> list[tuple[int, int]]:
        assert self.forever or timeout is not None, "everybody waits for ever"
        events = self._poller.wait(0 if timeout is not None else None)
        if timeout and not events:
            self.sleeps.append(timeout)
            self.now += timeout
        return events


def program(code: str) -> list[str]:
    """The command that runs `code`, with all warnings made errors."""
    return [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1"}


def run(code: str, timeout: float = 30, status: int | None = 0) -> subprocess.CompletedProcess[str]:
    """Run `code` to its end in a process of its own. status: what it must exit with (None: whatever)."""
    done = subprocess.run(
        program(code), capture_output=True, text=True, timeout=timeout, env=environment(), check=False
    )
    if status is not None:
        assert done.returncode == status, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done
