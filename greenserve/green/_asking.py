"""Waiting for what has no descriptor: a wait asks, and asks again, ever less often, while other green threads run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from greenserve.hub.greenthread import sleep
from greenserve.hub.hub import Hub

T = TypeVar("T")

FIRST_WAIT = 0.0005  # seconds between the first two questions; each wait is twice the one before
LONGEST_WAIT = 0.02


def ask_until_answered(hub: Hub, ask: Callable[[], T | None], timeout: float | None = None) -> T | None:
    """The first answer of `ask()` that is not None; None after `timeout` seconds."""
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
