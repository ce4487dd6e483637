"""Condition and Barrier, with the signatures and the errors of `threading`'s."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from enum import Enum
from threading import BrokenBarrierError
from types import TracebackType
from typing import Any, Protocol

from greenserve.errors import HubError
from greenserve.hub.core.busy_wait import relax
from greenserve.hub.core.hub import TIMED_OUT, running
from greenserve.hub.core.wait_queue import WaitQueue
from greenserve.hub.sync.rlock import RLock

__all__ = ["Barrier", "BrokenBarrierError", "Condition"]


class AnyLock(Protocol):
    """What a Condition needs of its lock; a reentrant one has _release_save and its companions too."""

    def acquire(self, blocking: bool = True) -> bool:
        """Take the lock."""

    def release(self) -> None:
        """Free the lock."""


class Condition:
    """A condition variable as `threading.Condition`: waiters are notified in the order of their coming.

    lock: an RLock of its own unless one is given.

    A waiter leaves `wait` with the lock, whatever happens. A kill or a Timeout that meets it after it was
    notified, while it waits for the lock, is raised at its next wait: so a notification is never lost with the
    waiter that got it.

    >>> condition, basket = greenserve.Condition(), []
    >>> def take():
    ...     with condition:
    ...         condition.wait_for(lambda: basket)
    ...         return basket.pop()
    >>> taker = greenserve.spawn(take)
    >>> with condition:
    ...     basket.append("apple")
    ...     condition.notify()
    >>> taker.wait()
    'apple'
    """

    __slots__ = ("__weakref__", "_line", "_lock", "acquire", "release")

    def __init__(self, lock: Any = None) -> None:
        self._lock: Any = RLock() if lock is None else lock
        self._line = WaitQueue()
        self.acquire: Callable[..., bool] = self._lock.acquire
        self.release: Callable[[], None] = self._lock.release

    def __enter__(self) -> bool:
        return self._lock.__enter__()  # type: ignore[no-any-return]  # what the lock says

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lock.__exit__(kind, error, traceback)
        if kind is not None:  # such as queue.Empty, by which the standard library's queues say that there is nothing
            relax()

    def wait(self, timeout: float | None = None) -> bool:
        """Free the lock, wait to be notified, take the lock again.

        timeout: seconds. Returns whether a notification came in time. Raises RuntimeError when the lock is not taken.
        """
        if not self._is_owned():
            raise RuntimeError("cannot wait on un-acquired lock")
        saved: list[Any] = []
        try:
            return self._line.wait(timeout, unless=lambda: saved.append(self._release_save())) is not TIMED_OUT
        finally:
            if saved:
                self._retake(saved[0])

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """Wait until `predicate()` is true, at most `timeout` seconds. Returns its last value."""
        clock = running().hub.clock
        deadline = None if timeout is None else clock() + timeout
        result = predicate()
        while not result:
            left = None if deadline is None else deadline - clock()
            if left is not None and left <= 0:
                break
            self.wait(left)
            result = predicate()
        return result

    def notify(self, n: int = 1) -> None:
        """Wake the first `n` waiters, as far as there are so many. Raises RuntimeError when the lock is not taken."""
        if not self._is_owned():
            raise RuntimeError("cannot notify on un-acquired lock")
        while n > 0 and self._line.wake(True):
            n -= 1

    def notify_all(self) -> None:
        """Wake all waiters."""
        self.notify(len(self._line))

    def _retake(self, saved: Any) -> None:
        """Take the lock again, and put off to the next park what would raise meanwhile."""
        postponed: list[BaseException] = []
        while True:
            try:
                self._acquire_restore(saved)
                break
            except HubError:  # not from outside: this can never succeed
                raise
            except BaseException as error:
                postponed.append(error)
        if postponed:
            greenlet = running()
            greenlet.pending = [*postponed, *(greenlet.pending or ())]

    def _is_owned(self) -> bool:
        is_owned = getattr(self._lock, "_is_owned", None)
        if is_owned is not None:
            return is_owned()  # type: ignore[no-any-return]  # what the lock says
        if self._lock.acquire(False):
            self._lock.release()
            return False
        return True

    def _release_save(self) -> Any:
        release_save = getattr(self._lock, "_release_save", None)
        return self._lock.release() if release_save is None else release_save()

    def _acquire_restore(self, saved: Any) -> None:
        acquire_restore = getattr(self._lock, "_acquire_restore", None)
        if acquire_restore is None:
            self._lock.acquire()
        else:
            acquire_restore(saved)

    def _at_fork_reinit(self) -> None:
        self._lock._at_fork_reinit()
        self._line = WaitQueue()

    def __repr__(self) -> str:
        return f"<greenserve.{type(self).__qualname__} of {self._lock!r}, {len(self._line)} waiting>"


class _State(Enum):
    FILLING = "filling"
    PASSED = "passed"
    BROKEN = "broken"


class _Generation:
    """The threads that pass a barrier together. A new group begins when they are complete, so none waits for them to
    have left.
    """

    __slots__ = ("present", "state")

    def __init__(self) -> None:
        self.state = _State.FILLING
        self.present: set[int] = set()


class Barrier:
    """A point that `parties` threads pass together, as `threading.Barrier`.

    action: called by the last to come, before the others go on. timeout: seconds, the default of `wait`.

    >>> barrier = greenserve.Barrier(2)
    >>> greenserve.waitall([greenserve.spawn(barrier.wait) for _ in range(2)]) in ([0, 1], [1, 0])
    True
    """

    def __init__(self, parties: int, action: Callable[[], object] | None = None, timeout: float | None = None) -> None:
        if parties < 1:
            raise ValueError("parties must be >= 1")
        self._parties = parties
        self._action = action
        self._timeout = timeout
        self._condition = Condition()
        self._generation = _Generation()

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the others. Returns a number that each of them gets another of, from 0 to parties - 1.

        timeout: seconds; when they pass, the barrier breaks. Raises BrokenBarrierError when it is broken, or
        breaks or is reset meanwhile. A thread that is killed does not count, and the others wait for another.
        """
        with self._condition:
            generation = self._generation
            if generation.state is _State.BROKEN:
                raise BrokenBarrierError
            number = next(n for n in itertools.count() if n not in generation.present)
            generation.present.add(number)
            if len(generation.present) == self._parties:
                self._pass(generation)
            else:
                self._wait(generation, number, self._timeout if timeout is None else timeout)
            return number

    def _pass(self, generation: _Generation) -> None:
        if self._action is not None:
            try:
                self._action()
            except BaseException:
                self._end(generation, _State.BROKEN)
                raise
        self._generation = _Generation()
        self._end(generation, _State.PASSED)

    def _wait(self, generation: _Generation, number: int, timeout: float | None) -> None:
        try:
            complete = self._condition.wait_for(lambda: generation.state is not _State.FILLING, timeout)
        except BaseException:
            generation.present.discard(number)
            raise
        if not complete:
            self._end(generation, _State.BROKEN)
        if generation.state is _State.BROKEN:
            raise BrokenBarrierError

    def _end(self, generation: _Generation, state: _State) -> None:
        generation.state = state
        self._condition.notify_all()

    def reset(self) -> None:
        """Begin anew. The waiters get BrokenBarrierError."""
        with self._condition:
            generation, self._generation = self._generation, _Generation()
            self._end(generation, _State.BROKEN)

    def abort(self) -> None:
        """Break the barrier: present waiters, and later ones until it is reset, get BrokenBarrierError."""
        with self._condition:
            self._end(self._generation, _State.BROKEN)

    @property
    def parties(self) -> int:
        """How many pass together."""
        return self._parties

    @property
    def n_waiting(self) -> int:
        """How many wait now."""
        relax()
        generation = self._generation
        return len(generation.present) if generation.state is _State.FILLING else 0

    @property
    def broken(self) -> bool:
        """Whether it is broken."""
        relax()
        return self._generation.state is _State.BROKEN

    def __repr__(self) -> str:
        state = "broken" if self.broken else f"waiters={self.n_waiting}/{self._parties}"
        return f"<greenserve.{type(self).__qualname__} at {id(self):#x}: {state}>"
