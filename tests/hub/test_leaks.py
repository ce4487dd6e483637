"""What waits and ends, in whatever way, leaves nothing behind: neither in the lines nor anywhere else."""

from __future__ import annotations

import contextlib
import gc

import pytest

from greenserve.hub import (
    Channel,
    Condition,
    Event,
    Flag,
    GreenPool,
    Lock,
    PriorityQueue,
    Queue,
    RLock,
    Semaphore,
    TaskGroup,
    Timeout,
    local,
    sleep,
    spawn,
)
from greenserve.testing import virtual_time

LOCK, RLOCK, NONE_FREE = Lock(), RLock(), Semaphore(0)
EMPTY, LEAST, CHANNEL = Queue(), PriorityQueue(), Channel()
EVENT, FLAG, CONDITION = Event(), Flag(), Condition()
LOCAL, POOL = local(), GreenPool(1)


def condition():
    with CONDITION:
        CONDITION.wait()


def group():
    with TaskGroup() as children:
        children.spawn(sleep, 1000)


def attributes():
    LOCAL.x = object()
    sleep(1000)


WAITS = [
    LOCK.acquire,
    RLOCK.acquire,
    NONE_FREE.acquire,
    EMPTY.get,
    LEAST.get,
    CHANNEL.get,
    lambda: CHANNEL.put(1),
    EVENT.wait,
    FLAG.wait,
    condition,
    group,
    attributes,
    lambda: list(POOL.imap(sleep, [1000])),
]


def timed_out(wait):
    with Timeout(1, False):
        wait()


def killed(wait):
    thread = spawn(wait)
    sleep(1)
    thread.kill()
    with contextlib.suppress(BaseException):
        thread.join()


@pytest.mark.parametrize("end", [timed_out, killed])
def test_waits_that_end_early_grow_nothing(end):
    with virtual_time(), LOCK:
        spawn(RLOCK.acquire).wait()

        def cycle(times):
            for _ in range(times):
                for wait in WAITS:
                    end(wait)
            sleep(2000)  # the timers that are left, and what an imap has spawned
            gc.collect()
            return len(gc.get_objects())

        cycle(20)
        before = cycle(1)
        assert cycle(100) - before < 100
        hold = RLOCK._hold
    hold.clear()
