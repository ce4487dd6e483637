"""One server as a child process: started on its core, awaited until it listens, looked at, and always ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

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


class ProcessorTime(NamedTuple):
    """Seconds in the processes' own code, and in the kernel on their behalf."""

    user: float
    system: float


class ServerProcess:
    """A started server and all processes of its session. born: when, in monotonic seconds."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path, born: float) -> None:
        self.process = process
        self.born = born
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

    def processor_time(self) -> ProcessorTime:
        """What the processes have used so far."""
        used = [time for _, time in self._members()]
        return ProcessorTime(sum(time.user for time in used), sum(time.system for time in used))

    def cpu_seconds(self) -> float:
        """Processor time that the processes have used so far, user and system together."""
        return sum(self.processor_time())

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

    def _members(self) -> Iterator[tuple[int, ProcessorTime]]:
        """(process id, its processor time) of each living process in the session that the server leads."""
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                after_name = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if after_name[0] != "Z" and int(after_name[3]) == self.process.pid:
                yield int(entry.name), ProcessorTime(int(after_name[11]) / TICKS, int(after_name[12]) / TICKS)


@contextmanager
def started(
    command: list[str], port: int, core: int, log: Path, environ: Mapping[str, str] | None = None
) -> Iterator[ServerProcess]:
    """The server, from its first moment. Whatever happens inside, none of its processes is left behind. environ: what
    it has besides this process's environment.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("GREENSERVE_", "PYTHON"))}
    ours = {"PYTHONPATH": str(APPS), "PYTHONWARNINGS": "ignore", "PYTHONDONTWRITEBYTECODE": "1"}
    born = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=APPS,  # not the checkout: `-m greenserve` must find what was installed
            env=inherited | ours | dict(environ or {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),  # noqa: PLW1509 - this program has one thread
        )
    server = ServerProcess(process, port, log, born)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def running(
    command: list[str], port: int, core: int, log: Path, environ: Mapping[str, str] | None = None
) -> Iterator[ServerProcess]:
    """As `started`, once the server listens."""
    with started(command, port, core, log, environ) as server:
        server.await_listening()
        yield server


def _pss_kib(pid: int) -> int:
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")), 0)
