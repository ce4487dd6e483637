"""Processes in namespaces of their own (unshare(1)): the first process of a container, a root that is read-only."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

from tests.conftest import missing, require_program
from tests.waiting import until_blocking

_READ_ONLY = (
    "mount --make-rprivate / || exit 1; for each in / /tmp /var/tmp /dev/shm; do "
    'if mountpoint -q "$each"; then mount -o remount,bind,ro "$each" || exit 1; fi; done; exec "$@"'
)


def as_first_process(*, read_only: bool = False) -> tuple[str, ...]:
    """What comes before a command to make it process 1; where that cannot be, the running test skips, or fails in CI.

    read_only: nothing may be written, in /tmp neither. The process that is started is unshare's; see `first_process`.
    """
    words = (require_program("unshare"), *(() if os.geteuid() == 0 else ("-Ur",)))
    words += ("--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
    return _tried((*words, "sh", "-c", _READ_ONLY, "sh") if read_only else words)


@cache
def _tried(words: tuple[str, ...]) -> tuple[str, ...]:
    done = subprocess.run([*words, "true"], capture_output=True, text=True, timeout=20)
    return words if done.returncode == 0 else missing(f"no namespaces can be made here: {done.stderr.strip()}")


def first_process(unshare: int) -> int:
    """The process id, out here, of the process that the one of `as_first_process` has started."""
    children = Path(f"/proc/{unshare}/task/{unshare}/children")
    until_blocking(children.read_text)
    return int(children.read_text().split()[0])
