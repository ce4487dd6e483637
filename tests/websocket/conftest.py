"""Hubs for tests: none of them leaves green threads, timers or descriptors to the next."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from greenserve.hub.hub import Hub, use_hub
from greenserve.testing import VirtualClock, virtual_time


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A fresh hub of this OS thread."""
    yield use_hub(Hub())
    use_hub(Hub())


@pytest.fixture
def clock(hub: Hub) -> Iterator[VirtualClock]:
    """A fresh hub in virtual time; the clock."""
    with virtual_time() as clock:
        yield clock
