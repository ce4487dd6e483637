"""A directory that one server has for itself: for sockets over which its processes meet."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from greenserve.process.user import User

# The last one can be written to where the root file system of a container cannot.
_USUAL = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - mkdtemp makes a directory there that is its owner's alone
LONGEST = 80  # bytes: the path of a socket in it has to fit 104 (sun_path of macOS)

Made = tuple[str, int, int]
"""Its path, its device and its inode."""


def make(user: User | None) -> Made | None:
    """Make one that only this user may enter. None: no place can be written to.

    user: whose it is to be, where that is another one.
    """
    candidates = (os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0], os.environ.get("TMPDIR", ""), *_USUAL)
    for candidate in filter(os.path.isabs, candidates):
        if len(os.fsencode(candidate)) > LONGEST:
            continue
        with contextlib.suppress(OSError):
            path = tempfile.mkdtemp(prefix="greenserve-", dir=candidate)
            if user is not None:
                os.chown(path, user.uid, user.gid)
            there = Path(path).lstat()
            return path, there.st_dev, there.st_ino
    return None
