"""Polling: by a wait for what has no descriptor, and by a program's loop over a call that never waits."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from greenserve.hub.core.busy_wait import relax
from greenserve.hub.core.hub import Hub
from greenserve.hub.greenthread import sleep

T = TypeVar("T")

FIRST_WAIT = 0.0005  # seconds between the first two polls; each wait is twice the one before
LONGEST_WAIT = 0.02


def poll_until_answered(hub: Hub, ask: Callable[[], T | None], timeout: float | None = None) -> T | None:
    """The first answer of `ask()` that is not None; None after `timeout` seconds. Sleeps in between."""
    answer = ask()
    deadline = None if timeout is None else hub.clock() + timeout
    wait = FIRST_WAIT
    while answer is None:
        if deadline is not None:
            left = deadline - hub.clock()
            if left <= 0:
                break
            wait = min(wait, left)
        sleep(wait)
        answer = ask()
        wait = min(2 * wait, LONGEST_WAIT)
    return answer


_POLLS = {
    "threading": ("active_count", "enumerate"),
    # `get` and `put` fail by leaving a `with` of a Condition, which sees to it.
    "queue": ("Queue.qsize", "Queue.empty", "Queue.full"),
    "concurrent.futures._base": ("Future.done", "Future.running", "Future.cancelled"),
    "multiprocessing.synchronize": ("Event.is_set",),
}
"""Functions of the standard library that never wait, and that programs poll, by module."""


def relax_polls(module: Any) -> None:
    """Have the module's polled functions let other green threads run now and then (hub/core/busy_wait.py)."""
    for path in _POLLS[module.__name__]:
        owner, _, name = path.rpartition(".")
        holder = getattr(module, owner) if owner else module
        setattr(holder, name, _relaxing(getattr(holder, name)))


def _relaxing(polled: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(polled)
    def poll(*args: Any, **kwargs: Any) -> Any:
        relax()
        return polled(*args, **kwargs)

    return poll
