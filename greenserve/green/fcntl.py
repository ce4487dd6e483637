"""Green `fcntl`: the green thread that waits for a lock on a file waits alone.

Strategy: a lock is asked for without blocking, again and again. An OS thread that waited for it in the kernel could
not be called back when the caller is killed, and would then hold a lock that is never released.
"""

from __future__ import annotations

import fcntl as _original
from collections.abc import Callable as _Callable
from typing import Any

from greenserve.hub.core.busy_wait import relax as _relax
from greenserve.hub.core.hub import hub_here as _hub_here
from greenserve.patching.polling import poll_until_answered as _poll_until_answered
from greenserve.patching.rebind import complete

_flock = _original.flock
_lockf = _original.lockf
_fcntl: Any = _original.fcntl

_AT_ONCE = {
    getattr(_original, f"{kind}_SETLKW"): getattr(_original, f"{kind}_SETLK")
    for kind in ("F", "F_OFD")
    if hasattr(_original, f"{kind}_SETLKW")
}
"""The commands that wait, with those that do the same without waiting."""


def flock(fd: Any, operation: int, /) -> None:
    """As `fcntl.flock`; only the calling green thread waits."""
    lock_file(_flock, fd, operation, operation | _original.LOCK_NB)


def lockf(fd: Any, cmd: int, len: int = 0, start: int = 0, whence: int = 0, /) -> Any:
    """As `fcntl.lockf`; only the calling green thread waits."""
    if cmd == _original.LOCK_UN:
        return _lockf(fd, cmd, len, start, whence)
    return lock_file(_lockf, fd, cmd, cmd | _original.LOCK_NB, len, start, whence)


def fcntl(fd: Any, cmd: int, arg: Any = 0, /) -> Any:
    """As `fcntl.fcntl`; only the calling green thread waits for a lock."""
    at_once = _AT_ONCE.get(cmd)
    return _fcntl(fd, cmd, arg) if at_once is None else lock_file(_fcntl, fd, cmd, at_once, arg)


def lock_file(function: _Callable[..., Any], fd: Any, command: int, at_once: int, *rest: Any) -> Any:
    """`function(fd, command, *rest)`, where only the calling green thread waits. at_once: the command that raises
    BlockingIOError instead of waiting; a loop that asks so in vain lets others run now and then.
    """
    hub = _hub_here()
    if hub is None:
        return function(fd, command, *rest)
    if command == at_once:
        try:
            return function(fd, command, *rest)
        except BlockingIOError:
            if not _relax():
                raise
        return function(fd, command, *rest)

    def ask() -> tuple[Any] | None:
        try:
            return (function(fd, at_once, *rest),)
        except BlockingIOError:
            return None

    answer = _poll_until_answered(hub, ask)
    return answer[0] if answer else None


__getattr__ = complete(globals(), _original)
