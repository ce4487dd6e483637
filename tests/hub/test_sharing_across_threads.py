"""Sharing between OS threads and green threads of several hubs: nothing deadlocks, spins, gets lost or comes twice.

All OS threads run freely, switched as often as the interpreter can; the work is bounded in count, not in time.
"""

from __future__ import annotations

import collections
import contextlib
import sys
import threading
import time

import pytest

from greenserve.hub import (
    Barrier,
    Channel,
    Condition,
    Empty,
    Event,
    Flag,
    Full,
    GreenPool,
    LifoQueue,
    LightQueue,
    Lock,
    Pool,
    PriorityQueue,
    Queue,
    RLock,
    Semaphore,
    ShutDown,
    SimpleQueue,
    sleep,
    spawn,
)
from tests.hub.test_queue import HookedQueue

THREADS = 4  # OS threads
GREEN = 4  # green threads in each


@pytest.fixture(autouse=True)
def _frequent_switches():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def everywhere(work, threads=THREADS, green=GREEN):
    """Call `work(number)` in green threads of several OS threads, each with a hub of its own, and wait for all."""
    failures = []

    def os_thread(first):
        try:
            for thread in [spawn(work, first + n) for n in range(green)]:
                thread.wait()
        except BaseException as error:
            failures.append(error)

    os_threads = [threading.Thread(target=os_thread, args=(n * green,)) for n in range(threads)]
    for thread in os_threads:
        thread.start()
    for thread in os_threads:
        thread.join()
    if failures:
        raise failures[0]


@pytest.mark.parametrize("make", [Lock, RLock, Semaphore])
def test_a_lock_lets_in_one_at_a_time(make):
    lock, inside, total = make(), [], [0]

    def work(number):
        for n in range(100):
            with lock:
                inside.append(number)
                seen = total[0]
                if n % 10 == 0:
                    sleep()
                total[0] = seen + 1
                assert inside == [number]
                inside.pop()

    everywhere(work)
    assert total == [THREADS * GREEN * 100]
    assert not lock.locked()


@pytest.mark.parametrize("make", [Lock, RLock, Semaphore])
def test_a_lock_survives_timeouts_and_tries(make):
    lock, total, taken = make(), [0], [0] * THREADS * GREEN

    def work(number):
        for n in range(60):
            got = lock.acquire(timeout=0.0001) if n % 3 else lock.acquire(False)
            if got:
                total[0] += 1
                taken[number] += 1
                if n % 5 == 0:
                    sleep()
                lock.release()

    everywhere(work)
    assert total[0] == sum(taken)
    assert lock.acquire(False)


def test_a_semaphore_lets_in_as_many_as_it_has_permits():
    semaphore, inside, most = Semaphore(3), [], [0]

    def work(number):
        for n in range(50):
            with semaphore:
                inside.append(number)
                most[0] = max(most[0], len(inside))
                if n % 5 == 0:
                    sleep()
                inside.pop()

    everywhere(work)
    assert most[0] <= 3
    assert semaphore.balance == 3


def test_the_classic_trap_a_green_thread_holds_and_waits_while_an_os_thread_wants(hub):
    """With an OS lock, the green thread's sleep would let this OS thread's hub run, but the other's `acquire`, if made
    here in a green thread, would block the hub that the holder needs; with ours the waiter only parks.
    """
    for make in (Lock, RLock, Semaphore):
        lock, log = make(), []

        def holder(lock=lock, log=log):
            with lock:
                log.append("held")
                sleep(0.02)
                log.append("freed")

        def os_thread(lock=lock, log=log):
            with lock:
                log.append("os thread")

        green = spawn(holder)
        sleep()
        native = threading.Thread(target=os_thread)
        native.start()
        other = spawn(os_thread)  # a green thread of the same hub wants it too
        green.wait()
        other.wait()
        native.join()
        assert log == ["held", "freed", "os thread", "os thread"]


def test_the_classic_trap_reversed_an_os_thread_holds_while_green_threads_want_and_others_go_on(hub):
    for make in (Lock, RLock, Semaphore):
        lock, log, holding, let_go = make(), [], threading.Event(), threading.Event()

        def os_thread(lock=lock, holding=holding, let_go=let_go):
            with lock:
                holding.set()
                let_go.wait()

        native = threading.Thread(target=os_thread)
        native.start()
        holding.wait()

        def wanting(lock=lock, log=log):
            with lock:
                log.append("got it")

        green = spawn(wanting)
        for _ in range(10):
            sleep()
            log.append("others go on")
        let_go.set()
        green.wait()
        native.join()
        assert log == ["others go on"] * 10 + ["got it"]


def test_an_os_thread_that_waits_sleeps(hub):
    lock, used = Lock(), []
    lock.acquire()

    def os_thread():
        before = time.thread_time()
        with lock:
            used.append(time.thread_time() - before)

    thread = threading.Thread(target=os_thread)
    thread.start()
    sleep(0.3)
    lock.release()
    thread.join()
    assert used[0] < 0.1  # of processor time, for 0.3 seconds of waiting


QUEUES = [Queue, LightQueue, SimpleQueue, LifoQueue, PriorityQueue, HookedQueue]
BOUNDED = [lambda: Queue(1), lambda: Queue(3), lambda: PriorityQueue(2), lambda: HookedQueue(2), Channel]


@pytest.mark.parametrize("make", QUEUES + BOUNDED)
def test_every_item_comes_once(make):
    queue, got, each = make(), collections.deque(), 60

    def work(number):
        if number % 2:
            for n in range(each):
                queue.put((number, n))
                if n % 7 == 0:
                    sleep()
        else:
            for n in range(each):
                got.append(queue.get())
                if n % 5 == 0:
                    sleep()

    everywhere(work)
    putters = range(1, THREADS * GREEN, 2)
    assert sorted(got) == [(number, n) for number in putters for n in range(each)]
    assert queue.empty()


@pytest.mark.parametrize("make", [Queue, LightQueue, lambda: Queue(1), lambda: Queue(5), HookedQueue, Channel])
def test_one_putters_items_come_to_one_getter_in_order(make):
    queue, got, putters, each = make(), [], 4, 100

    def work(number):
        if number == 0:
            got.extend(queue.get() for _ in range(putters * each))
        elif number <= putters:
            for n in range(each):
                queue.put((number, n))

    everywhere(work, threads=putters + 1, green=1)
    for number in range(1, putters + 1):
        assert [n for who, n in got if who == number] == list(range(each))


@pytest.mark.parametrize("make", [lambda: Queue(3), lambda: PriorityQueue(3), lambda: HookedQueue(3)])
def test_a_full_queue_is_never_fuller(make):
    queue, most = make(), [0]

    def work(number):
        for n in range(60):
            if number % 2:
                queue.put((number, n))
                most[0] = max(most[0], queue.qsize())
            else:
                queue.get()

    everywhere(work)
    assert most[0] <= 3
    assert queue.empty()


@pytest.mark.parametrize("make", [Queue, lambda: Queue(2), PriorityQueue, lambda: PriorityQueue(2)])
def test_timeouts_of_getters_and_putters_lose_no_item(make):
    queue, put, got = make(), collections.deque(), collections.deque()

    def work(number):
        for n in range(60):
            with contextlib.suppress(Empty, Full):
                if number % 2:
                    queue.put((number, n), timeout=0.0002)
                    put.append((number, n))
                else:
                    got.append(queue.get(timeout=0.0002))

    everywhere(work)
    while not queue.empty():
        got.append(queue.get_nowait())
    assert sorted(got) == sorted(put)


def test_kills_of_getters_lose_no_item():
    queue, got = Queue(), collections.deque()

    def getter():
        while True:
            got.append(queue.get())

    def work(number):
        if number % 2:
            for n in range(60):
                queue.put((number, n))
                sleep()
        else:
            for _ in range(20):
                thread = spawn(getter)
                for _ in range(3):
                    sleep()
                thread.kill()

    everywhere(work)
    while not queue.empty():
        got.append(queue.get_nowait())
    assert sorted(got) == [(number, n) for number in range(1, THREADS * GREEN, 2) for n in range(60)]


def test_join_returns_when_all_is_done():
    queue, done = Queue(4), collections.deque()

    def work(number):
        if number == 0:
            for n in range(200):
                queue.put(n)
            assert queue.join()
            assert len(done) == 200
            queue.shutdown()
        else:
            for item in queue:
                done.append(item)
                queue.task_done()

    everywhere(work)
    assert sorted(done) == list(range(200))


@pytest.mark.parametrize("immediate", [False, True])
def test_a_shutdown_ends_everybody_everywhere(immediate):
    queue, put, got = Queue(2), collections.deque(), collections.deque()

    def work(number):
        if number == 0:
            sleep(0.01)
            queue.shutdown(immediate)
        elif number % 2:
            with contextlib.suppress(ShutDown):
                for n in range(100_000):
                    queue.put((number, n))
                    put.append((number, n))
        else:
            for item in queue:
                got.append(item)
                sleep()

    everywhere(work)
    assert queue.empty()
    assert len(got) == len(set(got))
    assert set(got) <= set(put)
    if not immediate:
        assert set(got) == set(put)


def test_an_event_reaches_everybody_and_one_sender_wins():
    for _ in range(20):
        event, got, sent = Event(), collections.deque(), collections.deque()

        def work(number, event=event, got=got, sent=sent):
            if number % 4 == 0:
                try:
                    event.send(number)
                    sent.append(number)
                except AssertionError:
                    pass
            got.append(event.wait())

        everywhere(work, green=2)
        assert len(sent) == 1
        assert set(got) == set(sent)
        assert len(got) == THREADS * 2


def test_a_flag_wakes_everybody():
    for _ in range(20):
        flag, got = Flag(), collections.deque()

        def work(number, flag=flag, got=got):
            if number == 0:
                flag.set()
            got.append(flag.wait())

        everywhere(work, green=2)
        assert list(got) == [True] * THREADS * 2


@pytest.mark.parametrize("lock", [Lock, RLock])
def test_a_condition_passes_a_baton_round(lock):
    condition, turn, log = Condition(lock()), [0], []
    count = THREADS * GREEN

    def work(number):
        for round_ in range(5):
            with condition:
                condition.wait_for(lambda: turn[0] % count == number)
                log.append((round_, number))
                turn[0] += 1
                condition.notify_all()

    everywhere(work)
    assert log == [(round_, number) for round_ in range(5) for number in range(count)]


def test_a_barrier_keeps_everybody_in_step():
    barrier, step = Barrier(THREADS * GREEN), [0] * THREADS * GREEN

    def work(number):
        for n in range(10):
            step[number] = n
            barrier.wait()
            assert set(step) == {n}
            barrier.wait()

    everywhere(work)


def test_pools_keep_their_limits_across_os_threads():
    pool, resources, inside, most = GreenPool(3), Pool(max_size=2, create=object), [], [0]

    def job():
        with resources.item(timeout=30) as item:
            assert item not in inside
            inside.append(item)
            most[0] = max(most[0], len(inside))
            sleep()
            inside.remove(item)

    def work(number):
        for thread in [pool.spawn(job) for _ in range(10)]:
            thread.wait()

    everywhere(work)
    pool.waitall()
    assert most[0] <= 2
    assert pool.free() == 3
    assert resources.free() == 2
    assert resources.current_size <= 2


def test_a_finaliser_may_put_and_release_at_any_time():
    import gc

    queue, semaphore = Queue(), Semaphore(0)

    class Resource:
        def __init__(self):
            self.me = self  # garbage that only the collector finds, whenever it runs

        def __del__(self):
            queue.put(1)
            semaphore.release()

    threshold = gc.get_threshold()
    gc.set_threshold(10)
    try:

        def work(number):
            for _ in range(50):
                Resource()
                queue.put(0)
                queue.get()
                sleep()

        everywhere(work)
    finally:
        gc.set_threshold(*threshold)
    gc.collect()
    count = THREADS * GREEN * 50
    assert semaphore.balance == count
    assert sorted(queue.get_nowait() for _ in range(queue.qsize()))[-1] == 1
