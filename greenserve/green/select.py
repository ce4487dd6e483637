"""Green `select`: `select`, `poll` and `epoll` that park the green thread, level-triggered and complete.

Strategy: ask the original call with a timeout of zero; when nothing is ready, wait on ONE descriptor that becomes
readable when something is: an epoll instance of this call's own, holding what the caller is interested in. An epoll
can itself be polled, so the hub needs no other kind of wait, the caller's descriptors may be used elsewhere, too (a
green thread may be reading one meanwhile), and the answer comes from the original call, so it names every ready
descriptor.
Where there is no epoll, an OS thread makes the call.
"""

from __future__ import annotations

import errno as _errno
import math as _math
import os as _os
import select as _original
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from greenserve.hub import threadpool as _threadpool
from greenserve.hub.core.hub import current_hub as _current_hub
from greenserve.hub.core.hub import running as _running
from greenserve.hub.greenthread import sleep as _sleep
from greenserve.patching.rebind import complete

_T = TypeVar("_T")

_select: Any = _original.select
_poll = _original.poll
_epoll: Any = getattr(_original, "epoll", None)
_MAX_MILLISECONDS = 2**31 - 1  # poll(2) takes an int
_FD_SETSIZE = 1024  # select(2) takes no descriptor from here on
_SLICE = 0.5  # seconds: how long an OS thread may go on waiting for a caller that has left
_READ = _original.POLLIN | _original.POLLPRI
_WRITE = _original.POLLOUT


def select(
    rlist: Iterable[Any], wlist: Iterable[Any], xlist: Iterable[Any], timeout: float | None = None, /
) -> tuple[list[Any], list[Any], list[Any]]:
    """As `select.select`: the objects that are ready to read, to write, in an exceptional state; all of them."""
    lists: Any = tuple(things if isinstance(things, list | tuple) else list(things) for things in (rlist, wlist, xlist))
    deadline = _deadline(timeout, "timeout must be non-negative")

    numbers: list[list[int]] = []  # once we wait; an object that is closed meanwhile has none any more

    def now(seconds: float) -> tuple[list[Any], list[Any], list[Any]] | None:
        if not numbers:
            found = _look(lists, seconds)
            return found if any(found) else None
        try:
            ready = _look(numbers, seconds)
        except OSError:  # one has been closed, and is never ready, as in the kernel
            ready = _look_by_poll(numbers, seconds, closed_too=True)
        if not any(ready):
            return None
        columns = zip(lists, numbers, ready, strict=True)
        first, second, third = (
            [thing for thing, number in zip(things, fds, strict=True) if number in those]
            for things, fds, those in columns
        )
        return first, second, third

    def interest() -> dict[int, int]:
        numbers[:] = [[_fileno(thing) for thing in things] for things in lists]
        return _masks(numbers)

    return _until(now, interest, deadline) or ([], [], [])


def _look(lists: Any, seconds: float) -> Any:
    """As the original `select`, for descriptors of any number."""
    try:
        return _select(*lists, seconds)
    except ValueError:  # also of a closed object, whose descriptor is -1
        masks = _masks(lists)
        if min(masks) < 0 or max(masks) < _FD_SETSIZE:
            raise
    return _look_by_poll(lists, seconds)


def _masks(lists: Any) -> dict[int, int]:
    """What is asked of each descriptor, as poll has it."""
    masks: dict[int, int] = {}
    for things, mask in zip(lists, (_original.POLLIN, _WRITE, _original.POLLPRI), strict=True):
        for fd in map(_fileno, things):
            masks[fd] = masks.get(fd, 0) | mask
    return masks


def _look_by_poll(lists: Any, seconds: float, closed_too: bool = False) -> Any:
    poller = _poll()
    for fd, mask in _masks(lists).items():
        poller.register(fd, mask)
    events = dict(poller.poll(_math.ceil(seconds * 1000)))
    if not closed_too and any(found & _original.POLLNVAL for found in events.values()):
        raise OSError(_errno.EBADF, _os.strerror(_errno.EBADF))
    # As Linux's select(2) has them: an error makes both ways ready, a hang-up reading alone.
    ready = (
        _original.POLLIN | _original.POLLHUP | _original.POLLERR,
        _WRITE | _original.POLLERR,
        _READ & ~_original.POLLIN,
    )
    return tuple(
        [thing for thing in things if events.get(_fileno(thing), 0) & mask]
        for things, mask in zip(lists, ready, strict=True)
    )


def _fileno(thing: Any) -> int:
    if isinstance(thing, int):
        return thing
    if not hasattr(thing, "fileno"):
        raise TypeError("argument must be an int, or have a fileno() method.")
    return int(thing.fileno())


def _deadline(timeout: float | None, negative: str | None = None) -> float | None:
    """Absolute seconds; None for ever. negative: the ValueError's text where a negative timeout is an error."""
    if timeout is None:
        return None
    if timeout < 0:
        if negative is not None:
            raise ValueError(negative)
        return None
    return _clock() + timeout


def _clock() -> float:
    return _current_hub().clock()


def _until(
    now: Callable[[float], _T | None], interest: Callable[[], dict[int, int]], deadline: float | None
) -> _T | None:
    """What `now(0)` says as soon as it says anything; None at the deadline.

    interest: the descriptors, with the poll masks, that could make it say something.
    """
    found = now(0)
    if found is not None or (deadline is not None and deadline <= _clock()):
        _sleep(0)  # a loop that asks must not keep other threads from running
        return found
    if _epoll is None:
        return _in_os_thread(now, deadline)
    wanted = interest()
    with _epoll() as own:
        for fd, mask in wanted.items():
            try:
                own.register(fd, mask)
            except PermissionError:  # a regular file: always ready, so `now` would have said so unless nothing is asked
                continue
        io = _running().hub.io
        descriptor = io.register(own.fileno())
        try:
            while found is None:
                io.wait_read(descriptor, deadline)
                found = now(0)
        except TimeoutError:
            found = now(0)
        finally:
            io.unregister(descriptor)
    return found


def _in_os_thread(now: Callable[[float], _T | None], deadline: float | None) -> _T | None:
    """The same by a blocking call elsewhere, in slices, so that the thread is not lost when the caller is killed."""
    while True:
        left = _math.inf if deadline is None else deadline - _clock()
        if left <= 0:
            return None
        found = _threadpool.execute(now, min(left, _SLICE))
        if found is not None:
            return found


class poll:
    """As `select.poll()`."""

    def __init__(self) -> None:
        self._poll = _poll()
        self._masks: dict[int, int] = {}
        self._polling = False

    def register(self, fd: Any, eventmask: int = _READ | _WRITE, /) -> None:
        """Watch fd for the events in the mask."""
        self._poll.register(fd, eventmask)
        self._masks[_fileno(fd)] = eventmask

    def modify(self, fd: Any, eventmask: int, /) -> None:
        """Change the mask. Raises OSError ENOENT for one that is not registered."""
        self._poll.modify(fd, eventmask)
        self._masks[_fileno(fd)] = eventmask

    def unregister(self, fd: Any, /) -> None:
        """Watch no more. Raises KeyError for one that is not registered."""
        self._poll.unregister(fd)
        self._masks.pop(_fileno(fd), None)

    def poll(self, timeout: Any = None, /) -> list[tuple[int, int]]:
        """[(fd, events)], after at most `timeout` milliseconds; None or a negative number: any time."""
        inner = self._poll
        if timeout is not None and not isinstance(timeout, int | float) and not hasattr(timeout, "__index__"):
            raise TypeError("timeout must be an integer or None")
        if timeout is not None and timeout > _MAX_MILLISECONDS:
            raise OverflowError("timeout is too large")
        if self._polling:
            raise RuntimeError("concurrent poll() invocation")
        self._polling = True
        try:
            found = _until(
                lambda seconds: inner.poll(_math.ceil(seconds * 1000)) or None,
                lambda: self._masks,
                _deadline(None if timeout is None else timeout / 1000),
            )
        finally:
            self._polling = False
        return found or []


if _epoll is not None:

    class epoll:
        """As `select.epoll`: the same descriptor in the kernel, but `poll` parks."""

        def __init__(self, sizehint: int = -1, flags: int = 0) -> None:
            self._epoll = _epoll(sizehint, flags)

        @classmethod
        def fromfd(cls, fd: int, /) -> epoll:
            """An epoll object on an existing descriptor."""
            made = cls.__new__(cls)
            made._epoll = _epoll.fromfd(fd)
            return made

        def __getattr__(self, name: str) -> Any:  # register, modify, unregister, fileno, closed
            return getattr(self._epoll, name)

        def close(self) -> None:
            """Close the descriptor; the waiters get EBADF."""
            if not self._epoll.closed:
                _running().hub.io.unregister_fd(self._epoll.fileno())
            self._epoll.close()

        def __enter__(self) -> epoll:
            self._epoll.__enter__()
            return self

        def __exit__(self, *error: object) -> None:
            self.close()

        def poll(self, timeout: float | None = None, maxevents: int = -1) -> list[tuple[int, int]]:
            """[(fd, events)], after at most `timeout` seconds; None or a negative number: any time."""
            deadline = _deadline(timeout)
            found: list[tuple[int, int]] = self._epoll.poll(0, maxevents)
            if found or timeout == 0:
                _sleep(0)
                return found
            hub: Any = _running().hub
            try:
                while not found:
                    hub.wait_readable(self._epoll.fileno(), deadline)
                    found = self._epoll.poll(0, maxevents)
            except TimeoutError:
                found = self._epoll.poll(0, maxevents)
            return found


__getattr__ = complete(globals(), _original)
