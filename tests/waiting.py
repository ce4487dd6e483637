"""Waiting for what another thread, green thread or process does."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import greenserve

PATIENCE = 20.0  # seconds; what takes longer has failed


def until(
    condition: Callable[[], object], *, step: float = 0.001, sleep: Callable[[float], object] = greenserve.sleep
) -> None:
    """Let other green threads run until the condition holds. step: seconds between two looks."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE:g} s in vain"
        sleep(step)


until_blocking = partial(until, sleep=time.sleep)
"""The same where this OS thread has nothing else to run: what is waited for happens in another one."""
