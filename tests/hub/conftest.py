"""Hubs for tests: none of them leaves green threads, timers or descriptors to the next."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from greenserve.hub.core.hub import Hub, use_hub
from tests.hub.support import VirtualTime


@pytest.fixture
def virtual() -> Iterator[VirtualTime]:
    """A fresh hub whose clock stands still while any thread runs, and jumps to the next deadline when all wait."""
    time = VirtualTime()
    time.hub = use_hub(Hub(clock=time.clock, poller=time))
    yield time
    use_hub(Hub())
