"""Binding Unix-domain stream sockets, with permissions."""

from __future__ import annotations

import errno
import grp
import os
import pwd
from _socket import socket
from collections.abc import Callable
from pathlib import Path

from greenserve.net.unix_path import Identity, identity, remove, remove_stale
from greenserve.settings import BY_ITSELF, Access


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
