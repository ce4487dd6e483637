"""Spawning green threads: now, later, and in another OS thread.

Strategy: when no carrier is idle, a green thread gets one as it begins, not as it is spawned. So a thousand short
functions that are spawned together run one after another in the same few carriers; a thousand carriers made first would
each be ten times as dear as a function's run.
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
from greenserve.hub.greenthread import _NEW, GreenThread, getcurrent

P = ParamSpec("P")
T = TypeVar("T")


def spawn(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> GreenThread[T]:
    """Run `function(*args, **kwargs)` in a new green thread, soon: when the caller waits for something.

    It inherits a copy of the caller's contextvars. Returns the `GreenThread`.

    >>> greenserve.spawn(pow, 2, 10).wait()
    1024
    """
    try:
        caller = sys._getframe(1)
    except ValueError:  # an OS thread, or an atexit call, of spawn itself
        caller = None
    return spawn_at(caller, function, args, kwargs)


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
    thread = GreenThread(hub, function, args, kwargs, sys._getframe(1).f_back)
    context = copy_context()

    def start() -> None:
        thread._start(context)

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
        if thread._state is _NEW:
            # Not a switch from here: this frame would keep the thread alive until the hub has its next turn.
            thread.hub.run_next(thread._take_carrier(self._context))

    def unbegun(self) -> bool:
        """Whether the thread has yet to begin. If its carrier is ready already, that will be before our next turn."""
        return self._thread._state is _NEW

    def cancel(self) -> None:
        """The hub is closed: the threads that wait for this one must not wait forever."""
        self._thread.cancel()


def spawn_at(
    birthplace: FrameType | None, function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> GreenThread[T]:
    """`spawn(function, *args, **kwargs)` on behalf of the frame `birthplace`."""
    greenlet: Any = _getcurrent()
    try:
        hub = greenlet.hub
    except (AttributeError, HubError):
        hub = current_hub()
    thread = GreenThread(hub, function, args, kwargs, birthplace)
    make_ready = hub.make_ready
    if hub.idle_carriers:  # a carrier in the ready queue is switched to directly, a Start by way of the hub
        make_ready(thread._take_carrier(copy_context()))
    else:
        make_ready(Start(thread, copy_context()))
    if hub.sleeping:  # we are in a signal handler
        hub.wakeup.wake()
    return thread
