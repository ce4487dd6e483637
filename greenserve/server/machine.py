"""What the machine gives to this process: how many open files, and how much memory; and how many connections fit."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

MORE_CONNECTIONS = (
    "raise the limit of open files (ulimit -n; systemd: LimitNOFILE), or --max-connections if that is set"
)
RESERVED_FILES = 64  # descriptors beside the connections: standard streams, hub, listeners, logs, and the application's
CONNECTION_BYTES = 16384  # what a connection costs here and in the kernel while it waits: some 10 KiB, rounded up
SHARE = 2  # one part in so many of the memory is for connections that wait, each with a whole head if need be
CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")
KERNEL = Path("/proc/sys")


def connections(max_head: int, files: int | None = None, workers: int = 1) -> int:
    """How many connections fit at once in each of so many workers, by open files (`files`, by default those that this
    process may have) and by memory, which they share.
    """
    by_memory = memory() // workers // SHARE // (CONNECTION_BYTES + max_head)
    return max(1, min(_by_files(open_files() if files is None else files), by_memory))


def _by_files(files: int) -> int:
    """A tenth is left to the application, and to what else is open; half, where there are few."""
    return max(files - max(RESERVED_FILES, files // 10), files // 2)


def open_files() -> int:
    """How many files the process may have open (RLIMIT_NOFILE)."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**31 if soft == resource.RLIM_INFINITY else soft


def files_of_all() -> int:
    """How many files all processes of the machine may have open together."""
    return _kernel_number("fs/file-max", 2**63)


def short_queue(backlog: int) -> str | None:
    """What to say where the kernel lets fewer connections wait than `backlog`; None: it does not."""
    most = _kernel_number("net/core/somaxconn", backlog)
    if most >= backlog:
        return None
    return (
        f"the kernel lets {most} connections wait (net.core.somaxconn), not {backlog} (backlog): "
        f"sysctl -w net.core.somaxconn={backlog} (Docker: --sysctl), or --backlog {most}"
    )


def _kernel_number(name: str, otherwise: int) -> int:
    """A setting of Linux's kernel, by its path in /proc/sys; `otherwise` where there is none."""
    try:
        return int((KERNEL / name).read_text())
    except (OSError, ValueError):
        return otherwise


def memory() -> int:
    """The bytes of memory that the process may use: the machine's, or those of its control groups (cgroups(7), v2)."""
    least = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([least, *(int(words[0]) for words in _limits("memory.max") if words[0].isdigit())])


def processors() -> int:
    """How many processors the process may use: those of its affinity, or the quota of its control groups, whole ones.

    Half a processor more is none: a worker that is stopped each time its quota is used up answers late.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [int(words[0]) / int(words[1]) for words in _limits("cpu.max") if words[0].isdigit()]
    return max(1, int(min([count, *quotas])))


def _limits(name: str) -> Iterator[list[str]]:
    """The words of a limit's file, of the process's control group and of each one around it; nothing outside Linux."""
    try:
        group = CGROUPS / OWN_CGROUP.read_text().strip().rpartition(":")[2].lstrip("/")
    except OSError:
        return
    for place in (group, *group.parents):
        try:
            words = (place / name).read_text().split()
        except OSError:  # the root has none
            continue
        if words:
            yield words
