"""One server as a child process: started on its core, awaited until it listens, looked at, and always ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.scenarios import APPS

START_SECONDS = 20
STOP_SECONDS = 3
TICKS = os.sysconf("SC_CLK_TCK")


class ServerFailed(Exception):
    """The server did not start, or ended before it was told to. The text is its own last word."""


def cores() -> tuple[int, int]:
    """(the server's core, the client's core); the same one twice where there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1]


def free_port() -> int:
    """A port of 127.0.0.1 without a listener at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def busy_seconds() -> float:
    """Processor time of all processes of this machine so far. Without interrupts: loopback traffic ends in these."""
    user, nice, system = map(int, Path("/proc/stat").read_text(encoding="ascii").split()[1:4])
    return (user + nice + system) / TICKS


class ServerProcess:
    """A started server and all processes of its session."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self._log = log

    def await_listening(self) -> None:
        """Return once the port answers. Raises ServerFailed when the process ends or nothing listens in time."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            self.expect_alive()
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.02)  # a peer has no way to tell us that it listens
        raise ServerFailed(f"does not listen after {START_SECONDS} s")

    def expect_alive(self) -> None:
        """Raises ServerFailed with the last line it wrote when the process has ended."""
        code = self.process.poll()
        if code is not None:
            lines = self._log.read_text(encoding="utf-8", errors="replace").split("\n")
            last = next((line.strip() for line in reversed(lines) if line.strip()), "no word")
            raise ServerFailed(f"ended with code {code}: {last[:200]}")

    def memory_kib(self) -> int:
        """What the processes hold in memory, shared pages counted in parts (PSS)."""
        return sum(_pss_kib(pid) for pid, _ in self._members())

    def cpu_seconds(self) -> float:
        """Processor time that the processes have used so far."""
        return sum(seconds for _, seconds in self._members())

    def stop(self) -> None:
        """End every process of the session: asked first, killed when that takes longer than STOP_SECONDS."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        # Its descendants are init's to await; the next server must not share the core with their last moments.
        deadline = time.monotonic() + STOP_SECONDS
        while any(self._members()) and time.monotonic() < deadline:
            time.sleep(0.01)

    def _members(self) -> Iterator[tuple[int, float]]:
        """(process id, seconds of processor time) of each living process in the session that the server leads."""
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                after_name = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if after_name[0] != "Z" and int(after_name[3]) == self.process.pid:
                yield int(entry.name), (int(after_name[11]) + int(after_name[12])) / TICKS


@contextmanager
def running(command: list[str], port: int, core: int, log: Path) -> Iterator[ServerProcess]:
    """The server, listening. Whatever happens inside, none of its processes is left behind."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("GREENSERVE_", "PYTHON"))}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=APPS,  # not the checkout: `-m greenserve` must find what was installed
            env=environ | {"PYTHONPATH": str(APPS), "PYTHONWARNINGS": "ignore", "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),  # noqa: PLW1509 - this program has one thread
        )
    server = ServerProcess(process, port, log)
    try:
        server.await_listening()
        yield server
    finally:
        server.stop()


def _pss_kib(pid: int) -> int:
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")), 0)
