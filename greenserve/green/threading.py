"""Green `threading`: the original module's classes on green threads and locks.

Strategy: `Thread` stays the standard library's, with its subclasses, and so does what is built on it; the few names
through which it starts a thread, asks for the running one, and waits are replaced in the module's globals: in those of
the original module by patching; for importers of this twin, in those of a copy of it. What threads share is the hub's:
fair, killed waiters lose nothing, and OS threads may take part.
"""

from __future__ import annotations

import sys as _sys
import threading as _original
import warnings as _warnings
from types import ModuleType
from typing import Any

from greenserve.green import _thread
from greenserve.hub.sync import condition as _condition
from greenserve.hub.sync import event as _event
from greenserve.hub.sync import lock as _lock
from greenserve.hub.sync.local import local
from greenserve.patching.polling import relax_polls as _relax_polls
from greenserve.patching.reimport import Copies

Lock = _thread.lock
RLock = _thread.RLock
_allocate_lock = Lock
_LockType = Lock
_CRLock = RLock
get_ident = _thread.get_ident
excepthook = _thread._excepthook
_start_new_thread = _thread.start_new_thread
_set_sentinel = _thread._set_sentinel
_start_joinable_thread = _thread.start_joinable_thread
_ThreadHandle = _thread._ThreadHandle
_make_thread_handle = _thread._make_thread_handle
_thread_shutdown = _thread._shutdown

# Subclasses, since users may give attributes to objects of these classes, which the hub's, having slots, refuse.


class Event(_event.Flag):
    """As `threading.Event`, but waited for by green threads and OS threads."""

    def isSet(self) -> bool:
        """Deprecated alias of `is_set`."""
        _warnings.warn("isSet() is deprecated, use is_set() instead", DeprecationWarning, stacklevel=2)
        return self.is_set()


class Condition(_condition.Condition):
    """As `threading.Condition`, but waited for by green threads and OS threads."""

    def notifyAll(self) -> None:
        """Deprecated alias of `notify_all`."""
        _warnings.warn("notifyAll() is deprecated, use notify_all() instead", DeprecationWarning, stacklevel=2)
        self.notify_all()


class Semaphore(_lock.Semaphore):
    """As `threading.Semaphore`, but fair, and for green threads and OS threads."""


class BoundedSemaphore(_lock.BoundedSemaphore):
    """As `threading.BoundedSemaphore`, but fair, and for green threads and OS threads."""


for _class in (Event, Condition, Semaphore, BoundedSemaphore):
    _class.__module__ = "threading"

_active_limbo_lock = RLock()
_shutdown_locks_lock = Lock()
_dummies: Any = local()


class _DeleteDummyThreadOnDel:
    """Dies with the thread that a dummy stands for, and takes the dummy from `threading`'s list: green threads come
    and go by thousands. Without a lock, which the standard library's has: this is a finaliser.
    """

    def __init__(self, dummy: Any) -> None:
        self._dummy = dummy
        _dummies.reference = self

    def __del__(self) -> None:
        active = _original._active  # type: ignore[attr-defined]
        if active.get(self._dummy.ident) is self._dummy:
            active.pop(self._dummy.ident, None)


if _sys.version_info < (3, 13):  # later ones make such an object themselves

    class _DummyThread(_original._DummyThread):
        """Stands for a thread that `threading` did not start."""

        def __init__(self) -> None:
            super().__init__()
            _DeleteDummyThreadOnDel(self)


_original_shutdown: Any = _original._shutdown  # type: ignore[attr-defined]


def _shutdown() -> None:
    """At the interpreter's exit: wait for the green threads and OS threads that are not daemons."""
    _original_shutdown()
    for shutdown in _copies_shutdowns:
        shutdown()
    _thread.wait_for_os_threads()  # only now: the threads of an event loop's pool are told of the end just before


_copies_shutdowns: list[Any] = []  # of copies of `threading` with OS threads, whose exit nothing else waits for


def __getattr__(name: str) -> Any:
    """What is not defined here, such as Thread, from a copy above green threads, made at the first use."""
    return getattr(_copy(), name)


def _copy() -> ModuleType:
    if not _copies.modules:
        made = _copies.get("threading")
        _relax_polls(made)
        ours = {name: value for name, value in globals().items() if name in vars(made) and name not in _NOT_THE_COPYS}
        vars(made).update(ours)
        _original._register_atexit(made._shutdown)  # type: ignore[attr-defined]  # it alone is told of the exit
    return _copies.modules["threading"]


_NOT_THE_COPYS = ("_shutdown", "_sys", "_DummyThread", "_dummies")
_copies = Copies(lambda name: _thread if name == "_thread" else None)
