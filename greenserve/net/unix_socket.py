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
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

Identity: TypeAlias = tuple[int, int, int]
"""What tells a bound path from another one of the same name: the process, the device and the inode."""


@dataclass(frozen=True, slots=True)
class Access:
    """The permissions: connecting needs the right to write. user, group: a name or a number.

    None: as it is by itself, by the umask and the process's own user and group.
    """

    mode: int | None = None
    user: str | None = None
    group: str | None = None


BY_ITSELF = Access()


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
    try:
        user = -1 if access.user is None else _number(access.user, lambda name: pwd.getpwnam(name).pw_uid)
        group = -1 if access.group is None else _number(access.group, lambda name: grp.getgrnam(name).gr_gid)
    except KeyError as error:
        raise OSError(errno.EINVAL, f"{error.args[0]} on this machine") from None
    try:
        os.chown(path, user, group, follow_symlinks=False)
    except PermissionError as error:
        raise OSError(
            error.errno, "only root may give a socket to another user, or to a group in which the process is not"
        ) from None


def _number(name: str, look_up: Callable[[str], int]) -> int:
    return int(name) if name.isascii() and name.isdigit() else look_up(name)


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
