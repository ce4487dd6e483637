"""A loop that asks without waiting lets others run; and never where a switch would break something."""

from __future__ import annotations

import time

import pytest

from greenserve.hub import sleep, spawn
from greenserve.hub.core.busy_wait import relax
from greenserve.hub.greenpool import GreenPool
from greenserve.hub.resource_pool import TokenPool
from greenserve.hub.sync.condition import Barrier, Condition
from greenserve.hub.sync.event import AsyncResult, Event, Flag
from greenserve.hub.sync.light_queue import Empty, Full
from greenserve.hub.sync.lock import BoundedSemaphore, Lock, Semaphore
from greenserve.hub.sync.queue import Channel, LifoQueue, LightQueue, PriorityQueue, Queue, SimpleQueue
from greenserve.hub.sync.rlock import RLock
from greenserve.hub.threadpool import ThreadPool
from greenserve.hub.timeout import Timeout
from tests.hub.interrupting import everywhere, interrupted
from tests.hub.support import run

PATIENCE = 20.0  # seconds, after which a loop counts as starving the others


def spin(question):
    """Ask, without ever waiting, until the answer is true."""
    deadline = time.monotonic() + PATIENCE
    while not question():
        assert time.monotonic() < deadline, "nobody else has run"


def starving(condition):
    """What a question raises while it has no answer."""

    def ask():
        try:
            condition()
        except (Empty, Full):
            return False
        return True

    return ask


def taken(lock):
    spawn(lock.acquire).wait()
    spawn(lock.release)
    return lambda: lock.acquire(blocking=False)


def taken_rlock():
    lock, held = RLock(), Flag()

    def hold():
        with lock:
            held.set()
            sleep(0.01)

    spawn(hold)
    held.wait()
    return lambda: lock.acquire(blocking=False)


def timed(lock):
    lock.acquire()
    spawn(lock.release)
    return lambda: lock.acquire(timeout=0)


def locked(lock):
    lock.acquire()
    spawn(lock.release)
    return lambda: not lock.locked()


def to_be_locked():
    lock = Lock()
    spawn(lock.acquire)
    return lock.locked


def balance():
    permits = Semaphore(0)
    spawn(permits.release)
    return lambda: permits.balance == 1


def condition_lock():
    condition, held = Condition(), Flag()

    def hold():
        with condition:
            held.set()
            sleep(0.01)

    spawn(hold)
    held.wait()
    return lambda: condition.acquire(blocking=False)


def n_waiting():
    barrier = Barrier(2)
    spawn(barrier.wait)
    return lambda: barrier.n_waiting == 1


def broken():
    barrier = Barrier(2)
    spawn(barrier.abort)
    return lambda: barrier.broken


def flag_up():
    flag = Flag()
    spawn(flag.set)
    return flag.is_set


def flag_down():
    flag = Flag()
    flag.set()
    spawn(flag.clear)
    return lambda: not flag.is_set()


def of_event(name):
    event = Event()
    spawn(event.send, 1)
    return getattr(event, name)


def of_result(ask):
    result = AsyncResult()
    spawn(result.set, 1)
    return lambda: ask(result)


def exception_of_event():
    event = Event()
    spawn(event.send_exception, ValueError("it"))
    return event.has_exception


def dead():
    thread = spawn(sleep)
    return lambda: thread.dead


def started():
    thread = spawn(sleep)
    return lambda: thread.started


def error():
    def fail():
        raise ValueError

    thread = spawn(fail)
    thread.quiet = True
    return lambda: thread.error


def get(kind, **how):
    queue = kind()
    spawn(queue.put, "item")
    return starving(lambda: queue.get(**how))


def put():
    queue = Queue(1)
    queue.put("item")
    spawn(queue.get)
    return starving(lambda: queue.put_nowait("another"))


def filled(ask):
    queue = Queue(1)
    spawn(queue.put, "item")
    return lambda: ask(queue)


def emptied(ask):
    queue = Queue(1)
    queue.put("item")
    spawn(queue.get)
    return lambda: ask(queue)


def unfinished():
    queue = Queue()
    queue.put("item")
    spawn(queue.task_done)
    return lambda: queue.unfinished_tasks == 0


def getting():
    queue = Queue()
    spawn(queue.get)
    return queue.getting


def putting():
    queue = Channel()
    spawn(queue.put, "item")
    return queue.putting


def shut():
    queue = Queue()
    spawn(queue.shutdown)
    return lambda: queue.is_shutdown


def of_pool(ask):
    pool = GreenPool(1)
    pool.spawn(sleep)
    return lambda: ask(pool)


def of_resources(ask):
    pool = TokenPool(max_size=1)
    token = pool.get()
    spawn(pool.put, token)
    return lambda: ask(pool)


def pending():
    timeout = Timeout(3600)
    spawn(timeout.cancel)
    return lambda: not timeout.pending


def call_done():
    call = ThreadPool(1).submit(time.sleep, 0.01)
    others = Flag()
    spawn(others.set)
    return lambda: call.done and others.is_set()


LOOPS = {
    "Lock": lambda: taken(Lock()),
    "Semaphore": lambda: taken(Semaphore(1)),
    "BoundedSemaphore": lambda: taken(BoundedSemaphore(1)),
    "RLock": taken_rlock,
    "Lock, timeout=0": lambda: timed(Lock()),
    "Semaphore, timeout=0": lambda: timed(Semaphore(1)),
    "Lock.locked": lambda: locked(Lock()),
    "not Lock.locked": to_be_locked,
    "Semaphore.locked": lambda: locked(Semaphore(1)),
    "Semaphore.balance": balance,
    "Condition": condition_lock,
    "Barrier.n_waiting": n_waiting,
    "Barrier.broken": broken,
    "Flag.is_set": flag_up,
    "not Flag.is_set": flag_down,
    "Event.ready": lambda: of_event("ready"),
    "Event.has_result": lambda: of_event("has_result"),
    "Event.has_exception": exception_of_event,
    "Event.poll": lambda: of_event("poll"),
    "Event.poll_result": lambda: of_event("poll_result"),
    "AsyncResult.value": lambda: of_result(lambda result: result.value),
    "AsyncResult.successful": lambda: of_result(lambda result: result.successful()),
    "GreenThread.dead": dead,
    "GreenThread.started": started,
    "GreenThread.error": error,
    **{f"{kind.__name__}.get": lambda kind=kind: get(kind, block=False) for kind in (LightQueue, Queue, LifoQueue)},
    **{f"{kind.__name__}.get": lambda kind=kind: get(kind, block=False) for kind in (PriorityQueue, SimpleQueue)},
    "Channel.get": lambda: get(Channel, block=False),
    "Queue.get, timeout=0": lambda: get(Queue, timeout=0),
    "Queue.put": put,
    "Queue.qsize": lambda: filled(lambda queue: queue.qsize() == 1),
    "Queue.full": lambda: filled(lambda queue: queue.full()),
    "not Queue.empty": lambda: filled(lambda queue: not queue.empty()),
    "Queue.empty": lambda: emptied(lambda queue: queue.empty()),
    "not Queue.full": lambda: emptied(lambda queue: not queue.full()),
    "Queue.unfinished_tasks": unfinished,
    "Queue.getting": getting,
    "Channel.putting": putting,
    "Queue.is_shutdown": shut,
    "GreenPool.free": lambda: of_pool(lambda pool: pool.free() == 1),
    "GreenPool.running": lambda: of_pool(lambda pool: pool.running() == 0),
    "Pool.free": lambda: of_resources(lambda pool: pool.free() == 1),
    "Timeout.pending": pending,
    "Call.done": call_done,
}


@pytest.mark.parametrize("make", LOOPS.values(), ids=LOOPS.keys())
def test_a_loop_that_asks_in_vain_lets_others_run(make, hub):
    spin(make())


def test_it_lets_timers_and_descriptors_have_their_turn(hub):
    flag = Flag()
    hub.call_later(0.01, flag.set)
    spin(flag.is_set)


def test_the_answer_after_giving_way_is_fresh(hub):
    lock, queue = Lock(), Queue()
    lock.acquire()
    spawn(lock.release)
    spawn(queue.put, "item")
    hub.poll_time = 0.0  # our turn is over
    assert lock.acquire(blocking=False)
    spawn(queue.put, "another")
    hub.poll_time = 0.0
    assert [queue.get_nowait(), queue.get_nowait()] == ["item", "another"]


def test_within_a_turn_nobody_else_runs(virtual):
    log = []
    spawn(log.append, "another")
    virtual.hub.poll_time = virtual.now + 1
    assert not Flag().is_set()
    assert not log


def test_a_kill_and_a_timeout_end_such_a_loop(hub):
    lock = Lock()
    lock.acquire()
    with Timeout(0.01, False):
        spin(lambda: lock.acquire(blocking=False))
        pytest.fail("the lock is taken")
    thread = spawn(spin, lambda: lock.acquire(blocking=False))
    sleep()
    thread.kill()
    assert thread.join(PATIENCE)


def test_a_failed_operation_takes_nothing_with_it_when_it_is_killed(hub):
    queue = Queue(1)
    thread = spawn(spin, starving(queue.get_nowait))
    sleep()
    thread.kill()
    thread.join()
    queue.put("item")
    assert queue.get_nowait() == "item"


def test_nothing_gives_way_in_the_hubs_own_greenlet(hub):
    log = []
    spawn(log.append, "another")
    lock = Lock()
    lock.acquire()

    def ask():
        hub.poll_time = 0.0
        log.append(lock.acquire(blocking=False))

    hub.call_soon(ask)
    sleep()
    sleep()
    assert sorted(map(str, log)) == ["False", "another"]


def test_nothing_gives_way_in_a_finaliser(hub):
    log = []

    class Final:
        def __del__(self):
            log.append(Flag().is_set())

    spawn(log.append, "another")
    final = Final()
    hub.poll_time = 0.0
    del final
    assert log == [False]


def test_nothing_gives_way_in_a_queues_hook(hub):
    log = []

    class Asking(Queue):
        def _put(self, item):
            log.append(Flag().is_set())
            super()._put(item)

    queue = Asking()
    spawn(log.append, "another")
    hub.poll_time = 0.0
    queue.put("item")
    assert log == [False]


def test_a_signal_handler_may_ask_wherever_it_interrupts_the_hub(hub):
    lock = Lock()
    lock.acquire()

    def handler():
        hub.poll_time = 0.0
        assert lock.acquire(blocking=False) is False

    def scenario(instruction):
        queue = Queue()
        threads = [spawn(queue.put, number) for number in range(3)]
        got, came = interrupted(lambda: [queue.get() for _ in threads], handler, instruction)
        assert sorted(got) == [0, 1, 2]
        for thread in threads:
            thread.join()
        return came

    assert everywhere(scenario) > 20


def test_nothing_gives_way_in_the_middle_of_a_put(hub):
    lock, log, queue = Lock(), [], Queue()
    lock.acquire()

    def handler():
        hub.poll_time = 0.0
        lock.acquire(blocking=False)
        assert not log

    def scenario(instruction):
        thread = spawn(log.append, "another")
        _, came = interrupted(lambda: queue.put("item"), handler, instruction)
        thread.kill()
        return came

    assert everywhere(scenario) > 5


def test_an_os_thread_without_a_hub_is_told_at_once(hub):
    assert ThreadPool(1).execute(relax) is False


def test_a_condition_does_not_give_way_when_it_asks_whether_its_lock_is_taken(hub):
    condition, log = Condition(Lock()), []
    spawn(log.append, "another")
    with condition:
        hub.poll_time = 0.0
        condition.notify()
    assert not log


def test_a_signal_handler_that_asks_in_vain_lets_others_run():
    done = run(
        """
        import os, signal, time
        import greenserve
        from greenserve.hub import Flag, sleep, spawn, spawn_after
        flag = Flag()
        def handler(*_):
            spawn_after(0.01, flag.set)
            deadline = time.monotonic() + 20
            while not flag.is_set():
                assert time.monotonic() < deadline, "nobody else has run"
            os.write(1, b"set ")
        greenserve.monkey_patch()
        signal.signal(signal.SIGUSR1, handler)
        spawn(os.kill, os.getpid(), signal.SIGUSR1)
        sleep(0.05)
        spawn_after(0.01, os.kill, os.getpid(), signal.SIGUSR1)
        flag.clear()
        spawn(sleep, 0.1).wait()
        os.kill(os.getpid(), signal.SIGUSR1)
        os._exit(0)
        """
    )
    assert (done.stdout, done.stderr) == ("set set set ", "")
