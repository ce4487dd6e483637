"""Where a broker is met: the path of its socket, and the lock beside it.

Invariant. The process that holds the lock is the broker: the system releases it when that process dies, however that
happens, so a socket left behind by a dead process misleads no other.
"""

from __future__ import annotations

import fcntl
import os
from _socket import AF_UNIX, SOCK_STREAM, socket
from typing import Self

from greenserve.net import unix_path
from greenserve.net.unix_path import Identity

LISTEN_BACKLOG = 128
NOWHERE: Identity = (0, 0, 0)


class Place:
    """Held by a process. lock: a descriptor, of an open file that is locked. made: of the socket that is bound."""

    def __init__(self, path: str, lock: int, made: Identity = NOWHERE) -> None:
        self.path = path
        self.lock = lock
        self.made = made

    @classmethod
    def claim(cls, path: str) -> Self | None:
        """None: another process has it. Raises OSError."""
        lock = _lock(path)
        return None if lock is None else cls(path, lock)

    def listen(self) -> socket:
        """Bind the path. Raises OSError, also for what is not a stale socket there: it is left as it is."""
        sock = socket(AF_UNIX, SOCK_STREAM)
        try:
            unix_path.remove_stale(self.path)
            sock.bind(self.path)
            self.made = unix_path.identity(self.path)
            os.chmod(self.path, 0o600)  # a process that may connect may send to every member
            sock.listen(LISTEN_BACKLOG)
        except BaseException:
            sock.close()
            raise
        return sock

    def is_listened_on(self) -> bool:
        """Whether the path is still the socket that was bound."""
        return unix_path.is_there(self.path, self.made)

    def is_locked(self) -> bool:
        """Whether this process holds the lock of the file that is there; takes it anew where that was removed.

        Raises OSError.
        """
        try:
            there, held = os.stat(_lock_path(self.path)), os.fstat(self.lock)
            if (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino):
                return True
        except FileNotFoundError:
            pass
        lock = _lock(self.path)
        if lock is None:
            return False
        os.close(self.lock)
        self.lock = lock
        return True

    def remove_socket(self) -> None:
        """Unless the path is another one by now."""
        try:
            unix_path.remove(self.path, self.made)
        except OSError:
            pass


def _lock_path(path: str) -> str:
    return f"{path}.lock"


def _lock(path: str) -> int | None:
    """A descriptor that holds the lock beside `path`; None when another process does. Raises OSError."""
    lock = os.open(_lock_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return lock
