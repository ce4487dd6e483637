"""SIGINT belongs to main, not to whichever green thread runs just now; and signals in general, as the hub sees them.

Law: KeyboardInterrupt is raised by the handler only where the program's own code runs. In the middle of the hub's it
would lose whom the hub has just taken from a queue; there, and in other green threads, it is left for main's next park.
A second SIGINT, while the first has not got through since somebody computes, hits that somebody.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from greenlet import getcurrent

from greenserve.hub.calls import Throw
from greenserve.hub.parking import Carrier, Parking

_PACKAGE = __name__.rpartition(".")[0] + "."

_harmless: set[Any] = {signal.default_int_handler}
_hub: list[Parking] = []  # the main OS thread's; at most one


def claim(hub: Parking) -> None:
    """Make signals wake `hub`, and SIGINT its main's, where nobody else has a handler. Does nothing outside the main OS
    thread.
    """
    if hub.wakeup.watch_signals():
        _hub[:] = [hub]
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, on_sigint)


def release(hub: Parking) -> None:
    """`hub` is closed."""
    if hub in _hub:
        _hub.clear()


def watch_again() -> None:
    """Let signals wake the hub, after somebody else has had them for a while. The main OS thread's only."""
    for hub in _hub:
        hub.wakeup.watch_signals()


def claimed() -> bool:
    """Whether a hub has taken SIGINT, or would have if nobody else had a handler."""
    return bool(_hub)


def on_sigint(signum: int, frame: FrameType | None) -> None:
    """The handler."""
    hub = _hub[0] if _hub else None
    if hub is None:
        raise KeyboardInterrupt
    in_hub = frame is not None and str(frame.f_globals.get("__name__", "")).startswith(_PACKAGE)
    on_its_way = _on_its_way(hub)
    if not in_hub and (on_its_way or _stands_for_main(hub)):
        raise KeyboardInterrupt
    if not on_its_way:
        if getcurrent() is hub.main:
            hub.throw(hub.main, KeyboardInterrupt())
        else:
            hub.throw_into_main(KeyboardInterrupt())


_harmless.add(on_sigint)


def _stands_for_main(hub: Parking) -> bool:
    """Whether main runs, or a raw greenlet that it has switched to: then none of the hub's is among its ancestors."""
    greenlet: Any = getcurrent()
    while greenlet is not None and greenlet is not hub.main:
        if greenlet is hub.loop or isinstance(greenlet, Carrier):
            return False
        greenlet = greenlet.parent
    return True


def _on_its_way(hub: Parking) -> bool:
    if any(isinstance(error, KeyboardInterrupt) for error in hub.main.pending or ()):
        return True
    return any(isinstance(item, Throw) and item.concerns(hub.main, KeyboardInterrupt) for item in list(hub.ready))


def ignore_for_deadlocks(handler: Callable[[int, FrameType | None], object]) -> None:
    """Take note of a signal handler that never makes anything ready."""
    _harmless.add(handler)


def may_come() -> bool:
    """Whether the program has signal handlers of its own, which may make something ready."""
    handlers = map(signal.getsignal, signal.valid_signals())
    return any(callable(handler) and handler not in _harmless for handler in handlers)
