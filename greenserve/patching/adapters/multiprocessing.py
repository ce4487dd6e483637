"""multiprocessing in a patched process: waiting for another process lets the green threads of this one run.

Strategy for its locks: they are POSIX semaphores, which have no descriptor to wait for; and a wait for one on an OS
thread of its own could not be called back. So where there are green threads, a wait asks, and asks again, ever less
often. An OS thread without a hub waits in the kernel as ever.
"""

from __future__ import annotations

import sys
from functools import partial
from types import SimpleNamespace
from typing import Any

from greenserve.hub.core.busy_wait import relax
from greenserve.hub.core.hub import hub_here
from greenserve.hub.sync.rlock import RLock
from greenserve.patching.polling import poll_until_answered, relax_polls

_RECURSIVE_MUTEX = 0  # the kind of an RLock, as _multiprocessing.SemLock has it
_FOREVER = -1


def leave_signals(resource_sharer: Any) -> None:
    """Keep the thread that hands descriptors to other processes from blocking all signals: a green thread has no mask
    of its own, so this process could not be ended any more, nor those that it starts.
    """
    resource_sharer.signal = SimpleNamespace()


def green_locks(synchronize: Any) -> None:
    """Have the locks that `multiprocessing.synchronize` makes from now on wait greenly."""
    after_fork = synchronize.util.register_after_fork

    def make_methods(self: Any) -> None:
        semlock = self._semlock
        if semlock.kind == _RECURSIVE_MUTEX:
            recursive = _Recursive(semlock)
            after_fork(recursive, _Recursive.start_afresh)
            self.acquire, self.release = recursive.acquire, recursive.release
        else:
            self.acquire, self.release = partial(_acquire_or_relax, semlock), semlock.release

    def enter(self: Any) -> bool:
        taken: bool = self.acquire()
        return taken

    def leave(self: Any, *_: object) -> None:
        self.release()

    lock_class = synchronize.SemLock
    lock_class._make_methods, lock_class.__enter__, lock_class.__exit__ = make_methods, enter, leave
    relax_polls(synchronize)


def _acquire(semlock: Any, block: bool, timeout: float | None) -> bool:
    hub = hub_here()
    if hub is None or not block:
        taken: bool = semlock.acquire(block, timeout)
        return taken
    return poll_until_answered(hub, lambda: semlock.acquire(False) or None, timeout) is not None


def _acquire_or_relax(semlock: Any, block: bool = True, timeout: float | None = None) -> bool:
    """As `_multiprocessing.SemLock.acquire`; others run after tries in vain, but those of its own module, which tries
    while it holds another lock of the processes', which is not fair: waiters for that one would not get it.
    """
    if _acquire(semlock, block, timeout):
        return True
    by_program = sys._getframe(1).f_globals.get("__name__") != "multiprocessing.synchronize"
    return not block and by_program and relax() and _acquire(semlock, False, 0)


class _Recursive:
    """A recursive lock. The semaphore knows its owner by the OS thread, which green threads share: so these exclude
    each other by a lock of their own first.
    """

    def __init__(self, semlock: Any) -> None:
        self._semlock = semlock
        self._among_us = RLock()

    def start_afresh(self) -> None:
        """In a forked child: its holder was a thread of the parent."""
        self._among_us = RLock()

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """As `_multiprocessing.SemLock.acquire`."""
        hub = hub_here()
        started = hub.clock() if hub is not None else 0.0
        if not self._among_us.acquire(block, max(0.0, timeout) if block and timeout is not None else _FOREVER):
            return False
        taken = False
        try:
            if timeout is not None and hub is not None:
                timeout -= hub.clock() - started
            taken = _acquire(self._semlock, block, timeout)
        finally:
            if not taken:
                self._among_us.release()
        return taken

    def release(self) -> None:
        """As `_multiprocessing.SemLock.release`. Raises AssertionError when it is not ours."""
        if not self._among_us._is_owned():
            raise AssertionError("attempt to release recursive lock not owned by thread")
        self._semlock.release()
        self._among_us.release()
