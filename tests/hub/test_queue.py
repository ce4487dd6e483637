"""Queue and its kin, as green threads use them."""

from __future__ import annotations

import collections
import sys

import pytest

from greenserve.hub import Timeout, sleep, spawn
from greenserve.hub.queue import (
    Channel,
    Empty,
    Full,
    LifoQueue,
    LightQueue,
    PriorityQueue,
    Queue,
    ShutDown,
    SimpleQueue,
)
from tests.hub.interrupting import everywhere, interrupted


class HookedQueue(Queue):
    """A queue with hooks of its own, which work like the original's."""

    def _init(self, maxsize):
        self.items = collections.deque()

    def _qsize(self):
        return len(self.items)

    def _put(self, item):
        self.items.append(item)

    def _get(self):
        return self.items.popleft()


FIFO = pytest.mark.parametrize("make", [Queue, LightQueue, HookedQueue])
ALL = pytest.mark.parametrize("make", [Queue, LightQueue, HookedQueue, LifoQueue, PriorityQueue])


@FIFO
def test_first_in_first_out(make):
    queue = make()
    for n in range(100):
        queue.put(n)
    assert queue.qsize() == 100
    assert [queue.get() for _ in range(100)] == list(range(100))
    assert queue.empty()


def test_last_in_first_out():
    queue = LifoQueue()
    for n in range(10):
        queue.put(n)
    assert [queue.get() for _ in range(10)] == list(range(9, -1, -1))


def test_the_least_comes_first():
    queue = PriorityQueue()
    for n in (3, 1, 2, 5, 4):
        queue.put((n, str(n)))
    assert [queue.get()[0] for _ in range(5)] == [1, 2, 3, 4, 5]


@ALL
def test_getters_are_served_in_the_order_of_their_coming(make, hub):
    queue = make()
    threads = [spawn(queue.get) for _ in range(5)]
    sleep()
    assert queue.getting() == 5
    for n in range(5):
        queue.put(n)
    assert queue.empty()
    assert [thread.wait() for thread in threads] == list(range(5))


@FIFO
def test_putters_are_admitted_in_the_order_of_their_coming(make, hub):
    queue = make(2)
    threads = [spawn(queue.put, n) for n in range(6)]
    sleep()
    assert queue.qsize() == 2
    assert queue.full()
    assert queue.putting() == 4
    assert [queue.get() for _ in range(6)] == list(range(6))
    for thread in threads:
        thread.wait()
    assert not queue.full()


@ALL
def test_who_gets_makes_room_before_its_putter_has_run(make, hub):
    queue = make(1)
    queue.put("a")
    spawn(queue.put, "b")
    sleep()
    assert queue.get_nowait() == "a"
    assert queue.get_nowait() == "b"


@ALL
def test_not_waiting_raises_empty_and_full(make):
    queue = make(2)
    with pytest.raises(Empty):
        queue.get_nowait()
    with pytest.raises(Empty):
        queue.get(timeout=0)
    queue.put(1)
    queue.put_nowait(2)
    with pytest.raises(Full):
        queue.put_nowait(3)
    with pytest.raises(Full):
        queue.put(3, timeout=0)
    with pytest.raises(ValueError, match="non-negative"):
        queue.put(3, timeout=-1)
    with pytest.raises(ValueError, match="non-negative"):
        make().get(timeout=-1)


@ALL
def test_waits_with_a_timeout_end_and_leave_nothing(make, virtual):
    queue = make(1)
    for _ in range(100):
        with pytest.raises(Empty):
            queue.get(timeout=0.01)
    queue.put(1)
    for _ in range(100):
        with pytest.raises(Full):
            queue.put(2, timeout=0.01)
    assert virtual.now == pytest.approx(2)
    assert queue.getting() == queue.putting() == 0
    assert queue.get() == 1
    assert queue.empty()


@ALL
def test_a_killed_getter_is_skipped_and_a_killed_putter_puts_nothing(make, hub):
    queue = make(1)
    threads = [spawn(queue.get) for _ in range(2)]
    sleep()
    threads[0].kill()
    queue.put(1)
    assert threads[1].wait() == 1
    queue.put(2)
    putters = [spawn(queue.put, n) for n in (3, 4)]
    sleep()
    putters[0].kill()
    assert queue.get() == 2
    assert queue.get() == 4
    assert queue.empty()


@ALL
def test_a_getter_killed_after_it_was_given_an_item_still_gets_it(make, hub):
    queue, got = make(), []

    def work():
        got.append(queue.get())
        sleep()
        got.append("never")

    thread = spawn(work)
    sleep()
    queue.put("item")
    thread.kill(block=False)
    thread.join()
    assert got == ["item"]
    assert queue.empty()


@pytest.mark.parametrize("make", [Channel, lambda: Queue(0), lambda: LightQueue(0)])
def test_a_channel_is_a_rendezvous(make, hub):
    channel = make()
    with pytest.raises(Full):
        channel.put_nowait(1)
    with pytest.raises(Empty):
        channel.get_nowait()
    putters = [spawn(channel.put, n) for n in range(3)]
    sleep()
    assert not any(thread.dead for thread in putters)
    assert channel.qsize() == 0
    assert [channel.get(), channel.get_nowait(), channel.get()] == [0, 1, 2]
    for thread in putters:
        thread.wait()
    getters = [spawn(channel.get) for _ in range(2)]
    sleep()
    channel.put("a")
    channel.put_nowait("b")
    assert [thread.wait() for thread in getters] == ["a", "b"]


def test_a_channels_killed_putter_takes_its_item_away(hub):
    channel = Channel()
    threads = [spawn(channel.put, n) for n in range(2)]
    sleep()
    threads[0].kill()
    assert channel.get() == 1
    with pytest.raises(Empty):
        channel.get(timeout=0.001)


@pytest.mark.parametrize("make", [Queue, LifoQueue, PriorityQueue, HookedQueue])
def test_join_waits_until_all_that_was_put_is_done(make, virtual):
    queue = make(2)

    def worker():
        while True:
            queue.get()
            sleep(1)
            queue.task_done()

    workers = [spawn(worker) for _ in range(2)]
    assert queue.join()
    for n in range(10):
        queue.put(n)
    assert queue.unfinished_tasks > 0
    assert queue.join(0.5) is False
    assert queue.join() is True
    assert virtual.now == 5
    assert queue.unfinished_tasks == 0
    for thread in workers:
        thread.kill()
    with pytest.raises(ValueError, match="too many times"):
        queue.task_done()


@ALL
def test_a_shut_down_queue_gives_what_it_has_and_then_ends(make, hub):
    queue = make(2)
    queue.put(1)
    queue.put(2)
    putter = spawn(queue.put, 3)
    putter.quiet = True
    sleep()
    queue.shutdown()
    assert queue.is_shutdown
    with pytest.raises(ShutDown):
        queue.put(4)
    with pytest.raises(ShutDown):
        putter.wait()
    assert sorted([queue.get(), queue.get_nowait()]) == [1, 2]
    with pytest.raises(ShutDown):
        queue.get()
    with pytest.raises(ShutDown):
        queue.get_nowait()


@ALL
def test_a_shutdown_ends_the_getters_who_wait(make, hub):
    queue = make()
    threads = [spawn(queue.get) for _ in range(3)]
    for thread in threads:
        thread.quiet = True
    sleep()
    queue.shutdown()
    for thread in threads:
        with pytest.raises(ShutDown):
            thread.wait()


@pytest.mark.parametrize("make", [Queue, LifoQueue, PriorityQueue, HookedQueue])
def test_an_immediate_shutdown_throws_away_what_there_is(make, hub):
    queue = make()
    queue.put(1)
    queue.put(2)
    queue.get()
    queue.shutdown(immediate=True)
    with pytest.raises(ShutDown):
        queue.get()
    assert queue.unfinished_tasks == 1
    joiner = spawn(queue.join)
    sleep()
    queue.task_done()
    assert joiner.wait()


def test_shutdown_is_the_standard_librarys_where_it_has_one():
    if sys.version_info >= (3, 13):
        import queue

        assert ShutDown is queue.ShutDown
    else:
        assert issubclass(ShutDown, Exception)


@ALL
def test_iterating_ends_with_the_shutdown_or_with_stopiteration(make, hub):
    queue = make()
    collector = spawn(list, queue)
    for n in range(3):
        queue.put(n)
        sleep()
    queue.shutdown()
    assert collector.wait() == [0, 1, 2]
    if make is not PriorityQueue:
        queue = make()
        queue.put(StopIteration)
        assert list(queue) == []


@FIFO
def test_a_queue_can_be_resized(make, hub):
    queue = make(1)
    threads = [spawn(queue.put, n) for n in range(5)]
    sleep()
    assert queue.qsize() == 1
    queue.resize(3)
    assert queue.qsize() == 3
    queue.resize(1)
    assert queue.get() == 0
    assert queue.get() == 1
    assert queue.qsize() == 1
    assert queue.putting() == 2
    queue.resize(None)
    assert queue.qsize() == 3
    queue.resize(2)
    assert queue.full()
    with pytest.raises(Full):
        queue.put_nowait("x")
    assert [queue.get() for _ in range(3)] == [2, 3, 4]
    queue.put_nowait("x")
    queue.put_nowait("y")
    with pytest.raises(Full):
        queue.put_nowait("z")
    for thread in threads:
        thread.wait()


def test_a_simple_queue_has_no_limit():
    queue = SimpleQueue()
    for n in range(1000):
        queue.put(n, block=False, timeout=None)
    assert queue.qsize() == 1000
    assert queue.get_nowait() == 0


def test_negative_sizes_are_without_limit():
    assert Queue(-1).maxsize is None
    assert not Queue(-1).full()


def test_items_that_cannot_be_compared_are_the_putters_error(hub):
    queue = PriorityQueue()
    queue.put(1)
    with pytest.raises(TypeError):
        queue.put("x")
    with pytest.raises(TypeError):
        PriorityQueue().put(object()) or queue.put(object())


def test_a_comparison_that_puts_into_the_same_queue_does_no_harm(hub):
    queue = PriorityQueue()

    class Item:
        def __init__(self, n):
            self.n = n

        def __lt__(self, other):
            if extra:
                queue.put(extra.pop())
            return self.n < other.n

    extra = [Item(10), Item(0)]
    for n in (5, 3, 4):
        queue.put(Item(n))
    assert [queue.get().n for _ in range(5)] == [0, 3, 4, 5, 10]


def test_a_comparison_that_waits_holds_nobody_up_for_ever(virtual):
    queue, got = PriorityQueue(), []

    class Slow:
        def __init__(self, n):
            self.n = n

        def __lt__(self, other):
            sleep(1)
            return self.n < other.n

    def getter():
        got.append(queue.get(block=False).n)

    queue.put(Slow(2))
    putter = spawn(queue.put, Slow(1))
    sleep()
    getters = [spawn(getter) for _ in range(2)]
    sleep()
    queue.put(Slow(3))  # is stored by the one who is inside
    assert virtual.now == 0
    putter.wait()
    for thread in getters:
        thread.wait()
    assert got == [1, 2]
    assert queue.get().n == 3


def test_a_getter_of_a_failing_hook_gets_the_error(hub):
    class Failing(Queue):
        def _get(self):
            self.queue.popleft()
            raise LookupError("broken")

    queue = Failing()
    thread = spawn(queue.get)
    thread.quiet = True
    sleep()
    with pytest.raises(LookupError):
        queue.put(1)
    queue.queue.append(2)
    with pytest.raises(LookupError):
        queue.get()
    thread.kill()


def test_a_timeout_ends_a_get_and_the_next_item_goes_to_another(virtual):
    queue = Queue()
    with Timeout(2, False):
        queue.get()
    assert virtual.now == 2
    queue.put(1)
    assert queue.get() == 1


@pytest.mark.parametrize("make", [Queue, LifoQueue, PriorityQueue])
@pytest.mark.parametrize("size", [None, 1])
def test_a_put_in_the_middle_of_a_get_is_not_missed(make, size, virtual):
    def scenario(instruction):
        queue, start = make(size), virtual.now
        try:
            item, _ = interrupted(lambda: queue.get(timeout=5), lambda: queue.put_nowait(7), instruction)
        except Empty:
            return False
        assert item == 7
        if virtual.now > start:  # it came just before the deadline's timer did its work
            return True
        assert queue.empty()
        assert queue.getting() == 0
        queue.put_nowait(8)
        assert queue.get_nowait() == 8
        return True

    assert everywhere(scenario) > 10


@pytest.mark.parametrize("make", [Queue, LifoQueue, PriorityQueue])
def test_a_get_in_the_middle_of_a_put_takes_that_item_or_another_and_none_twice(make, virtual):
    def scenario(instruction):
        queue = make(1)
        queue.put(1)
        got = []

        def getter():
            got.append(queue.get_nowait())

        try:
            _, came = interrupted(lambda: queue.put(2, timeout=5), getter, instruction)
        except Full:
            return False
        got.append(queue.get_nowait())
        assert sorted(got) == [1, 2]
        assert queue.empty()
        return came

    assert everywhere(scenario) > 10


@pytest.mark.parametrize("make", [Queue, LifoQueue, PriorityQueue])
def test_a_put_in_the_middle_of_a_put_loses_nothing(make, hub):
    def scenario(instruction):
        queue = make()
        thread = spawn(queue.get)
        sleep()
        _, came = interrupted(lambda: queue.put(1), lambda: queue.put(2), instruction)
        items = [thread.wait(), *[queue.get_nowait() for _ in range(queue.qsize())]]
        assert sorted(items) == ([1, 2] if came else [1])
        return came

    assert everywhere(scenario) > 10
