"""The standard library's own tests for threading's primitives, with OS threads, on ours."""

from __future__ import annotations

import pytest

lock_tests = pytest.importorskip("test.lock_tests", reason="this Python comes without its own tests")

from greenserve.hub.sync.condition import Barrier, Condition  # noqa: E402
from greenserve.hub.sync.event import Flag  # noqa: E402
from greenserve.hub.sync.lock import BoundedSemaphore, Lock, Semaphore  # noqa: E402
from greenserve.hub.sync.rlock import RLock  # noqa: E402


class TestLock(lock_tests.LockTests):
    locktype = staticmethod(Lock)


class TestRLock(lock_tests.RLockTests):
    locktype = staticmethod(RLock)


class TestFlag(lock_tests.EventTests):
    eventtype = staticmethod(Flag)
    test_repr = None  # it is not called Event
    test_at_fork_reinit = None  # looks at a private attribute


class TestCondition(lock_tests.ConditionTests):
    condtype = staticmethod(Condition)


class TestSemaphore(lock_tests.SemaphoreTests):
    semtype = staticmethod(Semaphore)


class TestBoundedSemaphore(lock_tests.BoundedSemaphoreTests):
    semtype = staticmethod(BoundedSemaphore)


class TestBarrier(lock_tests.BarrierTests):
    barriertype = staticmethod(Barrier)
