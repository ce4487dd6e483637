"""Queue and its kin, as green threads use them."""

from __future__ import annotations

import collections
import sys

import pytest

from greenserve.hub import Event, Timeout, sleep, spawn
from greenserve.hub.core import originals
from greenserve.hub.sync.queue import (
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
from greenserve.hub.threadpool import ThreadPool
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
    late = spawn(queue.put, Slow(3))  # is stored by the one who is inside
    sleep()
    assert virtual.now == 0
    putter.wait()
    for thread in getters:
        thread.wait()
    assert got == [1, 2]
    late.wait()
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
    queue.put(1)
    with pytest.raises(LookupError):
        thread.wait()
    queue.queue.append(2)
    with pytest.raises(LookupError):
        queue.get()


class Picky(Queue):
    """Refuses "bad" items when they are put, and ill ones when they are got: these stay."""

    def _put(self, item):
        if item == "bad":
            raise ValueError("refused")
        super()._put(item)

    def _get(self):
        if self.queue[0] == "ill":
            self.queue.rotate(-1)
            raise IndexError("cannot get")
        return super()._get()


@pytest.mark.parametrize("size", [None, 1, 2])
@pytest.mark.parametrize("how", [{"block": False}, {"timeout": 0.01}, {}])
def test_an_item_that_a_hook_refuses_takes_neither_a_place_nor_a_task(size, how, hub):
    queue = Picky(size)
    for _ in range(3):
        with pytest.raises(ValueError, match="refused"):
            queue.put("bad", **how)
    assert (queue.qsize(), queue.unfinished_tasks) == (0, 0)
    assert queue.join(timeout=5)
    queue.put("good", **how)
    assert (queue.qsize(), queue.unfinished_tasks) == (1, 1)
    assert queue.full() is (size == 1)
    assert queue.get() == "good"
    queue.task_done()
    with pytest.raises(ValueError, match="too many times"):
        queue.task_done()


def test_a_joiner_goes_on_when_the_last_item_is_refused_in_the_end(hub):
    class Late(Queue):
        def _put(self, item):
            sleep()
            raise ValueError("refused")

    queue = Late()
    putter = spawn(queue.put, 1)
    sleep()
    joiner = spawn(queue.join, 5)
    with pytest.raises(ValueError, match="refused"):
        putter.wait()
    assert joiner.wait() is True


def test_a_heap_that_cannot_compare_an_item_is_none_the_worse(hub):
    queue = PriorityQueue(2)
    queue.put((1, "one"))
    with pytest.raises(TypeError):
        queue.put("text", block=False)
    assert queue.unfinished_tasks == 1
    queue.queue[:] = [(1, "one")]  # heapq has appended before it compared, as the standard library's has
    queue.put((0, "none"), block=False)
    assert [queue.get(), queue.get()] == [(0, "none"), (1, "one")]


def test_a_putter_that_waited_for_room_is_told_that_its_item_is_refused(hub):
    queue = Picky(1)
    queue.put("first")
    putters = [spawn(queue.put, item) for item in ("bad", "bad", "second")]
    sleep()
    assert queue.get() == "first"
    for putter in putters[:2]:
        with pytest.raises(ValueError, match="refused"):
            putter.wait()
    putters[2].wait()
    assert (queue.get(), queue.unfinished_tasks) == ("second", 2)


def test_a_thousand_refused_putters_leave_the_place_to_the_next(hub):
    queue = Picky(1)
    queue.put("first")
    putters = [spawn(queue.put, "bad") for _ in range(1000)]
    last = spawn(queue.put, "last")
    sleep()
    assert queue.get() == "first"
    last.wait()
    assert all(isinstance(putter.error, ValueError) for putter in putters)
    assert queue.get() == "last"


def test_a_getter_that_waited_is_told_what_its_hook_raises_and_the_item_stays(hub):
    queue = Picky(2)
    getters = [spawn(queue.get), spawn(queue.get, timeout=60)]
    sleep()
    queue.put("ill")
    for getter in getters:
        with pytest.raises(IndexError, match="cannot get"):
            getter.wait()
    assert (queue.qsize(), queue.unfinished_tasks) == (1, 1)
    with pytest.raises(IndexError, match="cannot get"):
        queue.get_nowait()
    queue.queue[0] = "well"
    assert queue.get_nowait() == "well"
    queue.put(1)
    queue.put(2, block=False)


def test_an_error_goes_to_whose_item_it_is_when_another_is_inside(hub):
    go_on = Event()

    class Slow(Queue):
        def _put(self, item):
            if item == "slow":
                go_on.wait()
            if item == "bad":
                raise ValueError("refused")
            super()._put(item)

    queue = Slow()
    slow = spawn(queue.put, "slow")
    sleep()
    bad, killed, good = spawn(queue.put, "bad"), spawn(queue.put, "killed"), spawn(queue.put, "good")
    sleep()
    killed.kill()
    go_on.send()
    slow.wait()
    good.wait()
    with pytest.raises(ValueError, match="refused"):
        bad.wait()
    assert [queue.get_nowait(), queue.get_nowait()] == ["slow", "good"]
    assert (queue.qsize(), queue.unfinished_tasks) == (0, 2)


def test_a_kill_inside_a_hook_ends_who_was_killed_and_loses_nobodys_item(hub):
    class Slow(Queue):
        def _put(self, item):
            if item == "first":
                sleep(1000)
            super()._put(item)

    queue = Slow()
    first = spawn(queue.put, "first")
    sleep()
    second = spawn(queue.put, "second")
    sleep()
    first.kill()
    second.wait()
    assert (queue.get(), queue.unfinished_tasks) == ("second", 1)


def test_an_item_put_by_a_hook_itself_waits_for_nobody(hub, capfd):
    class Twice(Queue):
        def _put(self, item):
            if item == "bad":
                raise ValueError("refused")
            super()._put(item)
            if item == 1:
                self.put(2)
                self.put("bad")

    queue = Twice()
    queue.put(1)
    assert [queue.get(), queue.get()] == [1, 2]
    assert queue.unfinished_tasks == 2
    assert "ValueError: refused" in capfd.readouterr().err


def test_another_os_threads_putter_is_told_too(hub):
    inside, go_on = originals.allocate_lock(), originals.allocate_lock()
    inside.acquire()
    go_on.acquire()

    class Slow(Queue):
        def _put(self, item):
            if item == "slow":
                inside.release()
                go_on.acquire()
            elif item == "bad":
                raise ValueError("refused")
            super()._put(item)

    queue, pool = Slow(), ThreadPool(1)
    call = pool.submit(queue.put, "slow")
    inside.acquire()
    bad = spawn(queue.put, "bad")
    bad.quiet = True
    sleep()
    assert not bad.dead
    go_on.release()
    with pytest.raises(ValueError, match="refused"):
        bad.wait()
    call.wait()
    assert queue.get() == "slow"


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
