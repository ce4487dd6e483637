"""Hubs for tests: none of them leaves green threads, timers or descriptors to the next."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from greenserve.hub.core.hub import Hub
from greenserve.testing import VirtualClock, virtual_time


@pytest.fixture
def clock(hub: Hub) -> Iterator[VirtualClock]:
    """A fresh hub in virtual time; the clock."""
    with virtual_time() as clock:
        yield clock
