"""Spawning green threads: now, later, in another OS thread, and many at once.

Strategy of `spawn_at`, which is for pools and task groups: a green thread gets its carrier when it begins, not when it
is spawned. So a thousand short functions that are spawned together run one after another in the same few carriers,
where `spawn` would make a thousand of them first, each ten times as dear as a function's run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import Context, copy_context
from types import FrameType
from typing import Any, ParamSpec, TypeVar

from greenlet import getcurrent as _getcurrent

from greenserve.errors import HubError
from greenserve.hub.core.hub import Hub, current_hub, running
from greenserve.hub.core.ready import HubCall
from greenserve.hub.greenthread import GreenThread, getcurrent

P = ParamSpec("P")
T = TypeVar("T")


def spawn(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> GreenThread[T]:
    """Run `function(*args, **kwargs)` in a new green thread, soon: when the caller waits for something.

    It inherits a copy of the caller's contextvars. Returns the `GreenThread`.

    >>> greenserve.spawn(pow, 2, 10).wait()
    1024
    """
    greenlet: Any = _getcurrent()
    try:
        hub = greenlet.hub
    except (AttributeError, HubError):
        hub = current_hub()
    thread = GreenThread(hub, function, args, kwargs)
    try:
        caller = sys._getframe(1)
    except ValueError:  # an OS thread, or an atexit call, of spawn itself
        pass
    else:
        thread._birth = (caller.f_code, caller.f_lasti)
    carrier = hub.take_carrier(thread)
    carrier.gr_context = copy_context()
    carrier.thread = thread
    thread._carrier = carrier
    make_ready = hub.make_ready
    make_ready(carrier)
    if hub.sleeping:  # we are in a signal handler
        hub.wakeup.wake()
    return thread


spawn_n = spawn


def call_in(hub: Hub, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call in a green thread of another OS thread's hub, and wait for the end. Returns and raises what it does."""
    thread = GreenThread(hub, function, args, kwargs)
    thread.quiet = True
    hub.call_soon_threadsafe(thread._start)
    here = running().hub
    here.external += 1  # until that thread has begun, nothing shows that it will wake us
    try:
        return thread.wait()
    except BaseException:
        thread.kill()  # ours was killed, or timed out
        raise
    finally:
        here.external -= 1


def spawn_after(seconds: float, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> GreenThread[T]:
    """Like `spawn`, after `seconds`. `cancel` on what is returned forgets it.

    >>> thread = greenserve.spawn_after(60, print, "a minute later")
    >>> thread.cancel()
    >>> thread.dead
    True
    """
    return _spawn_later(seconds, function, args, kwargs)


def spawn_after_local(seconds: float, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> GreenThread[T]:
    """Like `spawn_after`, but forgotten when the green thread that calls this has ended before.

    >>> def request():
    ...     greenserve.spawn_after_local(60, print, "the request takes long")
    ...     return "done"
    >>> greenserve.spawn(request).wait()  # whose end forgets the message
    'done'
    """
    thread = _spawn_later(seconds, function, args, kwargs)
    caller = getcurrent()

    def cancel(_: object) -> None:
        thread.cancel()

    caller.link(cancel)
    thread.link(lambda _: caller.unlink(cancel))
    return thread


def _spawn_later(
    seconds: float, function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> GreenThread[T]:
    hub = current_hub()
    thread = GreenThread(hub, function, args, kwargs)
    caller = sys._getframe(1).f_back
    if caller is not None:
        thread._birth = (caller.f_code, caller.f_lasti)
    context = copy_context()

    def start() -> None:
        thread._start()
        thread._carrier.gr_context = context

    thread._timer = hub.call_later(seconds, start)
    return thread


class Start(HubCall):
    """A green thread's beginning, in the ready queue."""

    __slots__ = ("_context", "_thread")

    def __init__(self, thread: GreenThread[Any], context: Context) -> None:
        self._thread = thread
        self._context = context

    def switch(self) -> None:
        """Begin, unless it was killed before."""
        thread = self._thread
        if thread._function is None:  # `dead`, but that is for the program's loops
            return
        carrier = thread.hub.take_carrier(thread)
        carrier.gr_context = self._context
        carrier.thread = thread
        thread._carrier = carrier
        try:
            carrier.switch()
        except MemoryError as error:
            if carrier or carrier.dead:  # it was started
                raise
            thread.fail(error)

    def unbegun(self) -> bool:
        """Whether the thread has yet to begin, and has no carrier."""
        return self._thread._carrier is None and self._thread._function is not None

    def cancel(self) -> None:
        """The hub is closed: the threads that wait for this one must not wait forever."""
        self._thread.cancel()


def spawn_at(
    frame: FrameType, function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> GreenThread[T]:
    """`spawn(function, *args, **kwargs)` with `frame` as the place of birth."""
    greenlet: Any = _getcurrent()
    try:
        hub = greenlet.hub
    except (AttributeError, HubError):
        hub = current_hub()
    thread = GreenThread(hub, function, args, kwargs)
    thread._birth = (frame.f_code, frame.f_lasti)
    if hub.idle_carriers:  # a carrier in the ready queue is switched to directly, a Start by way of the hub
        carrier = hub.take_carrier(thread)
        carrier.gr_context = copy_context()
        carrier.thread = thread
        thread._carrier = carrier
        hub.make_ready(carrier)
    else:
        hub.make_ready(Start(thread, copy_context()))
    if hub.sleeping:  # we are in a signal handler
        hub.wakeup.wake()
    return thread
