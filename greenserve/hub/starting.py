"""Spawning many at once, for pools and task groups: a green thread gets its carrier when it begins, not when it is
spawned.

So a thousand short functions that are spawned together run one after another in the same few carriers, where
`spawn` would make a thousand of them first, each ten times as dear as a function's run.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context, copy_context
from types import FrameType
from typing import Any, TypeVar

from greenlet import getcurrent as _getcurrent

from greenserve.errors import HubError
from greenserve.hub.core.hub import current_hub
from greenserve.hub.core.ready import HubCall
from greenserve.hub.greenthread import GreenThread

T = TypeVar("T")


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
