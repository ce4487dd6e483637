"""Which processes are brokers of a Unix socket."""

from __future__ import annotations

import os
from pathlib import Path


def brokers(path: str) -> list[int]:
    """The pids of those that serve the path; what is about to become one included."""
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if path in words(pid)]


def words(pid: int) -> list[str]:
    """Of a process's command; none when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return []


def broker(path: str) -> int:
    """The pid of the one that serves the path; 0 while it is still being started."""
    found = brokers(path)
    return found[0] if len(found) == 1 and os.getsid(found[0]) not in (0, found[0], os.getsid(0)) else 0
