"""Random programs on green threads, in random schedules, against what must hold: nothing lost or twice, order kept."""

from __future__ import annotations

import heapq

from hypothesis import given
from hypothesis import strategies as st

from greenserve.hub import (
    BoundedSemaphore,
    Channel,
    Condition,
    Empty,
    Full,
    GreenPool,
    LifoQueue,
    LightQueue,
    Lock,
    PriorityQueue,
    Queue,
    RLock,
    Semaphore,
    ShutDown,
    Timeout,
    sleep,
    spawn,
)
from greenserve.testing import virtual_time
from tests.hub.test_queue import HookedQueue

SEEDS = st.one_of(st.none(), st.integers(0, 1 << 30))
PAUSES = st.sampled_from([None, 0, 0.5, 1, 2])
PATIENCE = st.sampled_from([None, None, 0, 0.5, 1.5])  # the timeout of a wait


def pause(seconds):
    if seconds is not None:
        sleep(seconds)


class Story:
    """What a random program did, written down by its threads."""

    def __init__(self):
        self.put, self.got = [], []
        self.asked, self.served = [], []
        self.inside = 0
        self.most = 0


# One step of a queue program: what, how long it may wait, a pause before it.
QUEUE_STEP = st.tuples(st.sampled_from(["put", "get", "get", "put", "timeout get"]), PATIENCE, PAUSES)
PROGRAM = st.lists(st.lists(QUEUE_STEP, max_size=8), min_size=1, max_size=6)
KILLS = st.lists(st.tuples(st.integers(0, 5), st.sampled_from([0, 0, 0.5, 1, 1.5, 2])), max_size=4)
MAKERS = st.sampled_from([Queue, LightQueue, LifoQueue, PriorityQueue, HookedQueue])
SIZES = st.sampled_from([None, None, 1, 2, 5, 0])


def queue_step(queue, story, item, what, timeout):
    try:
        if what == "put":
            queue.put(item, timeout=timeout)
            story.put.append(item)
        elif what == "get":
            story.got.append(queue.get(timeout=timeout))
        else:
            with Timeout(timeout, False):
                story.got.append(queue.get())
    except (Empty, Full):
        pass


def run_killing(bodies, kills):
    """Run green threads, kill some at given times; at the end kill those that wait for ever."""
    threads = [spawn(body) for body in bodies]
    for number, after in kills:
        pause(after)
        threads[number % len(threads)].kill(block=False)
    sleep(100)
    for thread in threads:
        thread.kill()
    return threads


@given(MAKERS, SIZES, PROGRAM, KILLS, SEEDS)
def test_no_item_is_lost_and_none_comes_twice(make, size, program, kills, seed):
    with virtual_time(seed):
        queue, story = make(size), Story()
        offered = set()

        def body(number, steps):
            for n, (what, timeout, before) in enumerate(steps):
                pause(before)
                if what == "put":
                    offered.add((number, n))
                queue_step(queue, story, (number, n), what, timeout)
                if size:
                    assert queue.qsize() <= size

        run_killing([lambda n=n, s=s: body(n, s) for n, s in enumerate(program)], kills)
        left = [queue.get_nowait() for _ in range(queue.qsize())]
        came = story.got + left
        assert len(came) == len(set(came))
        assert set(came) <= offered
        # A put may be killed after its item was taken; but what a put has returned for must be there.
        assert set(story.put) <= set(came)
        assert queue.getting() == queue.putting() == 0


@given(st.sampled_from([Queue, LightQueue, HookedQueue]), st.sampled_from([None, 1, 2, 0]), PROGRAM, SEEDS)
def test_items_come_out_in_the_order_in_which_they_were_put(make, size, program, seed):
    with virtual_time(seed):
        queue, story = make(size), Story()

        def putter(number, steps):
            for n, (_, _, before) in enumerate(steps):
                pause(before)
                story.asked.append((number, n))
                queue.put((number, n))

        def getter():
            while True:
                story.got.append(queue.get())
                pause(0)

        taker = spawn(getter)
        for thread in [spawn(putter, n, steps) for n, steps in enumerate(program)]:
            thread.wait()
        sleep(1)
        taker.kill()
        assert story.got == story.asked  # putters are admitted in the order of their coming


class Heap(list):
    def append(self, item):
        heapq.heappush(self, item)


STEPS = st.lists(st.one_of(st.integers(0, 9), st.none()), max_size=40)  # put a number, or get
MODELS = st.sampled_from(
    [
        (Queue, list, lambda items: items.pop(0)),
        (HookedQueue, list, lambda items: items.pop(0)),
        (LifoQueue, list, list.pop),
        (PriorityQueue, Heap, heapq.heappop),
    ]
)


def attempt(function, *args):
    try:
        return function(*args)
    except (Empty, Full) as error:
        return type(error)


@given(MODELS, STEPS, st.sampled_from([None, 1, 3]))
def test_a_queue_agrees_with_its_model_step_by_step(model, steps, size):
    make, kind, take = model
    queue, items = make(size), kind()
    for number in steps:
        full = size is not None and len(items) >= size
        assert queue.full() == full
        if number is None:
            assert attempt(queue.get_nowait) == (take(items) if items else Empty)
        else:
            assert attempt(queue.put_nowait, number) == (Full if full else None)
            if not full:
                items.append(number)
        assert queue.qsize() == len(items)
        assert queue.empty() == (not items)


LOCK_STEP = st.tuples(PATIENCE, PAUSES, PAUSES)
LOCK_PROGRAM = st.lists(st.lists(LOCK_STEP, max_size=6), min_size=1, max_size=6)
GATES = st.sampled_from(
    [(Lock, 1), (RLock, 1), (Semaphore, 1), (lambda: Semaphore(3), 3), (lambda: BoundedSemaphore(2), 2)]
)


@given(GATES, LOCK_PROGRAM, KILLS, SEEDS)
def test_no_permit_is_lost_and_none_given_twice(gate, program, kills, seed):
    make, permits = gate
    with virtual_time(seed):
        lock, story = make(), Story()

        def body(steps):
            for timeout, before, inside in steps:
                pause(before)
                if lock.acquire(timeout=-1 if timeout is None and make in (Lock, RLock) else timeout):
                    story.inside += 1
                    story.most = max(story.most, story.inside)
                    try:
                        pause(inside)
                    finally:
                        story.inside -= 1
                        lock.release()

        run_killing([lambda s=s: body(s) for s in program], kills)
        assert story.most <= permits
        assert story.inside == 0
        assert [bool(lock.acquire(timeout=0)) for _ in range(permits)] == [True] * permits
        if make is not RLock:
            assert not lock.acquire(timeout=0)


@given(GATES, st.lists(st.tuples(PAUSES, st.sampled_from([0, 1, 2])), min_size=1, max_size=8), KILLS, SEEDS)
def test_permits_are_given_in_the_order_of_asking(gate, program, kills, seed):
    make, _ = gate
    with virtual_time(seed):
        lock, story = make(), Story()

        def body(number, before, inside):
            pause(before)
            story.asked.append(number)
            with lock:
                story.served.append(number)
                pause(inside)

        run_killing([lambda n=n, s=s: body(n, *s) for n, s in enumerate(program)], kills)
        # Those who were given several permits at one time run in any order; a single one is given in order.
        if make in (Lock, RLock, Semaphore):
            assert story.served == [number for number in story.asked if number in story.served]


@given(st.integers(1, 4), st.lists(st.tuples(PAUSES, PAUSES), max_size=10), KILLS, SEEDS)
def test_a_pool_never_runs_more_than_its_size_and_ends_empty(size, jobs, kills, seed):
    with virtual_time(seed):
        pool, story = GreenPool(size), Story()

        def job(first, second):
            story.inside += 1
            story.most = max(story.most, story.inside)
            try:
                pause(first)
                pause(second)
            finally:
                story.inside -= 1

        threads = []
        for first, second in jobs:
            threads.append(pool.spawn(job, first, second))
        for number, after in kills:
            pause(after)
            if threads:
                threads[number % len(threads)].kill()
        pool.waitall()
        assert story.most <= size
        assert story.inside == 0
        assert pool.free() == size
        assert pool.running() == pool.waiting() == 0


@given(st.integers(0, 6), st.integers(0, 8), KILLS, SEEDS)
def test_a_notification_is_never_lost_with_a_killed_waiter(waiters, notifications, kills, seed):
    with virtual_time(seed):
        condition, story = Condition(), Story()

        def body():
            with condition:
                if condition.wait():
                    story.inside += 1

        threads = [spawn(body) for _ in range(waiters)]
        sleep(1)
        for number, _ in kills:
            if threads:
                threads[number % len(threads)].kill(block=False)
        with condition:
            condition.notify(notifications)
        sleep(1)
        alive = waiters - len({number % waiters for number, _ in kills}) if waiters else 0
        assert story.inside == min(alive, notifications)
        for thread in threads:
            thread.kill()


@given(st.lists(PAUSES, min_size=1, max_size=6), st.lists(PAUSES, min_size=1, max_size=6), SEEDS, st.booleans())
def test_a_channel_gives_each_item_to_one_and_ends_cleanly(putters, getters, seed, immediate):
    with virtual_time(seed):
        channel, story = Channel(), Story()

        def putter(number, before):
            pause(before)
            try:
                channel.put(number)
            except ShutDown:
                return
            story.put.append(number)

        def getter(before):
            pause(before)
            try:
                story.got.append(channel.get())
            except ShutDown:
                pass

        threads = [spawn(putter, n, p) for n, p in enumerate(putters)] + [spawn(getter, p) for p in getters]
        sleep(10)
        assert len(story.got) == min(len(putters), len(getters))
        channel.shutdown(immediate)
        for thread in threads:
            thread.wait()
        assert sorted(story.got) == sorted(story.put)
