"""A fresh hub for each test, in virtual time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from greenserve.hub.core.hub import current_hub
from greenserve.testing import VirtualClock, virtual_time
from tests.rooms.support import FakeBroker, Process


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    """A hub whose clock jumps instead of waiting."""
    current_hub()  # so that there is one to go back to
    with virtual_time() as clock:
        yield clock


@pytest.fixture
def broker() -> FakeBroker:
    return FakeBroker()


@pytest.fixture
def here(clock: VirtualClock, broker: FakeBroker) -> Process:
    return Process(broker)


@pytest.fixture
def there(clock: VirtualClock, broker: FakeBroker) -> Process:
    return Process(broker)
