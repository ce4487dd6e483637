"""Signals belong to main, not to whichever green thread runs just now, as the documentation of `signal` has it.

SIGINT raises KeyboardInterrupt in main. A `MainHandler` calls a program's own handler in main. Where main runs the
program's own code, both do so at once. In the middle of the hub's code, or while another green thread or the hub runs,
it is left for main's park: the present one or the next. A second signal, while the first has not got through since a
green thread computes, hits the green thread that computes.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, ClassVar

from greenlet import getcurrent

from greenserve.hub.core.deadlock import in_hub
from greenserve.hub.core.greenlets import Carrier, Loop
from greenserve.hub.core.ready import Throw
from greenserve.hub.core.scheduler import Scheduler

set_handler = signal.signal
"""The interpreter's own, also where `signal` is patched: for handlers that are right in any greenlet."""
get_handler = signal.getsignal

_harmless: set[Any] = {signal.default_int_handler}
_hub: list[Scheduler] = []  # the main OS thread's; at most one


def claim(hub: Scheduler) -> None:
    """Make signals wake `hub`, and SIGINT its main's, where no other handler is set. Does nothing outside the main OS
    thread.
    """
    if hub.wakeup.watch_signals():
        _hub[:] = [hub]
        if get_handler(signal.SIGINT) is signal.default_int_handler:
            set_handler(signal.SIGINT, on_sigint)


def release(hub: Scheduler) -> None:
    """`hub` is closed."""
    if hub in _hub:
        _hub.clear()


def watch_again() -> None:
    """Let signals wake the hub, after other code has had them for a while. The main OS thread's only."""
    for hub in _hub:
        hub.wakeup.watch_signals()


def is_wakeup_fd(fd: int) -> bool:
    """Whether signals that are written to `fd` wake the hub."""
    return any(hub.wakeup.is_written_to(fd) for hub in _hub)


def is_in_green_thread() -> bool:
    """Whether a green thread runs, or a raw greenlet that a green thread has made."""
    greenlet: Any = getcurrent()
    while greenlet is not None and not isinstance(greenlet, Carrier):
        greenlet = greenlet.parent
    return greenlet is not None


def claimed() -> bool:
    """Whether a hub has taken SIGINT, or would have if no other handler were set."""
    return bool(_hub)


def on_sigint(signum: int, frame: FrameType | None) -> None:
    """The handler."""
    hub = _hub[0] if _hub else None
    if hub is None:
        raise KeyboardInterrupt
    on_its_way = _on_its_way(hub)
    if not _in_hub(frame) and (on_its_way or _stands_for_main(hub)):
        raise KeyboardInterrupt
    if not on_its_way:
        if getcurrent() is hub.main:
            hub.throw(hub.main, KeyboardInterrupt())
        else:
            hub.throw_into_main(KeyboardInterrupt())


_harmless.add(on_sigint)


class MainHandler:
    """Calls `handler` in main: a program's signal handler, which may wait there, and raise."""

    calls: ClassVar[int] = 0  # how often handlers have returned

    def __init__(self, handler: Callable[[int, FrameType | None], object]) -> None:
        self.handler = handler
        self._called_for: set[int] = set()  # signals for which a call in main is on its way

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        """The handler that the interpreter knows."""
        hub = _hub[0] if _hub else None
        if hub is None or (not _in_hub(frame) and (_stands_for_main(hub) or signum in self._called_for)):
            self._call(signum, frame)
        else:
            self._called_for.add(signum)
            hub.interrupt(partial(self._in_main, signum, frame))

    def _in_main(self, signum: int, frame: FrameType | None) -> None:
        self._called_for.discard(signum)
        self._call(signum, frame)

    def _call(self, signum: int, frame: FrameType | None) -> None:
        self.handler(signum, frame)
        MainHandler.calls += 1


def _in_hub(frame: FrameType | None) -> bool:
    """Whether a signal has come in the middle of the hub's code, or in its greenlet, where nothing may wait."""
    return (frame is not None and in_hub(frame)) or isinstance(getcurrent(), Loop)


def _stands_for_main(hub: Scheduler) -> bool:
    """Whether main runs, or a raw greenlet that it has switched to: then none of the hub's is among its ancestors."""
    greenlet: Any = getcurrent()
    while greenlet is not None and greenlet is not hub.main:
        if greenlet is hub.loop or isinstance(greenlet, Carrier):
            return False
        greenlet = greenlet.parent
    return True


def _on_its_way(hub: Scheduler) -> bool:
    if any(isinstance(error, KeyboardInterrupt) for error in hub.main.pending or ()):
        return True
    return any(isinstance(item, Throw) and item.concerns(hub.main, KeyboardInterrupt) for item in list(hub.ready))


def is_anywhere_right(handler: Any) -> bool:
    """Whether a handler need not run in main: the hub's own are, and the interpreter's for SIGINT is taken by it."""
    return handler in _harmless or isinstance(handler, MainHandler)


def ignore_for_deadlocks(handler: Callable[[int, FrameType | None], object]) -> None:
    """Take note of a signal handler that never makes anything ready."""
    _harmless.add(handler)


def may_come() -> bool:
    """Whether the program has signal handlers of its own, which may make something ready."""
    handlers = map(get_handler, signal.valid_signals())
    return any(callable(handler) and handler not in _harmless for handler in handlers)
