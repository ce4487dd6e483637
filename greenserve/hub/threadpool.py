"""Blocking calls on OS threads: a green thread that makes one waits alone.

Strategy: a bounded number of raw OS threads take calls from one queue. They are started when there are more calls
than threads and end when there has been nothing to do for a while. Invariants: everything here rests on the
interpreter's own primitives, captured at import, so patching changes nothing; the threads are raw ones, which the
interpreter's exit does not wait for, so a call that never returns cannot hang it; a waiter that is killed or timed out
leaves, and a call without a waiter is not begun.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from _thread import RLock, get_native_id, start_new_thread
from collections.abc import Callable
from contextvars import Context, copy_context
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Generic, ParamSpec, TypeVar, cast

from greenserve.errors import HubError
from greenserve.hub.core.busy_wait import relax
from greenserve.hub.core.deadlock import bystanders
from greenserve.hub.core.hub import running
from greenserve.hub.core.wait_queue import WaitQueue

P = ParamSpec("P")
T = TypeVar("T")

MAX_THREADS = 32  # the default pool: what blocks there are files and C drivers, and these serialise beyond some tens
IDLE_SECONDS = 10.0  # an idle thread is some pages of stack, a new one costs 50 µs: keep it through a short lull alone


class Call(Generic[T]):
    """One call on its way through a pool; any number of green threads, in whatever OS thread, may wait for it."""

    __slots__ = (
        "_args",
        "_context",
        "_done",
        "_error",
        "_function",
        "_kwargs",
        "_process",
        "_result",
        "_waiters",
        "abandoned",
    )

    def __init__(
        self, context: Context | None, function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self.abandoned = False
        self._context = context
        self._function: Callable[..., T] | None = function
        self._args = args
        self._kwargs = kwargs
        self._result: Any = None  # of a call that has failed: the traceback of its error
        self._error: BaseException | None = None
        self._done = False
        self._process = os.getpid()
        self._waiters = WaitQueue()

    @property
    def done(self) -> bool:
        """Whether it has returned or raised."""
        relax()
        return self._done

    @property
    def under_way(self) -> bool:
        """Whether it will be done, in this process."""
        return not self._done and self._process == os.getpid()

    @property
    def lost(self) -> bool:
        """Whether it will never be done here: it was under way in the process of which this is a fork."""
        return not self._done and self._process != os.getpid()

    def wait(self, deadline: float | None = None) -> T:
        """Park until it is done. Returns or raises what the function did, with its traceback.

        deadline: absolute seconds of the hub's clock. Raises TimeoutError when it passes first; the call goes on.
        Raises HubError for a call that the parent of this process has made.
        """
        if not self._done:
            if self.lost:
                raise HubError("this call is the parent process's, and will not return here: make it once more")
            self._park(deadline)
        if self._error is not None:
            try:
                raise self._error.with_traceback(self._result)  # the same each time: not longer by each waiter
            finally:
                del self  # the traceback refers to this frame, and would keep itself alive through us
        return cast("T", self._result)

    def _park(self, deadline: float | None) -> None:
        hub = running().hub
        hub.external += 1
        try:
            self._waiters.wait(deadline=deadline, unless=lambda: self._done)
        finally:
            hub.external -= 1
        if not self._done:
            raise TimeoutError("the call did not return in time")

    def run(self) -> None:
        """Make the call. In the pool's thread."""
        function, args, kwargs, context = self._function, self._args, self._kwargs, self._context
        assert function is not None
        self._function = self._context = None
        self._args, self._kwargs = (), {}
        if not self.abandoned:
            try:
                self._result = function(*args, **kwargs) if context is None else context.run(function, *args, **kwargs)
            except BaseException as error:
                self._result = error.__traceback__
                self._error = error
        self._done = True
        self._waiters.wake_all()


class ThreadPool:
    """At most `max_threads` OS threads that make blocking calls.

    name: of the threads, with a number behind, as Linux shows it in `top -H` and debuggers in their lists.
    idle_seconds: after this long without work a thread ends.

    >>> files = greenserve.ThreadPool(4, name="files")
    >>> files.execute(len, "four")
    4
    """

    def __init__(
        self, max_threads: int = MAX_THREADS, name: str = "greenserve", idle_seconds: float = IDLE_SECONDS
    ) -> None:
        if max_threads < 1:
            raise ValueError(f"a thread pool needs at least one thread, not {max_threads}")
        self.max_threads = max_threads
        self.name = name
        self.idle_seconds = idle_seconds
        self._start_afresh()
        _pools.add(self)

    def _start_afresh(self) -> None:
        self._calls: SimpleQueue[Call[Any] | None] = SimpleQueue()
        self._threads = 0
        self._outstanding = 0
        self._started = 0

    def __repr__(self) -> str:
        return f"<ThreadPool {self.name}: {self._threads} of {self.max_threads} threads, {self._outstanding} calls>"

    @property
    def threads(self) -> int:
        """How many OS threads there are at present."""
        return self._threads

    @property
    def outstanding(self) -> int:
        """How many calls are running or wait for a thread."""
        relax()
        return self._outstanding

    def execute(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function(*args, **kwargs)` in an OS thread; only the calling green thread waits.

        The function sees the caller's contextvars (a copy). Returns what it returns; raises what it raises, with its
        traceback. A caller that is killed or timed out leaves at once; a call already begun ends in its own time.
        """
        call = Call(copy_context(), function, args, kwargs)
        self.put(call)
        try:
            return call.wait()
        except BaseException:
            call.abandoned = True
            raise

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Call[T]:
        """Have `function` called, and do not wait: `wait` on what is returned does. Never blocks."""
        call = Call(None, function, args, kwargs)
        self.put(call)
        return call

    def put(self, call: Call[Any]) -> None:
        """Hand over a call, and start a thread for it where that is needed and allowed.

        Raises RuntimeError when there is no thread and none can be started: then the call is not made.
        """
        with _lock:
            if self._outstanding >= self._threads and self._threads < self.max_threads:
                try:
                    start_new_thread(self._work, (f"{self.name}-{self._started + 1}",))
                except (RuntimeError, MemoryError):
                    if self._threads == 0:  # otherwise the others get to it
                        raise
                else:
                    self._threads += 1
                    self._started += 1
            self._outstanding += 1
            bystanders.count -= 1
        self._calls.put(call)

    def resize(self, max_threads: int) -> None:
        """Allow more threads, or fewer: those too many end when they are idle."""
        if max_threads < 1:
            raise ValueError(f"a thread pool needs at least one thread, not {max_threads}")
        self.max_threads = max_threads

    def close(self) -> None:
        """Let idle threads end now. A later call starts new ones."""
        for _ in range(self._threads - self._outstanding):
            self._calls.put(None)

    def _work(self, name: str) -> None:
        _name_thread(name)
        with _lock:
            bystanders.count += 1
        while True:
            try:
                call = self._calls.get(timeout=self.idle_seconds)
            except Empty:
                call = None
            if call is not None:
                call.run()
            with _lock:
                if call is not None:
                    self._outstanding -= 1
                    bystanders.count += 1
                superfluous = call is None or self._threads > self.max_threads
                # Only with a thread to spare: a call may have been put this moment, counting on this thread.
                if superfluous and self._outstanding < self._threads:
                    self._threads -= 1
                    bystanders.count -= 1
                    return
            call = None  # not kept alive by an idle thread


def _name_thread(name: str) -> None:
    # Not `threading.current_thread().name`: that would leave a dummy thread in threading's list for each of ours.
    with contextlib.suppress(OSError):  # Linux: what top, ps and debuggers show; 15 characters
        Path(f"/proc/self/task/{get_native_id()}/comm").write_text(name[:15], encoding="ascii", errors="replace")


# One for all pools, since they count together in `bystanders`. Reentrant: a finaliser that uses a pool may run while
# its OS thread holds it.
_lock = RLock()
_pools: weakref.WeakSet[ThreadPool] = weakref.WeakSet()
_default: list[ThreadPool] = []


def thread_count() -> int:
    """How many OS threads all pools have: what `_thread._count` should not tell, for the program did not start them."""
    return sum(pool.threads for pool in list(_pools))


def default_pool() -> ThreadPool:
    """The process's pool, made at first use.

    >>> greenserve.tpool.default_pool().execute(len, "four")
    4
    """
    if not _default:
        _default.append(ThreadPool())
    return _default[0]


def execute(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """`ThreadPool.execute` on the process's default pool.

    >>> import hashlib
    >>> greenserve.tpool.execute(hashlib.sha256, b"data").hexdigest()[:8]
    '3a6eb079'
    """
    return default_pool().execute(function, *args, **kwargs)


def _after_fork_in_child() -> None:
    _lock._at_fork_reinit()  # type: ignore[attr-defined]  # what threading itself calls; typeshed does not know it
    for pool in list(_pools):
        pool._start_afresh()


os.register_at_fork(after_in_child=_after_fork_in_child)
