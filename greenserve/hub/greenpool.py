"""GreenPool and GreenPile: a bounded number of green threads, and their results in order."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any, Generic, ParamSpec, Self, TypeVar

from greenserve.errors import HubError
from greenserve.hub.core.busy_wait import relax
from greenserve.hub.core.hub import current_hub
from greenserve.hub.core.wait_queue import WaitQueue
from greenserve.hub.greenthread import GreenThread, getcurrent
from greenserve.hub.spawning import spawn_at
from greenserve.hub.sync.queue import LightQueue
from greenserve.hub.sync.room import Room

P = ParamSpec("P")
T = TypeVar("T")

DEFAULT_SIZE = 1000


class GreenPool:
    """Green threads, of which at most `size` run at a time: `spawn` waits until there is room.

    Spawning from within, when the pool is full, runs the function in place: waiting there for room could wait for
    oneself.

    >>> pool = greenserve.GreenPool(100)
    >>> thread = pool.spawn(pow, 2, 5)
    >>> thread.wait(), list(pool.imap(abs, [-1, -2]))
    (32, [1, 2])
    >>> pool.waitall()
    """

    def __init__(self, size: int = DEFAULT_SIZE) -> None:
        if not isinstance(size, int):
            raise TypeError(f"a pool's size is an int, not {size!r}")
        if size < 0:
            raise ValueError("a pool's size cannot be negative")
        self.size = size
        self._room = Room(size)
        self._threads: set[GreenThread[Any]] = set()
        self._feeders: set[GreenThread[Any]] = set()  # of imaps that were called by our own threads
        self._waiters = WaitQueue()

    def spawn(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> GreenThread[T]:
        """Run `function(*args, **kwargs)` in one of the pool's green threads, and return that; wait for room."""
        if not self._room._take() and not self._wait_for_room():
            return _in_place(sys._getframe(1), function, args, kwargs)
        try:
            thread = spawn_at(sys._getframe(1), function, args, kwargs)
        except BaseException:
            self._room.give_back()
            raise
        self._threads.add(thread)
        thread.link(self._ended)
        return thread

    def spawn_n(self, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """`spawn`, for nothing but what the function does."""
        self.spawn(function, *args, **kwargs)

    def _wait_for_room(self) -> bool:
        """Returns False to a caller that must not wait."""
        current = getcurrent()
        if current in self._threads or current in self._feeders:
            return False
        return self._room.acquire()

    def _ended(self, thread: GreenThread[Any]) -> None:
        self._threads.discard(thread)
        self._room.give_back()
        if self._waiters and self._is_empty():
            self._waiters.wake_all()

    def _is_empty(self) -> bool:
        """Whether no thread runs, and none that has got room is about to be spawned."""
        return self._room._balance() >= self.size and not self._room.in_debt

    def waitall(self) -> None:
        """Wait until all green threads of the pool have ended. Raises HubError when one of them calls it."""
        if getcurrent() in self._threads:
            raise HubError("a pool's own green thread called waitall(), which would wait for itself")
        if not self._is_empty():
            self._waiters.wait(unless=self._is_empty)

    def resize(self, size: int) -> None:
        """Change the size. Threads beyond a smaller one run to their end; callers that wait for new room go on."""
        if size < 0:
            raise ValueError("a pool's size cannot be negative")
        before, self.size = self.size, size
        self._room.resize(size - before)
        if self._is_empty():
            self._waiters.wake_all()

    def running(self) -> int:
        """How many green threads there are in the pool."""
        relax()
        return len(self._threads)

    def free(self) -> int:
        """How many more could be spawned without waiting."""
        return max(0, self._room.balance)

    def waiting(self) -> int:
        """How many wait to spawn."""
        return max(0, -self._room.balance)

    def starmap(self, function: Callable[..., T] | None, iterable: Iterable[Iterable[Any]]) -> GreenMap[T]:
        """Call `function(*args)` for each `args`, as many at once as there is room for; iterate over the results in
        order.

        What a call raises is raised in its place, and the iteration can go on after it. At most `size` results
        wait to be fetched; the iterable is read by a green thread of its own, and no further than that.
        """
        results: LightQueue[Any] = LightQueue(max(1, self.size))
        feeder = spawn_at(sys._getframe(1), _feed, (self, function or _tuple, iterable, results), {})
        if getcurrent() in self._threads:
            self._feeders.add(feeder)
            feeder.link(self._feeders.discard)
        return GreenMap(feeder, results)

    def imap(self, function: Callable[..., T] | None, *iterables: Iterable[Any]) -> GreenMap[T]:
        """`map` with as many calls at once as there is room for; see `starmap`."""
        return self.starmap(function, zip(*iterables, strict=False))

    def __repr__(self) -> str:
        return f"<GreenPool at {id(self):#x}: size={self.size}, {self.running()} running, {self.waiting()} waiting>"


def _in_place(
    frame: FrameType, function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> GreenThread[T]:
    """A green thread that has ended: its function was run in the calling one."""
    thread = GreenThread(current_hub(), function, args, kwargs, frame)
    thread.run()
    error = thread.error
    # A kill or a Timeout was meant for the caller. What means to end the program is on its way to main already.
    if error is not None and not isinstance(error, Exception | SystemExit | KeyboardInterrupt):
        raise error
    return thread


class _End:
    """The last of an imap's results: the error that its iterable raised, or none."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def _feed(
    pool: GreenPool, function: Callable[..., Any], iterable: Iterable[Iterable[Any]], results: LightQueue[Any]
) -> None:
    """Spawn for each of the iterable, and leave the threads to the iterator."""
    try:
        for args in iterable:
            thread = pool.spawn(function, *args)
            thread.quiet = True  # its error is raised where the results are iterated
            results.put(thread)
    except Exception as error:
        results.put(_End(error))
    else:
        results.put(_End(None))


def _tuple(*args: Any) -> Any:
    return args


class GreenMap(Generic[T]):
    """The iterator of `imap` and `starmap`. Dropping it stops the reading of what is left of the iterable."""

    def __init__(self, feeder: GreenThread[None], results: LightQueue[Any]) -> None:
        self._feeder = feeder
        self._results = results
        self._next: GreenThread[T] | _End | None = None  # kept until its result is fetched: a wait may be interrupted

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        if self._next is None:
            self._next = self._results.get()
        following = self._next
        if isinstance(following, _End):
            error, following.error = following.error, None
            raise StopIteration if error is None else error
        following.join()
        self._next = None
        return following.wait()

    def __del__(self) -> None:
        if not self._feeder.dead:
            self._feeder.kill(block=False)


class GreenPile:
    """Green threads of a pool whose results are fetched by iterating, in the order of the spawning.

    size_or_pool: a GreenPool that others may use too, or the size of one of its own.

    >>> pile = greenserve.GreenPile(10)
    >>> for number in (1, 2, 3):
    ...     pile.spawn(pow, number, 2)
    >>> list(pile)
    [1, 4, 9]
    """

    def __init__(self, size_or_pool: GreenPool | int = DEFAULT_SIZE) -> None:
        self.pool = size_or_pool if isinstance(size_or_pool, GreenPool) else GreenPool(size_or_pool)
        self._threads: LightQueue[GreenThread[Any]] = LightQueue()
        self._next: GreenThread[Any] | None = None
        self._used = False

    def spawn(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Run `function(*args, **kwargs)` in the pool; wait until there is room."""
        thread = self.pool.spawn(function, *args, **kwargs)
        thread.quiet = True
        frame = sys._getframe(1)
        thread._birth_code, thread._birth_instruction = frame.f_code, frame.f_lasti
        self._used = True
        self._threads.put(thread)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        """The next result; raises what its function raised. Ends when all that was spawned has been fetched."""
        if self._next is None:
            if self._used and self._threads.empty():
                raise StopIteration
            self._next = self._threads.get()
        following = self._next
        following.join()
        self._next = None
        return following.wait()
