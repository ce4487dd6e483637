"""asyncio's event loops beside green threads: one that has nothing to do parks its green thread, and blocks no other.

Strategy: asyncio keeps the originals, and so its own selector; only the wait for that selector's descriptor (epoll's,
kqueue's) is the hub's, in an OS thread that has one. What asyncio keeps for each OS thread belongs to the green
thread: which loop is running (hub/core/carried.py), which loop is the thread's by `set_event_loop`, and whether the
thread is the main thread.
"""

from __future__ import annotations

import contextlib
import gc
import sys
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import Any

from greenlet import getcurrent

from greenserve.hub.core import originals
from greenserve.hub.core.carried import ASYNCGEN_HOOKS, RUNNING_LOOP, note
from greenserve.hub.core.hub import hub_here
from greenserve.hub.greenthread import sleep
from greenserve.hub.sync.local import local

NAMES = ("EpollSelector", "KqueueSelector")  # the selectors that are a descriptor themselves


def parking(original: Any) -> Any:
    """A subclass of an original selector class whose `select` parks."""

    def select(self: Any, timeout: float | None = None) -> Any:
        """As the original one; where there are other green threads, these run meanwhile."""
        hub = hub_here()
        if hub is None:
            return original.select(self, timeout)
        found = original.select(self, 0)
        if found or (timeout is not None and timeout <= 0):
            sleep(0)  # a loop that always has something to do must not keep the others from running
            return found or original.select(self, 0)
        deadline = None if timeout is None else hub.clock() + timeout
        with contextlib.suppress(TimeoutError):
            hub.wait_readable(self.fileno(), deadline)
        return original.select(self, 0)

    def close(self: Any) -> None:
        """As the original one; the hub forgets the descriptor."""
        hub = hub_here()
        if hub is not None:
            with contextlib.suppress(ValueError):  # closed before
                hub.io.unregister_fd(self.fileno())
        original.close(self)

    return type(original.__name__, (original,), {"select": select, "close": close, "__doc__": original.__doc__})


def selectors_for_loops(original: ModuleType) -> dict[str, Any]:
    """What to lay over the original `selectors` for asyncio."""
    laid = {name: parking(getattr(original, name)) for name in NAMES if hasattr(original, name)}
    default = vars(original)["DefaultSelector"].__name__
    if default in laid:
        laid["DefaultSelector"] = laid[default]
    return laid


def _in_os_threads_own_code() -> bool:
    try:
        return getcurrent().parent is None
    except RuntimeError:  # a finaliser's call, while the interpreter ends
        return True


def threading_for_loops(original: Any) -> dict[str, Any]:
    """What to lay over the original `threading` for asyncio, which asks whether it runs in the main thread."""

    def current_thread() -> Any:
        """As `threading.current_thread`."""
        if _in_os_threads_own_code() and originals.get_ident() in original._active:
            return original._active[originals.get_ident()]
        return sys.modules["threading"].current_thread()

    return {"current_thread": current_thread}


def carry(events: Any) -> None:
    """Make what `asyncio.events` keeps for each OS thread the green thread's."""
    set_running_loop = RUNNING_LOOP.put = events._set_running_loop

    def _set_running_loop(loop: Any, /) -> None:
        set_running_loop(loop)
        note(RUNNING_LOOP, loop)

    modules: tuple[Any, ...] = (events, sys.modules.get("asyncio"))
    for module in modules:
        if getattr(module, "_set_running_loop", None) is set_running_loop:
            module._set_running_loop = _set_running_loop
    note(RUNNING_LOOP, events._get_running_loop())  # a coroutine may have called monkey_patch
    note(ASYNCGEN_HOOKS, tuple(sys.get_asyncgen_hooks()))
    policy_class = getattr(events, "BaseDefaultEventLoopPolicy", None) or events._BaseDefaultEventLoopPolicy
    policy_class._Local = _PolicyLocal
    policy = events._event_loop_policy
    if hasattr(policy, "_local"):
        before, policy._local = policy._local, _PolicyLocal()
        policy._local._loop, policy._local._set_called = before._loop, before._set_called


class _PolicyLocal:
    """The loop that `set_event_loop` has given to a thread: an OS thread's own code, or a green thread."""

    def __init__(self) -> None:
        self._of_os_threads, self._of_green_threads = originals._local(), local()

    def _here(self) -> Any:
        return self._of_os_threads if _in_os_threads_own_code() else self._of_green_threads

    @property
    def _loop(self) -> Any:
        try:
            return self._here().given.loop
        except AttributeError:
            return None

    @_loop.setter
    def _loop(self, loop: Any) -> None:
        self._here().given = _Given(loop)

    @property
    def _set_called(self) -> bool:
        return getattr(self._here(), "set_called", False)

    @_set_called.setter
    def _set_called(self, called: bool) -> None:
        self._here().set_called = called


class _Given:
    """A thread's loop. It dies with the thread, and closes the loop that nothing else refers to.

    The garbage collector would do so too, but late: a loop is a circle with three descriptors, and a server that makes
    one for each request would soon have no descriptor left.
    """

    def __init__(self, loop: Any) -> None:
        self.loop = loop

    def __del__(self, finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        loop, self.loop = self.loop, None
        if loop is None or finalizing() or loop.is_closed() or loop.is_running():
            return
        own = OWN_REFERENCES + len(getattr(loop, "_scheduled", ()))  # each timer has one
        if sys.getrefcount(loop) - 2 <= own:  # 2: our variable, and the argument
            loop.__del__()
            return
        _abandoned.add(loop)
        if len(_abandoned) > MAX_ABANDONED:
            _abandoned.clear()
            gc.collect()


OWN_REFERENCES = 2  # to a loop, from itself: of the handle for its wake-ups, and of that one's callback
MAX_ABANDONED = 64  # loops of ended threads that something refers to, perhaps but a circle: about 200 descriptors
_abandoned: weakref.WeakSet[Any] = weakref.WeakSet()
