"""Becoming another user for good: root opens what only root may open, and the rest of the process's life is a user's.

Invariant: when `become` returns, the process cannot become root again; where it could, `become` raises.
"""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass

from greenserve.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class User:
    """The numbers of a user and its group. name: in the machine's list of users; "" for a number that is not there."""

    uid: int
    gid: int
    name: str

    def __str__(self) -> str:
        return f"{self.name or 'without a name'} (uid {self.uid}, gid {self.gid})"


def find(user: str | None, group: str | None) -> User | None:
    """The user that the process is to become; None if it is that one already, or none is named.

    user, group: names or numbers; group: by default the user's own. Raises ConfigurationError for names that this
    machine does not have, and where the process may not become that user.
    """
    if user is None:
        if group is not None and _group(group) != os.getegid():
            raise ConfigurationError(f"group = {group!r} goes with user: name the user too")
        return None
    entry = _entry(user)
    if entry is None and group is None:
        raise ConfigurationError(f"user = {user!r}: this machine does not know its group: name it by group")
    gid = _group(group) if group is not None else entry.pw_gid if entry is not None else -1
    found = User(int(user) if entry is None else entry.pw_uid, gid, "" if entry is None else entry.pw_name)
    if (os.getuid(), os.geteuid(), os.getegid()) == (found.uid, found.uid, found.gid):
        return None
    if found.uid == 0:
        raise ConfigurationError(f"user = {user!r} is root, which would give nothing up: name another one")
    if os.geteuid() != 0:
        raise ConfigurationError(
            f"user = {user!r}: only root may become another user: start the command as root, or leave user and group "
            f"out and start it as that user (sudo -u {user}, or User={user} in systemd's unit)"
        )
    return found


def become(user: User) -> None:
    """Give up root for `user`: groups first, while that is allowed. HOME stays. Raises ConfigurationError."""
    try:
        if user.name:
            os.initgroups(user.name, user.gid)
        else:
            os.setgroups([user.gid])
        os.setgid(user.gid)
        os.setuid(user.uid)
    except OSError as error:
        raise ConfigurationError(
            f"cannot become the user {user}: {error.strerror}; a container needs the capabilities SETUID and SETGID "
            "for that, or is started as that user"
        ) from error
    for back in (os.setuid, os.seteuid, os.setgid):
        try:
            back(0)
        except PermissionError:
            continue
        if back is not os.setgid or user.gid != 0:
            raise ConfigurationError(f"the process could become root again after it became the user {user}")


def _entry(user: str) -> pwd.struct_passwd | None:
    if user.isdecimal():
        try:
            return pwd.getpwuid(int(user))
        except KeyError:
            return None
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise ConfigurationError(
            f"user = {user!r}: this machine has no such user: make one (useradd --system {user}), or name another "
            "(getent passwd lists them)"
        ) from None


def _group(group: str) -> int:
    if group.isdecimal():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise ConfigurationError(
            f"group = {group!r}: this machine has no such group: make one (groupadd --system {group}), or name another "
            "(getent group lists them)"
        ) from None
