"""Opening what lies beneath a directory, and nothing else, whatever the path is and whatever links are moved meanwhile.

Strategy. Python has no openat2(2), whose RESOLVE_BENEATH this is. The path is walked one name at a time, each opened
relative to the descriptor of the directory before it and with O_NOFOLLOW: so the kernel never follows a symbolic link,
and what was looked at is what is opened. A link's target is read and its names are walked in the same way; ".." goes
back to a descriptor that is held, never to the parent in the file system, so that a directory which is moved away while
it is walked leads nowhere either.

Law. Nothing here waits: a FIFO without a writer, a device, a terminal is opened without blocking, and it is the
caller's to see that the descriptor is a regular file's before it is read.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

_DIRECTORY = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC  # O_PATH: searching is all that is done
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_LINKS = 40  # the kernel's own bound


def open_beneath(root: bytes, names: Sequence[bytes]) -> int:
    """Open for reading what `names` lead to from the directory `root`; a descriptor, perhaps of a directory, to be
    closed. root: absolute. names: none is empty, "." or "..". Links may lead anywhere beneath `root`, which may itself
    be one.

    Raises OSError, with EXDEV for what lies outside.
    """
    held: list[int] = []  # the directories that were walked, without `root`
    todo = list(reversed(names))
    links = 0
    try:
        while todo:
            name = todo.pop()
            if name == b"..":  # of a link's target
                if not held:
                    raise _outside(name)
                os.close(held.pop())
                continue
            path, at = (name, held[-1]) if held else (root + b"/" + name, None)
            try:
                held.append(os.open(path, _DIRECTORY | os.O_NOFOLLOW if todo else _FILE, dir_fd=at))
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                    raise
                links += 1
                if links > _LINKS:
                    raise
                target = os.readlink(path, dir_fd=at)  # EINVAL when it is not a link
                if target.startswith(b"/"):
                    target = _below(root, target)
                    while held:
                        os.close(held.pop())
                todo.extend(part for part in reversed(target.split(b"/")) if part not in (b"", b"."))
        return held.pop() if held else os.open(root, _DIRECTORY)
    finally:
        for fd in held:
            os.close(fd)


def _below(root: bytes, target: bytes) -> bytes:
    """What follows the directory's own path in an absolute target, which is written with its links or without."""
    for base in (root, os.path.realpath(root)):
        if (target + b"/").startswith(base.rstrip(b"/") + b"/"):
            return target[len(base) :]
    raise _outside(target)


def _outside(target: bytes) -> OSError:
    return OSError(errno.EXDEV, "a symbolic link leads out of the directory", target)
