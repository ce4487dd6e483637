"""Starts the broker of a path, where there is none: a process of its own, which outlives the one that starts it.

Strategy. The lock beside the socket decides which of several processes does it. That one binds the socket, so that
clients can connect at once, and hands both to the broker.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from pathlib import Path

from greenserve.green.os import waitpid
from greenserve.hub.spawning import spawn
from greenserve.rooms.unix.broker import place as places
from greenserve.rooms.unix.broker.place import Place

CHECK_SECONDS = 1.0  # between two looks at the files: so long newcomers may be on their own
LINGER_SECONDS = 1.0  # for which a broker without clients waits for the next one
_PROGRAM = Path(places.__file__).with_name("__main__.py")
_KEPT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TZ")  # of the environment, which may have secrets


def start(path: str) -> bool:
    """Start the broker of `path`, unless another process is about to, or it is there. Returns whether it did.

    Raises OSError.
    """
    place = Place.claim(path)
    if place is None:
        return False
    try:
        listener = place.listen()
        try:
            pid = _run(place, listener.fileno())
        except BaseException:
            place.remove_socket()
            raise
        finally:
            listener.close()
    finally:
        os.close(place.lock)  # the broker has it now
    spawn(_reap, pid).name = "waits for a started broker"
    return True


def _run(place: Place, listener: int) -> int:
    """The pid of the process that becomes the broker's parent, and ends at once. Raises OSError."""
    _, device, inode = place.made
    path = os.path.abspath(place.path)  # noqa: PTH100 - as it is, without a look at links
    numbers = (device, inode, CHECK_SECONDS, LINGER_SECONDS)
    words = [sys.executable, "-S", "-E", str(_PROGRAM), path, *map(str, numbers)]
    environ = {name: os.environ[name] for name in _KEPT if name in os.environ}
    # Away from 0 and 1, which are free in a daemon that has closed them.
    handed = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3) for fd in (listener, place.lock)]
    actions = [(os.POSIX_SPAWN_DUP2, fd, at) for at, fd in enumerate(handed)]
    try:
        # Not a fork: the pages of a large process would have to be copied, and its OS threads may hold locks.
        return os.posix_spawn(sys.executable, words, environ, file_actions=actions, setsigmask=())
    except OSError as error:
        # Not a subclass: FileNotFoundError would mean the socket's path.
        raise OSError(f"the broker of {place.path} cannot be started: {sys.executable}: {error.strerror}") from error
    finally:
        for fd in handed:
            os.close(fd)


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):  # the application has waited for all children
        waitpid(pid, 0)
