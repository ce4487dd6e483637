"""How a process has ended, in words: its exit status, its signal, and want of memory by name."""

from __future__ import annotations

import signal

_CGROUPS = "/sys/fs/cgroup"


class MemoryEvents:
    """Counts the processes of this machine's or container's part (cgroup v2) that the kernel has killed for memory."""

    def __init__(self, file: str | None = None) -> None:
        self._file = file or _events_file()
        self._before = self._count()

    def have_come(self) -> bool:
        """Whether there was another one since the last time."""
        before, self._before = self._before, self._count()
        return self._before > before

    def _count(self) -> int:
        try:
            with open(self._file) as file:
                words = file.read().split()
        except OSError:
            return 0
        found = dict(zip(words[::2], words[1::2], strict=False))
        return int(found.get("oom_kill", 0))


def _events_file() -> str:
    try:
        with open("/proc/self/cgroup") as file:
            group = file.read().rpartition("::")[2].strip()
    except OSError:
        group = ""
    return f"{_CGROUPS}{group.rstrip('/')}/memory.events"


def how_it_ended(code: int, memory: MemoryEvents) -> str:
    """code: an exit status, or a signal's number as a negative one."""
    if code >= 0:
        return f"ended with exit status {code}" if code else "has ended"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if -code == signal.SIGKILL and memory.have_come():
        return f"was killed by {name} for want of memory: the limit of its control group was reached"
    return f"was killed by {name}"
