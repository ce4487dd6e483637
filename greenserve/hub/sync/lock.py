"""Lock, Semaphore, BoundedSemaphore: permits that green threads and OS threads take from one place. RLock is in
rlock.py.

Strategy: a permit is an entry of the list `_free`, taken by list.pop and put back by append, both atomic. A
release gives the permit straight to the first waiter, so a later one cannot overtake it, and the lock
stays taken in between. A waiter that was killed or timed out is skipped. wait_queue.py has the laws.

The signatures and the errors are those of `threading`, so that these classes can stand in its place.
"""

from __future__ import annotations

import threading
from itertools import repeat
from operator import length_hint
from types import TracebackType

from greenserve.hub.core.busy_wait import relax
from greenserve.hub.core.hub import TIMED_OUT
from greenserve.hub.core.wait_queue import WaitQueue

FIRST_PERMITS = 16  # that many at most are made at once, the others when they are first asked for


class _Gate:
    """What locks and semaphores have in common: free permits, and the line of those that wait for one."""

    __slots__ = ("__weakref__", "_free", "_lines")

    def __init__(self, permits: int) -> None:
        self._free: list[bool] = [True] * permits
        self._lines: list[WaitQueue] = []  # empty until a thread has had to wait: a line takes 700 bytes

    def _take(self) -> bool:
        """Take a free permit. Returns False when there is none."""
        try:
            return self._free.pop()
        except IndexError:
            return False

    def _try_again(self) -> bool:
        """After a try in vain, which may be one of a loop's. Returns whether there was a free permit after all."""
        return relax() and self._take()

    def _wait(self, timeout: float | None) -> bool:
        """Wait in the line for a permit. Returns whether one came within `timeout` seconds (None: without limit)."""
        lines = self._lines
        if not lines:
            lines.append(WaitQueue())  # two OS threads may both append one, and both go on with the first
        return lines[0].wait(timeout, unless=self._serve) is not TIMED_OUT

    def _give(self, line: WaitQueue) -> None:
        """Give a permit to the first waiter; put it down when there is none."""
        while not line.wake(True):
            self._free.append(True)
            if not line or not self._take():
                return

    def _give_back(self) -> None:
        """Give a permit back."""
        lines = self._lines
        if lines and lines[0]:
            self._give(lines[0])
            return
        self._free.append(True)
        if lines:
            self._serve()

    def _serve(self) -> None:
        """Give free permits to those that began to wait while these were put down."""
        line = self._lines[0]
        if line and self._take():
            self._give(line)

    @property
    def _waiting(self) -> int:
        return len(self._lines[0]) if self._lines else 0


class Lock(_Gate):
    """A lock as `threading.Lock`: not reentrant, and any thread may release it. Fair: first come, first served.

    >>> lock = greenserve.Lock()
    >>> with lock:
    ...     lock.locked(), lock.acquire(timeout=0.01)
    (True, False)
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(1)

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock; wait for it if `blocking`, at most `timeout` seconds (-1: without limit). Returns whether it
        was taken.

        Raises ValueError for an invalid timeout, OverflowError for one above `threading.TIMEOUT_MAX`.
        """
        if timeout == -1:
            try:
                return self._free.pop()
            except IndexError:
                return self._wait(None) if blocking else self._try_again()
        check_timeout(blocking, timeout)
        return self._take() or (self._wait(timeout) if timeout > 0 else self._try_again())

    def release(self) -> None:
        """Give the lock to the first waiter, or free it. Raises RuntimeError when it is not taken."""
        if self._free or self._lines:
            self._release()
        else:
            self._free.append(True)
            if self._lines:
                self._serve()

    def _release(self) -> None:
        if self._free:
            raise RuntimeError("release unlocked lock")
        self._give_back()

    def locked(self) -> bool:
        """Whether a thread holds the lock."""
        relax()
        return not self._free

    def _is_owned(self) -> bool:
        """What a Condition asks."""
        return not self._free

    def __enter__(self) -> bool:
        try:
            return self._free.pop()
        except IndexError:
            return self._wait(None)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # `release` once more: a call of it would cost as much as everything else here.
        if self._free or self._lines:
            self._release()
        else:
            self._free.append(True)
            if self._lines:
                self._serve()

    def _at_fork_reinit(self) -> None:
        """Free again, in a forked child: its holder and its waiters are not there."""
        self._lines = []
        self._free = [True]

    def __repr__(self) -> str:
        state = "unlocked" if self._free else "locked"
        return f"<{state} greenserve.{type(self).__qualname__} object at {id(self):#x}>"


class Semaphore(_Gate):
    """A number of permits, as `threading.Semaphore`. Fair: first come, first served.

    >>> permits = greenserve.Semaphore(2)
    >>> with permits, permits:
    ...     permits.acquire(blocking=False)
    False
    """

    __slots__ = ("_reserve",)

    def __init__(self, value: int = 1) -> None:
        if value < 0:
            raise ValueError("semaphore initial value must be >= 0")
        first = min(value, FIRST_PERMITS)
        super().__init__(first)
        # Permits that no thread has asked for yet: next() is as atomic as list.pop, and a million of them take no
        # memory.
        self._reserve = repeat(True, value - first)

    def _take(self) -> bool:
        try:
            return self._free.pop()
        except IndexError:
            return next(self._reserve, False)

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Take a permit; wait for one if `blocking`, at most `timeout` seconds. Returns whether it was taken."""
        if timeout is None:
            try:
                return self._free.pop()
            except IndexError:
                return next(self._reserve, False) or (self._wait(None) if blocking else self._try_again())
        if not blocking:
            raise ValueError("can't specify timeout for non-blocking acquire")
        return self._take() or (self._wait(timeout) if timeout > 0 else self._try_again())

    def release(self, n: int = 1) -> None:
        """Give back `n` permits, to the first waiters. Raises ValueError when n is less than 1."""
        if n < 1:
            raise ValueError("n must be one or more")
        while n:
            self._give_back()
            n -= 1

    def locked(self) -> bool:
        """Whether there is no free permit."""
        relax()
        return not self._free and not length_hint(self._reserve)

    @property
    def balance(self) -> int:
        """How many permits are free; below zero, how many wait for one."""
        relax()
        return self._balance()

    def _balance(self) -> int:
        return len(self._free) + length_hint(self._reserve) - self._waiting

    def __enter__(self) -> bool:
        try:
            return self._free.pop()
        except IndexError:
            return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._lines:
            self._give_back()
        else:
            self._free.append(True)
            if self._lines:
                self._serve()

    def __repr__(self) -> str:
        return f"<greenserve.{type(self).__qualname__} at {id(self):#x}: value={self._balance()}>"


class BoundedSemaphore(Semaphore):
    """A semaphore that refuses to take back more permits than it was made with, as `threading.BoundedSemaphore`.

    >>> greenserve.BoundedSemaphore(1).release()
    Traceback (most recent call last):
    ValueError: Semaphore released too many times
    """

    __slots__ = ("_initial",)

    def __init__(self, value: int = 1) -> None:
        super().__init__(value)
        self._initial = value

    def release(self, n: int = 1) -> None:
        """Give back `n` permits. Raises ValueError when these are more than were taken."""
        if len(self._free) + length_hint(self._reserve) + n > self._initial:
            raise ValueError("Semaphore released too many times")
        super().release(n)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<greenserve.{type(self).__qualname__} at {id(self):#x}: value={self._balance()}/{self._initial}>"


def check_timeout(blocking: bool, timeout: float) -> None:
    """Refuse what a lock of `threading` refuses; -1 stands for no limit, and is none of these."""
    if not blocking:
        raise ValueError("can't specify a timeout for a non-blocking call")
    if timeout < 0:
        raise ValueError("timeout value must be a non-negative number")
    if timeout > threading.TIMEOUT_MAX:
        raise OverflowError("timeout value is too large")
