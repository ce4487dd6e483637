"""Condition and Barrier, as green threads use them; test_threading_conformance.py has OS threads do it."""

from __future__ import annotations

import pytest
from greenlet import GreenletExit

from greenserve.hub import Timeout, sleep, spawn
from greenserve.hub.sync.condition import Barrier, BrokenBarrierError, Condition
from greenserve.hub.sync.lock import Lock
from greenserve.hub.sync.rlock import RLock


def waiter(condition, log, name, timeout=None):
    with condition:
        log.append((name, condition.wait(timeout)))


@pytest.mark.parametrize("lock", [Lock, RLock])
def test_waiters_are_notified_in_the_order_of_their_coming(lock, hub):
    condition, log = Condition(lock()), []
    threads = [spawn(waiter, condition, log, name) for name in "abc"]
    sleep()
    with condition:
        condition.notify(2)
    sleep()
    sleep()
    assert log == [("a", True), ("b", True)]
    with condition:
        condition.notify_all()
    threads[2].wait()
    assert log[2] == ("c", True)


def test_a_wait_that_times_out_has_the_lock_again_and_leaves_nothing(virtual):
    condition, log = Condition(), []
    waiter(condition, log, "a", 3)
    assert log == [("a", False)]
    assert virtual.now == 3
    assert not condition._line
    assert not condition._lock.locked()


def test_a_notification_passes_by_a_killed_waiter(hub):
    condition, log = Condition(), []
    threads = [spawn(waiter, condition, log, name) for name in "ab"]
    sleep()
    threads[0].kill()
    with condition:
        condition.notify()
    threads[1].wait()
    assert log == [("b", True)]


def test_a_waiter_that_was_killed_has_the_lock_when_it_leaves(hub):
    condition, log = Condition(), []

    def work():
        with condition:
            try:
                condition.wait()
            except GreenletExit:
                log.append(condition._is_owned())
                raise

    thread = spawn(work)
    sleep()
    with condition:
        thread.kill()
        assert log == []  # it waits for the lock
    thread.join()
    assert log == [True]
    assert not condition._lock.locked()


def test_a_kill_that_meets_a_notified_waiter_is_raised_at_its_next_wait(hub):
    condition, log = Condition(), []

    def work():
        with condition:
            log.append(condition.wait())
        sleep()
        log.append("never")

    thread = spawn(work)
    sleep()
    with condition:
        condition.notify()
        sleep()  # now it waits for the lock, notified
        thread.kill()
    thread.join()
    assert log == [True]
    assert isinstance(thread.error, GreenletExit)


def test_an_rlock_is_freed_altogether_and_taken_again_as_often(hub):
    condition = Condition()
    with condition, condition:
        thread = spawn(waiter, condition, [], "other", 0)
        assert condition.wait(0.01) is False
        assert condition._lock._recursion_count() == 2
    assert thread.dead


def test_wait_for_looks_again_after_each_notification(virtual):
    condition, numbers = Condition(), []

    def count():
        for n in range(5):
            sleep(1)
            with condition:
                numbers.append(n)
                condition.notify()

    spawn(count)
    with condition:
        assert condition.wait_for(lambda: len(numbers) == 4)
        assert virtual.now == 4
        assert not condition.wait_for(lambda: len(numbers) == 100, timeout=10)
    assert virtual.now == 14


def test_using_it_without_its_lock_is_an_error():
    for lock in (Lock(), RLock()):
        condition = Condition(lock)
        with pytest.raises(RuntimeError, match="un-acquired"):
            condition.wait()
        with pytest.raises(RuntimeError, match="un-acquired"):
            condition.notify()


def test_a_barrier_lets_them_pass_together_and_again(virtual):
    acts = []

    def act():
        acts.append(virtual.now)

    barrier = Barrier(3, act)
    passed = []

    def work(name):
        for round_ in range(2):
            sleep(name)
            passed.append((round_, virtual.now, barrier.wait()))

    threads = [spawn(work, n) for n in range(3)]
    sleep(1.5)
    assert barrier.n_waiting == 2
    for thread in threads:
        thread.wait()
    assert acts == [2, 4]
    assert sorted(number for round_, _, number in passed if round_ == 0) == [0, 1, 2]
    assert barrier.n_waiting == 0
    assert not barrier.broken


def test_a_late_barrier_breaks_for_all_until_it_is_reset(virtual):
    barrier = Barrier(3, timeout=2)
    threads = [spawn(barrier.wait) for _ in range(2)]
    for thread in threads:
        thread.quiet = True
        with pytest.raises(BrokenBarrierError):
            thread.wait()
    assert barrier.broken
    with pytest.raises(BrokenBarrierError):
        barrier.wait()
    barrier.reset()
    assert not barrier.broken
    threads = [spawn(barrier.wait) for _ in range(3)]
    assert sorted(thread.wait() for thread in threads) == [0, 1, 2]


def test_a_killed_party_takes_back_its_coming(virtual):
    barrier = Barrier(3)
    threads = [spawn(barrier.wait) for _ in range(2)]
    sleep()
    threads[0].kill()
    assert barrier.n_waiting == 1
    later = [spawn(barrier.wait) for _ in range(2)]
    assert sorted(thread.wait() for thread in (threads[1], *later)) == [0, 1, 2]


def test_a_failing_action_breaks_the_barrier(hub):
    barrier = Barrier(2, lambda: 1 / 0)
    first = spawn(barrier.wait)
    first.quiet = True
    sleep()
    with pytest.raises(ZeroDivisionError):
        barrier.wait()
    with pytest.raises(BrokenBarrierError):
        first.wait()


def test_abort_and_reset_end_the_waiting(hub):
    for end in (Barrier.abort, Barrier.reset):
        barrier = Barrier(2)
        thread = spawn(barrier.wait)
        thread.quiet = True
        sleep()
        end(barrier)
        with pytest.raises(BrokenBarrierError):
            thread.wait()
        assert barrier.broken == (end is Barrier.abort)


def test_a_timeout_in_a_condition_is_raised_with_the_lock_in_hand(virtual):
    condition = Condition()
    with condition:
        with pytest.raises(Timeout), Timeout(1):
            condition.wait()
        assert condition._is_owned()
