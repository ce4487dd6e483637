"""When a worker is to be replaced."""

from __future__ import annotations

import pytest

from greenserve.server.member import Limits
from greenserve.settings import Settings


@pytest.mark.parametrize(
    ("requests", "age", "memory", "says"),
    [
        (9, 9.0, 90, ""),
        (10, 1.0, 1, "it has served 10 requests (max_requests)"),
        (1, 60.0, 1, "it has lived for 60 s (max_worker_age)"),
        (1, 9.0, 101 << 20, "it holds 101 MiB (max_worker_memory)"),
        (1, 1.0, 101 << 20, ""),
    ],
)
def test_a_limit_that_is_exceeded_is_named_but_memory_only_after_some_seconds(
    requests: int, age: float, memory: int, says: str
) -> None:
    assert Limits(requests=10, age=60.0, memory=100 << 20).exceeded(requests, age, memory) == says


def test_without_limits_a_worker_lives_for_ever() -> None:
    assert Limits.of(Settings()).exceeded(10**12, 1e9, 1 << 50) == ""


def test_each_worker_has_its_own_number_of_requests() -> None:
    settings = Settings(max_requests=1000, max_requests_jitter=1000)
    found = {Limits.of(settings).requests for _ in range(50)}
    assert len(found) > 10
    assert 1000 <= min(found) <= max(found) <= 2000
