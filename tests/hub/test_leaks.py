"""What waits and ends, in whatever way, leaves nothing behind: neither in the lines nor anywhere else."""

from __future__ import annotations

import collections
import contextlib
import gc
import os
import subprocess
import sys

import pytest

from greenserve.green import os as green_os
from greenserve.green import select
from greenserve.hub import (
    Barrier,
    BrokenBarrierError,
    Channel,
    Condition,
    Empty,
    Event,
    Flag,
    Full,
    GreenPool,
    Lock,
    PriorityQueue,
    Queue,
    RLock,
    Semaphore,
    TaskGroup,
    Timeout,
    TokenPool,
    current_hub,
    getcurrent,
    joinall,
    local,
    sleep,
    spawn,
    spawn_after_local,
)
from greenserve.hub.core import originals
from greenserve.hub.threadpool import ThreadPool
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


WITH_TIMEOUT = {
    "join": lambda ends: ends["thread"].join(timeout=0.001),
    "wait": lambda ends: ends["thread"].wait(timeout=0.001),
    "joinall": lambda ends: joinall([ends["thread"]], timeout=0.001),
    "call": lambda ends: ends["call"].wait(current_hub().clock() + 0.001),
    "lock": lambda ends: ends["lock"].acquire(timeout=0.001),
    "rlock": lambda ends: ends["rlock"].acquire(timeout=0.001),
    "semaphore": lambda ends: ends["semaphore"].acquire(timeout=0.001),
    "event": lambda ends: ends["event"].wait(0.001),
    "flag": lambda ends: ends["flag"].wait(0.001),
    "get": lambda ends: ends["queue"].get(timeout=0.001),
    "put": lambda ends: ends["channel"].put(1, timeout=0.001),
    "queue.join": lambda ends: ends["busy"].join(0.001),
    "pool": lambda ends: ends["pool"].get(timeout=0.001),
    "barrier": lambda ends: ends["barrier"].wait(0.001),
    "select": lambda ends: select.select([ends["quiet"]], [], [], 0.001),
    "waitpid": lambda ends: green_os.wait_for_child(ends["child"].pid, current_hub().clock() + 0.001),
    "any child": lambda ends: green_os.wait_for_child(-1, current_hub().clock() + 0.001),
}


@pytest.fixture
def ends():
    """What never ends while it is waited for."""
    go_on = originals.allocate_lock()
    go_on.acquire()
    rlock, busy, pool = RLock(), Queue(), TokenPool(max_size=1)
    locked = Lock()
    locked.acquire()
    holder = spawn(lambda: rlock.acquire() and sleep(1000))
    sleep()
    busy.put(1)
    pool.get()
    quiet, other = os.pipe()
    child = subprocess.Popen(["sleep", "60"])
    call = ThreadPool(1).submit(go_on.acquire)
    yield {
        "thread": holder,
        "call": call,
        "lock": locked,
        "rlock": rlock,
        "semaphore": Semaphore(0),
        "event": Event(),
        "flag": Flag(),
        "queue": Queue(),
        "channel": Channel(),
        "busy": busy,
        "pool": pool,
        "barrier": Barrier(2),
        "quiet": quiet,
        "child": child,
    }
    go_on.release()
    call.wait()
    holder.kill()
    child.kill()
    child.wait()
    os.close(quiet)
    os.close(other)


def objects():
    gc.collect()
    # A list of dead tokens is one object that grows: what the collector does not follow counts too.
    return (
        len(gc.get_objects()),
        sys.getrefcount(current_hub()),
        sum(len(each) for each in gc.get_objects() if type(each) in (list, dict, set, collections.deque)),
    )


@pytest.mark.parametrize("wait", WITH_TIMEOUT.values(), ids=WITH_TIMEOUT.keys())
@pytest.mark.parametrize("end", ["timeout", "kill"])
def test_waits_for_one_thing_again_and_again_leave_nothing_with_it(wait, end, ends):
    def once():
        if end == "timeout":
            with contextlib.suppress(TimeoutError, Empty, Full, BrokenBarrierError):
                wait(ends)
        else:
            thread = spawn(wait, ends)
            sleep()
            thread.kill()
            thread.join()

    for _ in range(5):
        once()
    before = objects()
    for _ in range(60):
        once()
    growth = [after - first for first, after in zip(before, objects(), strict=True)]
    assert max(growth) < 50, growth


def test_links_of_local_timers_go_with_them():
    def request():
        for _ in range(100):
            spawn_after_local(0, int)
            spawn_after_local(1000, int).cancel()
            sleep()
        sleep(0.01)
        left = spawn_after_local(1000, int)
        return len(getcurrent()._ends), left

    links, left = spawn(request).wait()
    assert links == 2  # that of `left`, and the waiter outside
    assert left.dead
    assert not left._ends
