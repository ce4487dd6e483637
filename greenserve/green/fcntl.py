"""Green `fcntl`: the green thread that waits for a lock on a file waits alone.

Strategy: a lock is asked for without blocking, again and again. An OS thread that waited for it in the kernel could
not be called back when the caller is killed, and would then hold a lock that is never released.
"""

from __future__ import annotations

import fcntl as _real
from collections.abc import Callable as _Callable
from typing import Any

from greenserve.hub.busywait import relax as _relax
from greenserve.hub.hub import hub_here as _hub_here
from greenserve.patching.polling import ask_until_answered as _ask_until_answered
from greenserve.patching.rebind import complete

_flock = _real.flock
_lockf = _real.lockf
_fcntl: Any = _real.fcntl

_AT_ONCE = {
    getattr(_real, f"{kind}_SETLKW"): getattr(_real, f"{kind}_SETLK")
    for kind in ("F", "F_OFD")
    if hasattr(_real, f"{kind}_SETLKW")
}
"""The commands that wait, with those that do the same without waiting."""


def flock(fd: Any, operation: int, /) -> None:
    """As `fcntl.flock`; only the calling green thread waits."""
    if operation & _real.LOCK_NB:
        ask_once(lambda: _flock(fd, operation))
    else:
        wait_for(lambda: _flock(fd, operation), lambda: _flock(fd, operation | _real.LOCK_NB))


def lockf(fd: Any, cmd: int, len: int = 0, start: int = 0, whence: int = 0, /) -> Any:
    """As `fcntl.lockf`; only the calling green thread waits."""
    if cmd == _real.LOCK_UN:
        return _lockf(fd, cmd, len, start, whence)
    if cmd & _real.LOCK_NB:
        return ask_once(lambda: _lockf(fd, cmd, len, start, whence))
    at_once = cmd | _real.LOCK_NB
    return wait_for(lambda: _lockf(fd, cmd, len, start, whence), lambda: _lockf(fd, at_once, len, start, whence))


def fcntl(fd: Any, cmd: int, arg: Any = 0, /) -> Any:
    """As `fcntl.fcntl`; only the calling green thread waits for a lock."""
    at_once = _AT_ONCE.get(cmd)
    if at_once is None:
        return _fcntl(fd, cmd, arg)
    return wait_for(lambda: _fcntl(fd, cmd, arg), lambda: _fcntl(fd, at_once, arg))


def wait_for(blocking: _Callable[[], Any], at_once: _Callable[[], Any]) -> Any:
    """What `at_once()` returns as soon as it raises no BlockingIOError; without a hub, what `blocking()` returns."""
    hub = _hub_here()
    if hub is None:
        return blocking()

    def ask() -> tuple[Any] | None:
        try:
            return (at_once(),)
        except BlockingIOError:
            return None

    answer = _ask_until_answered(hub, ask)
    return answer[0] if answer else None


def ask_once(at_once: _Callable[[], Any]) -> Any:
    """What `at_once()` returns or raises; a loop that asks in vain lets others run now and then."""
    try:
        return at_once()
    except BlockingIOError:
        if not _relax():
            raise
    return at_once()


__getattr__ = complete(globals(), _real)
