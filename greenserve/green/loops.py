"""asyncio's event loops beside green threads: one that has nothing to do parks its green thread, and blocks no other.

Strategy: asyncio keeps the real primitives, and so its real selector; only the wait for the selector's own descriptor
(epoll's, kqueue's) is the hub's, in an OS thread that has one. Which loop is running is known per OS thread: so it is
taken back for the time of the wait, and other green threads, which may run loops of their own meanwhile, do not see it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from greenserve.hub.greenthread import sleep
from greenserve.hub.hub import Hub, hub_here

NAMES = ("EpollSelector", "KqueueSelector")  # the selectors that are a descriptor themselves


def parking(real: Any) -> Any:
    """A subclass of a real selector class whose `select` parks."""

    def select(self: Any, timeout: float | None = None) -> Any:
        """As the real one; where there are other green threads, these run meanwhile."""
        hub = hub_here()
        if hub is None:
            return real.select(self, timeout)
        found = real.select(self, 0)
        with _no_loop_running():
            if found or (timeout is not None and timeout <= 0):
                sleep(0)  # a loop that always has something to do must not keep the others from running
                return found or real.select(self, 0)
            deadline = None if timeout is None else hub.clock() + timeout
            with contextlib.suppress(TimeoutError):
                hub.wait_readable(self.fileno(), deadline)
        return real.select(self, 0)

    def close(self: Any) -> None:
        """As the real one; the hub forgets the descriptor."""
        hub = hub_here()
        if hub is not None:
            _forget(hub, self)
        real.close(self)

    return type(real.__name__, (real,), {"select": select, "close": close, "__doc__": real.__doc__})


def _forget(hub: Hub, selector: Any) -> None:
    try:
        descriptor = hub.descriptors.get(selector.fileno())
    except ValueError:  # closed before
        return
    if descriptor is not None:
        hub.unregister(descriptor)


@contextlib.contextmanager
def _no_loop_running() -> Iterator[None]:
    """What asyncio keeps per OS thread of the loop that runs, put aside for the block."""
    events: Any = sys.modules["asyncio.events"]
    loop = events._get_running_loop()
    hooks = sys.get_asyncgen_hooks()
    events._set_running_loop(None)
    sys.set_asyncgen_hooks(None, None)
    try:
        yield
    finally:
        sys.set_asyncgen_hooks(*hooks)
        events._set_running_loop(loop)


def selectors_for_loops(real: ModuleType) -> dict[str, Any]:
    """What to lay over the real `selectors` for asyncio."""
    laid = {name: parking(getattr(real, name)) for name in NAMES if hasattr(real, name)}
    default = vars(real)["DefaultSelector"].__name__
    if default in laid:
        laid["DefaultSelector"] = laid[default]
    return laid
