"""Green `_thread`: threads that are green threads, locks that green threads and OS threads share.

Strategy: what the main OS thread's code starts is a green thread there. What another OS thread starts (a call in a
thread pool, `asyncio.to_thread`, a server in the background) is an OS thread: a green thread would end with its OS
thread, and wait meanwhile until that has time for its hub, but a thread outlives its starter.

Invariant: a thread's number is that of the job that it runs, so `threading` finds each green thread's own Thread
object; the code of an OS thread itself has that thread's number, and so has the hub's own greenlet, in which callbacks
and many signal handlers run.
"""

from __future__ import annotations

import _thread as _original
import os as _os
import sys as _sys
import threading as _threading
from collections.abc import Callable as _Callable
from contextvars import Context as _Context
from functools import cache as _cache
from typing import Any
from weakref import WeakSet as _WeakSet

from greenlet import GreenletExit as _GreenletExit
from greenlet import getcurrent as _getcurrent

from greenserve.hub.core import log_writer as _logwriter
from greenserve.hub.core.busy_wait import relax as _relax
from greenserve.hub.core.greenlets import Loop as _Loop
from greenserve.hub.core.greenlets import Visitor as _Visitor
from greenserve.hub.core.originals import _count as _os_threads
from greenserve.hub.core.originals import get_ident as _os_ident
from greenserve.hub.core.originals import start_new_thread as _start_os_thread
from greenserve.hub.greenthread import GreenThread as _GreenThread
from greenserve.hub.spawning import spawn as _spawn
from greenserve.hub.sync.event import Flag as _Flag
from greenserve.hub.sync.local import local as _green_local
from greenserve.hub.sync.lock import Lock
from greenserve.hub.sync.rlock import RLock as _GreenRLock
from greenserve.hub.threadpool import thread_count as _thread_count
from greenserve.patching.rebind import complete

_local = _green_local


class RLock(_GreenRLock):
    """As `threading.RLock`, but waited for by green threads and OS threads."""

    __slots__ = ()


RLock.__module__ = "_thread"  # trio looks at this, to be sure that a signal handler may take it
LockType = Lock
lock = Lock
allocate_lock = allocate = Lock

_excepthook_of_threads: Any = _original._excepthook


class _State:
    running = 0  # green threads started here that have not ended
    main = _threading.main_thread().ident  # the main OS thread; in a forked child that which has forked


def get_ident() -> int:
    """A number that no other living thread has, green or not."""
    try:
        greenlet: Any = _getcurrent()
    except RuntimeError:  # a finaliser's, while the interpreter ends
        return _os_ident()
    try:
        job = greenlet.job
    except AttributeError:  # the hub's own greenlet, or one that has never waited
        job = None
    if job is not None:
        return _os_ident() if isinstance(greenlet, _Visitor) and job is greenlet.hub.main else id(job)
    if greenlet.parent is None or isinstance(greenlet, _Loop):
        return _os_ident()
    return id(greenlet)


def start_new_thread(function: _Callable[..., object], args: tuple[Any, ...], kwargs: Any = None, /) -> int:
    """Run `function(*args, **kwargs)` in a new green thread. Returns its number. SystemExit ends it quietly."""
    if not callable(function):
        raise TypeError("first arg must be callable")
    if not isinstance(args, tuple):
        raise TypeError("2nd arg must be a tuple")
    if kwargs is not None and not isinstance(kwargs, dict):
        raise TypeError("optional 3rd arg must be a dictionary")
    _sys.audit("_thread.start_new_thread", function, args, kwargs)
    return _start(None, function, args, kwargs or {})


start_new = start_new_thread


def _start(
    handle: _ThreadHandle | None, function: _Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> int:
    """Start a thread, and return its number."""
    if _os_ident() != _State.main:
        return _start_os_thread(_run, (False, handle, function, args, kwargs))
    # A thread begins with an empty context, as an OS thread does; only greenserve.spawn hands the spawner's on.
    thread: _GreenThread[None] = _Context().run(_spawn, _run, True, handle, function, args, kwargs)
    if handle is not None:
        handle._thread = thread
    owner = getattr(function, "__self__", None)  # a threading.Thread, whose name tells more than that of its bootstrap
    name = getattr(owner, "name", None)
    if isinstance(name, str):
        thread.name = name
    return id(thread)


def _run(
    green: bool,
    handle: _ThreadHandle | None,
    function: _Callable[..., object],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    if green:
        _State.running += 1
    if handle is not None:
        handle._ident = get_ident()  # its starter may not have come to that yet
    try:
        function(*args, **kwargs)
    except (SystemExit, _GreenletExit):
        pass
    except BaseException as error:
        _sys.unraisablehook(_unraisable_type()((type(error), error, error.__traceback__, *_who(function))))
    finally:
        del function, args, kwargs
        if handle is not None:
            handle._set_done()
        sentinel = _sentinels.pop(get_ident(), None)
        if sentinel is not None:
            sentinel.set()
        if green:
            _State.running -= 1


def _who(function: object) -> tuple[str, object]:
    """The message and the object of the report; since Python 3.13 the message has it all."""
    text = "Exception ignored in thread started by"
    return (text, function) if _sys.version_info < (3, 13) else (f"{text} {function!r}", None)


@_cache
def _unraisable_type() -> Any:
    """What `sys.unraisablehook` is called with: a type that has no public name, so we have the interpreter make one."""

    class Unraisable:
        def __del__(self) -> None:
            raise RuntimeError

    types: list[Any] = []
    hook, _sys.unraisablehook = _sys.unraisablehook, lambda args: types.append(type(args))
    try:
        Unraisable()  # gone at once
    finally:
        _sys.unraisablehook = hook
    return types[0]


def _count() -> int:
    _relax()
    return max(0, _os_threads() - _thread_count() - _logwriter.threads()) + _State.running


def _excepthook(args: Any, /) -> None:
    """As `threading.excepthook`; a thread that was killed is not an error."""
    if args.exc_type is not _GreenletExit:
        _excepthook_of_threads(args)


# -- how `threading` learns of a thread's end: up to Python 3.12 by a lock that is released then, since by a handle


class _Sentinel:
    """Looks like a lock that its thread takes at its beginning, and that is released when that ends.

    Not a lock: one that is handed to the first of several joiners is still locked for the second,
    and `threading` takes that for an error.
    """

    __slots__ = ("__weakref__", "_ended", "_taken")

    def __init__(self) -> None:
        self._taken = False
        self._ended = _Flag()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """The first time: nothing. From then on: wait for the end."""
        if not self._taken:
            self._taken = True
            return True
        if self._ended.is_set() or not blocking:
            return self._ended.is_set()
        return self._ended.wait(None if timeout == -1 else timeout)

    def release(self) -> None:
        """What the joiner does, and at the interpreter's end the main thread."""
        self._ended.set()

    set = release

    def locked(self) -> bool:
        """Whether the thread runs."""
        return self._taken and not self._ended.is_set()

    def _at_fork_reinit(self) -> None:
        self._taken = False
        self._ended = _Flag()


_sentinels: dict[int, _Sentinel] = {}


def _set_sentinel() -> _Sentinel:
    sentinel = _sentinels[get_ident()] = _Sentinel()
    return sentinel


class _ThreadHandle:
    """A thread that can be joined."""

    def __init__(self) -> None:
        self._ident = 0
        # Kept, so that no other thread gets the number while this handle exists.
        self._thread: _GreenThread[None] | None = None
        self._ended = _Flag()
        _handles.add(self)

    @property
    def ident(self) -> int:
        """Its number."""
        return self._ident

    def is_done(self) -> bool:
        """Whether it has ended."""
        return self._ended.is_set()

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end, at most `timeout` seconds."""
        if self._ident == 0:
            raise RuntimeError("thread not started")
        if not self.is_done() and self._ident == get_ident():
            raise RuntimeError("Cannot join current thread")
        self._ended.wait(None if timeout is None or timeout < 0 else timeout)

    def _set_done(self) -> None:
        if self._ident == 0:
            raise RuntimeError("thread not started")
        _joined_at_exit.discard(self)
        self._ended.set()

    def _start_afresh(self) -> None:
        """In a forked child, of a thread that does not exist any more. Nothing there waits for it."""
        _joined_at_exit.discard(self)
        self._ended = _Flag()
        self._ended.set()


_handles: _WeakSet[_ThreadHandle] = _WeakSet()
_joined_at_exit: set[_ThreadHandle] = set()


def _after_fork_in_child() -> None:
    _State.main = _os_ident()
    me = get_ident()
    for handle in list(_handles):
        if handle._ident not in (0, me):  # 0: not started
            handle._start_afresh()


_os.register_at_fork(after_in_child=_after_fork_in_child)


def _make_thread_handle(ident: int) -> _ThreadHandle:
    handle = _ThreadHandle()
    handle._ident = ident
    return handle


def start_joinable_thread(
    function: _Callable[[], object], handle: _ThreadHandle | None = None, daemon: bool = True
) -> _ThreadHandle:
    """Run `function()` in a new green thread. Returns its handle. The exit waits for it unless it is a daemon."""
    if not callable(function):
        raise TypeError("thread function must be callable")
    if handle is None:
        handle = _ThreadHandle()
    elif not isinstance(handle, _ThreadHandle):
        raise TypeError("'handle' must be a _ThreadHandle")
    elif handle._ident:
        raise RuntimeError("thread already started")
    _sys.audit("_thread.start_joinable_thread", function, daemon, handle)
    if not daemon:
        _joined_at_exit.add(handle)
    try:
        handle._ident = _start(handle, function, (), {})
    except BaseException:
        _joined_at_exit.discard(handle)
        raise
    return handle


def _shutdown() -> None:
    """Wait for the green threads that are not daemons; green `threading` waits for the others afterwards."""
    while _joined_at_exit:
        handle = next(iter(_joined_at_exit))
        if handle._ident == get_ident():
            _joined_at_exit.discard(handle)
        else:
            handle.join()


wait_for_os_threads: _Callable[[], None] = getattr(_original, "_shutdown", lambda: None)
"""Since Python 3.13: wait for the OS threads that are not daemons."""

__getattr__ = complete(globals(), _original)
