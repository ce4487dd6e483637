"""RLock: a reentrant lock, owned by a green thread.

Strategy. Its owner, and how often it was taken, is one list under one key of a dict: [owner, owner, ...].
dict.setdefault takes the lock and says whose it is in a single atomic step, so a finaliser or a signal handler finds it
free, its own thread's, or another's, and never half taken. That matters here more than with the other locks: logging's
handlers have RLocks, and finalisers log.

For the same reason a release does not hand over, as `Lock` does (between the claim of a waiter and its resumption
the lock would have no owner, and a finaliser that came then would wait forever). It frees the lock, and then wakes
the head of the line. Only the head may take the lock while there is a line, so the order stays the order of
coming; and a thread that finds the lock free and a line before it wakes the head too, in case the releaser was
interrupted before it could do so.
"""

from __future__ import annotations

import collections
from types import TracebackType
from typing import Any

from greenlet import getcurrent as _getcurrent

from greenserve.hub.core.busy_wait import relax
from greenserve.hub.core.hub import TIMED_OUT, Greenlet, running, wake
from greenserve.hub.core.timers import Token
from greenserve.hub.sync.lock import check_timeout

HOLD = 0  # the key of the owner's list


THE_LAST = "the thread that runs while the interpreter ends"  # finalisers, when the greenlet library has closed already


class _Place:
    """A place in the line, with the token of the present park."""

    __slots__ = ("token",)

    def __init__(self, token: Token) -> None:
        self.token = token


class RLock:
    """A reentrant lock as `threading.RLock`, owned by the green thread that took it. Fair: first come, first served.

    >>> lock = greenserve.RLock()
    >>> with lock, lock:
    ...     greenserve.spawn(lock.acquire, blocking=False).wait()
    False
    """

    __slots__ = ("__weakref__", "_hold", "_lines")

    def __init__(self) -> None:
        self._hold: dict[int, list[Any]] = {}
        self._lines: list[collections.deque[_Place]] = []  # empty until a thread has had to wait

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock, once more if it is ours; wait for it if `blocking`, at most `timeout` seconds (-1: without
        limit).

        Returns whether it was taken. Raises ValueError for an invalid timeout, OverflowError for one
        above `threading.TIMEOUT_MAX`.
        """
        if timeout != -1:
            check_timeout(blocking, timeout)
        me: Any
        try:  # _identity, without a call's cost
            me = _getcurrent()
            if me.job is not None:
                me = me.job
        except AttributeError:
            pass
        except RuntimeError:
            me = THE_LAST
        mine = [me]
        hold: list[Any] | None
        if self._lines and self._lines[0]:
            hold = self._hold.get(HOLD)  # if it is free, then for the head of the line
        else:
            hold = self._hold.setdefault(HOLD, mine)
            if hold is mine:
                return True
        if hold is not None and hold[0] is me:
            hold.append(me)
            return True
        if not blocking or timeout == 0:
            return relax() and self.acquire(False)
        return self._wait(mine, None if timeout == -1 else timeout)

    __enter__ = acquire

    def release(self) -> None:
        """Undo one `acquire`. Raises RuntimeError when the lock is not ours."""
        hold = self._hold.get(HOLD)
        me: Any
        try:  # _identity, without a call's cost
            me = _getcurrent()
            if me.job is not None:
                me = me.job
        except AttributeError:
            pass
        except RuntimeError:
            me = THE_LAST
        if hold is None or hold[0] is not me:
            raise RuntimeError("cannot release un-acquired lock")
        if len(hold) > 1:
            hold.pop()
            return
        del self._hold[HOLD]
        if self._lines:
            self._wake_head()

    def locked(self) -> bool:
        """Whether a thread holds the lock."""
        relax()
        return HOLD in self._hold

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def _wait(self, mine: list[Any], timeout: float | None) -> bool:
        greenlet = running()
        deadline = None if timeout is None else greenlet.hub.clock() + timeout
        lines = self._lines
        if not lines:
            lines.append(collections.deque())  # two OS threads may both append one, and both go on with the first
        line = lines[0]
        token: Token = [greenlet]
        place = _Place(token)
        line.append(place)
        taken = False
        try:
            while True:
                taken = line[0] is place and self._hold.setdefault(HOLD, mine) is mine
                if taken:
                    _absorb(greenlet, token)
                    return True
                if HOLD not in self._hold:
                    self._wake_head()
                if greenlet.hub.park_until(greenlet, token, deadline) is TIMED_OUT:
                    return False
                place.token = token = [greenlet]
        finally:
            token.clear()
            line.remove(place)
            if not taken and HOLD not in self._hold:
                self._wake_head()

    def _wake_head(self) -> None:
        try:
            head = self._lines[0][0]
        except IndexError:
            return
        wake(head.token)

    # What threading.Condition asks of a lock.

    def _is_owned(self) -> bool:
        hold = self._hold.get(HOLD)
        return hold is not None and hold[0] is _identity()

    def _release_save(self) -> list[Any]:
        """Release it altogether. Returns what `_acquire_restore` needs to take it as often again."""
        if not self._is_owned():
            raise RuntimeError("cannot release un-acquired lock")
        hold = self._hold.pop(HOLD)
        if self._lines:
            self._wake_head()
        return hold

    def _acquire_restore(self, hold: list[Any]) -> None:
        if (self._lines and self._lines[0]) or self._hold.setdefault(HOLD, hold) is not hold:
            self._wait(hold, None)

    def _recursion_count(self) -> int:
        return len(self._hold[HOLD]) if self._is_owned() else 0

    def _at_fork_reinit(self) -> None:
        """Free again, in a forked child: its holder and its waiters are not there."""
        self._lines = []
        self._hold = {}

    def __repr__(self) -> str:
        hold = self._hold.get(HOLD)
        state = "unlocked" if hold is None else "locked"
        owner = "" if hold is None else f" owner={hold[0]!r} count={len(hold)}"
        return f"<{state} greenserve.{type(self).__qualname__} object{owner} at {id(self):#x}>"


def _identity() -> Any:
    """The running thread: the job, since its carrier will run others; of an OS thread's own code, the greenlet."""
    greenlet: Any = THE_LAST
    try:
        greenlet = _getcurrent()
        job = greenlet.job
    except (AttributeError, RuntimeError):  # a hub's own greenlet, or one that has never waited; or the end
        return greenlet
    return greenlet if job is None else job


def _absorb(greenlet: Greenlet, token: Token) -> None:
    """Give up a token that was not needed. If it has been claimed, take the resumption, or it would end another
    wait.
    """
    try:
        token.pop()
    except IndexError:
        greenlet.hub.park(greenlet, token)
