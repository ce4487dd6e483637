"""Binding Unix-domain stream sockets: permissions, and what becomes of the path.

Invariant: only a socket without a listener is ever removed, and at the end our own.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from _socket import AF_UNIX, SOCK_STREAM, socket
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from greenserve.settings import BY_ITSELF, Access

Identity: TypeAlias = tuple[int, int, int]
"""What tells a bound path from another one of the same name: the process, the device and the inode."""


def bind(sock: socket, path: str, access: Access = BY_ITSELF) -> Identity:
    """Bind a stream socket that does not listen yet: so no client can connect before `access` holds.

    A socket without a listener is replaced. Raises OSError, with EADDRINUSE for anything else at `path`.
    """
    remove_stale(path)
    sock.bind(path)
    made = identity(path)
    try:
        _give(path, access)
        if access.mode is not None:
            Path(path).chmod(access.mode)
    except BaseException:
        remove(path, made)
        raise
    return made


def _give(path: str, access: Access) -> None:
    if access.user is None and access.group is None:
        return
    user, group = owner(access)
    try:
        os.chown(path, user, group, follow_symlinks=False)
    except PermissionError as error:
        raise OSError(
            error.errno, "only root may give a socket to another user, or to a group in which the process is not"
        ) from None


def owner(access: Access) -> tuple[int, int]:
    """The numbers of user and group, -1 for what stays. Raises OSError: a name is not known here."""
    return (
        _number("user", access.user, lambda name: pwd.getpwnam(name).pw_uid),
        _number("group", access.group, lambda name: grp.getgrnam(name).gr_gid),
    )


def _number(what: str, name: str | None, look_up: Callable[[str], int]) -> int:
    if name is None:
        return -1
    if name.isascii() and name.isdigit():
        return int(name)
    try:
        return look_up(name)
    except KeyError:
        raise OSError(errno.EINVAL, f"this machine has no {what} {name!r}") from None


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
            os.unlink(path)  # noqa: PTH108 - bytes, perhaps
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
        Path(path).unlink(missing_ok=True)
