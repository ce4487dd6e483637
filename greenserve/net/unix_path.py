"""What becomes of the path of a Unix-domain socket. Of the standard library alone, for processes without a hub.

Invariant: only a socket without a listener is ever removed, and at the end our own.
"""

from __future__ import annotations

import errno
import os
import stat
from _socket import AF_UNIX, SOCK_STREAM, socket
from typing import TypeAlias

Identity: TypeAlias = tuple[int, int, int]
"""What tells a bound path from another one of the same name: the process, the device and the inode."""


def remove_stale(path: str | bytes) -> None:
    """Remove the socket of a listener that has gone. Whether it is, only an attempt to connect can tell.

    Another error than ECONNREFUSED does not show that: a datagram socket gives EPROTOTYPE, another user's EACCES, and
    one with a full queue EAGAIN.
    """
    try:
        there = os.lstat(path)
    except OSError:
        return
    if not stat.S_ISSOCK(there.st_mode):
        return
    probe = socket(AF_UNIX, SOCK_STREAM, 0)
    try:
        probe.setblocking(False)
        if probe.connect_ex(path) == errno.ECONNREFUSED:
            os.unlink(path)
    finally:
        probe.close()


def identity(path: str) -> Identity:
    """Of what is at `path`. Raises OSError."""
    there = os.lstat(path)
    return os.getpid(), there.st_dev, there.st_ino


def is_there(path: str, made: Identity) -> bool:
    """Whether `path` is still what `bind` has made of it, and in this process."""
    try:
        return identity(path) == made
    except OSError:
        return False


def remove(path: str, made: Identity) -> None:
    """Remove the path of our own socket, unless it is another one's by now."""
    if is_there(path, made):
        os.unlink(path)
