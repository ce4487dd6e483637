"""Lock, RLock, Semaphore, BoundedSemaphore."""

from __future__ import annotations

import sys

import pytest

from greenserve.errors import BlockingInHub
from greenserve.hub import GreenThread, current_hub, sleep, spawn
from greenserve.hub.sync.lock import BoundedSemaphore, Lock, Semaphore
from greenserve.hub.sync.rlock import RLock
from greenserve.hub.timeout import Timeout
from greenserve.testing import virtual_time
from tests.hub.interrupting import everywhere, interrupted

ONE_AT_A_TIME = pytest.mark.parametrize("make", [Lock, RLock, Semaphore, BoundedSemaphore])


def holder(lock, log, name, seconds=1.0):
    with lock:
        log.append(name)
        sleep(seconds)


@ONE_AT_A_TIME
def test_only_one_holds_it_and_they_come_in_order(make, virtual):
    lock, inside, log = make(), [0], []

    def work(name):
        with lock:
            inside[0] += 1
            assert inside == [1]
            log.append(name)
            sleep(1)
            inside[0] -= 1

    threads = [spawn(work, n) for n in range(10)]
    for thread in threads:
        thread.wait()
    assert log == list(range(10))
    assert virtual.now == 10


@ONE_AT_A_TIME
def test_who_releases_and_takes_again_waits_behind_the_others(make, hub):
    lock, log = make(), []

    def again_and_again(name):
        for _ in range(3):
            with lock:
                log.append(name)
                sleep()

    threads = [spawn(again_and_again, name) for name in "abc"]
    for thread in threads:
        thread.wait()
    assert log == list("abcabcabc")


@ONE_AT_A_TIME
def test_who_does_not_wait_cannot_overtake_those_who_do(make, hub):
    lock = make()
    lock.acquire()
    log = []
    thread = spawn(holder, lock, log, "waiter", 0)
    sleep()
    lock.release()
    assert spawn(lock.acquire, False).wait() is False
    thread.wait()
    assert lock.acquire(False)


@ONE_AT_A_TIME
def test_a_killed_waiter_is_skipped_and_loses_nothing(make, hub):
    lock, log = make(), []
    lock.acquire()
    threads = [spawn(holder, lock, log, name, 0) for name in "abc"]
    sleep()
    threads[0].kill()
    lock.release()
    threads[1].wait()
    threads[2].wait()
    assert log == ["b", "c"]
    assert lock.acquire(False)


@ONE_AT_A_TIME
def test_a_waiter_killed_after_it_was_given_the_lock_gives_it_back(make, hub):
    lock, log = make(), []
    lock.acquire()
    first, second = spawn(holder, lock, log, "first", 0), spawn(holder, lock, log, "second", 0)
    sleep()
    lock.release()
    first.kill(block=False)
    first.join()
    second.wait()
    assert log == ["first", "second"]  # the kill came at its sleep, with the lock in hand
    assert lock.acquire(False)


@ONE_AT_A_TIME
def test_a_waiter_that_times_out_is_skipped_and_leaves_nothing(make, virtual):
    lock, log = make(), []
    lock.acquire()

    def impatient():
        for _ in range(1000):
            assert not lock.acquire(timeout=0.001)
        log.append("gave up")

    thread, patient = spawn(impatient), spawn(holder, lock, log, "patient")
    thread.wait()
    assert len(lock._lines[0]) == 1  # the patient one
    lock.release()
    patient.wait()
    assert log == ["gave up", "patient"]


@ONE_AT_A_TIME
def test_a_timeout_raises_in_a_waiter_and_the_lock_goes_to_the_next(make, virtual):
    lock, log = make(), []
    lock.acquire()

    def work():
        with pytest.raises(Timeout), Timeout(1), lock:
            log.append("never")

    threads = [spawn(work), spawn(holder, lock, log, "next")]
    threads[0].wait()
    lock.release()
    threads[1].wait()
    assert log == ["next"]


@pytest.mark.parametrize("make", [Lock, RLock])
def test_timeouts_that_make_no_sense_are_refused(make):
    lock = make()
    with pytest.raises(ValueError, match="non-blocking"):
        lock.acquire(False, 1)
    with pytest.raises(ValueError, match="non-negative"):
        lock.acquire(timeout=-2)
    with pytest.raises(OverflowError):
        lock.acquire(timeout=1e100)
    assert lock.acquire(timeout=0)


@pytest.mark.parametrize("make", [Lock, RLock])
def test_a_free_lock_cannot_be_released(make):
    lock = make()
    with pytest.raises(RuntimeError, match="release"):
        lock.release()
    with lock:
        pass
    with pytest.raises(RuntimeError, match="release"):
        lock.release()


@ONE_AT_A_TIME
def test_a_callback_of_the_hub_can_take_a_free_lock_but_not_wait_for_one(make, hub):
    lock, found = make(), []

    def callback():
        with lock:
            found.append("free")

    def blocked():
        try:
            lock.acquire()
        except BlockingInHub as error:
            found.append(type(error))

    hub.call_soon(callback)
    sleep()
    lock.acquire()
    hub.call_soon(blocked)
    sleep()
    lock.release()
    assert found == ["free", BlockingInHub]
    assert lock.acquire(False)


def test_a_lock_may_be_released_by_another():
    lock = Lock()
    lock.acquire()
    spawn(lock.release).wait()
    assert not lock.locked()


def test_a_lock_that_nobody_waited_for_is_small():
    assert sys.getsizeof(Lock()._lines) + sys.getsizeof(Lock()._free) < 200


def test_an_rlock_is_taken_again_by_its_owner_and_by_nobody_else(hub):
    lock = RLock()
    with lock, lock, lock:
        assert lock._recursion_count() == 3
        assert spawn(lock.acquire, False).wait() is False
        thread = spawn(lock.release)
        thread.quiet = True
        with pytest.raises(RuntimeError, match="un-acquired"):
            thread.wait()
    assert not lock.locked()
    assert spawn(lock.acquire, False).wait()


def test_an_rlock_belongs_to_the_thread_and_not_to_the_carrier_that_runs_the_next_one(hub):
    lock = RLock()
    spawn(lock.acquire).wait()
    carriers = len(hub.carriers)
    assert spawn(lock.acquire, False).wait() is False
    assert len(hub.carriers) == carriers


def test_a_semaphore_counts(hub):
    semaphore = Semaphore(3)
    assert [semaphore.acquire(False) for _ in range(4)] == [True, True, True, False]
    threads = [spawn(semaphore.acquire) for _ in range(3)]
    sleep()
    assert semaphore.balance == -3
    assert semaphore.locked()
    semaphore.release(2)
    threads[0].wait()
    threads[1].wait()
    sleep()
    assert not threads[2].dead
    semaphore.release(2)
    threads[2].wait()
    assert semaphore.balance == 1


def test_a_semaphore_of_a_million_takes_no_memory_and_gives_exactly_a_million():
    semaphore = Semaphore(1_000_000)
    assert semaphore.balance == 1_000_000
    for _ in range(1_000_000):
        semaphore.acquire(False)
    assert not semaphore.acquire(False)
    assert semaphore.balance == 0
    assert sys.getsizeof(semaphore._free) < 500


def test_semaphores_refuse_what_makes_no_sense():
    with pytest.raises(ValueError, match=">= 0"):
        Semaphore(-1)
    with pytest.raises(ValueError, match="one or more"):
        Semaphore().release(0)
    with pytest.raises(ValueError, match="non-blocking"):
        Semaphore().acquire(False, 1)
    assert Semaphore(0).acquire(timeout=0) is False
    assert Semaphore(0).acquire(timeout=-1) is False


def test_a_bounded_semaphore_takes_back_no_more_than_it_gave():
    semaphore = BoundedSemaphore(20)
    with pytest.raises(ValueError, match="too many"):
        semaphore.release()
    semaphore.acquire()
    with pytest.raises(ValueError, match="too many"):
        semaphore.release(2)
    semaphore.release()
    with semaphore:
        pass
    with pytest.raises(ValueError, match="too many"):
        semaphore.release()


def test_every_lock_tells_its_state_in_its_repr():
    assert repr(Lock()).startswith("<unlocked greenserve.Lock object at")
    lock = RLock()
    with lock:
        assert repr(lock).startswith("<locked greenserve.RLock object owner=")
    assert "value=7" in repr(Semaphore(7))
    assert "value=7/7" in repr(BoundedSemaphore(7))


@pytest.mark.parametrize("make", [Lock, RLock])
def test_a_forked_child_begins_with_free_locks(make, hub):
    lock = make()
    lock.acquire()
    spawn(lock.acquire)
    sleep()
    lock._at_fork_reinit()
    assert lock.acquire(False)


# -- a finaliser or a signal handler in the middle


@pytest.mark.parametrize("make", [Lock, Semaphore])
def test_a_release_that_comes_in_the_middle_of_a_wait_is_not_missed(make, virtual):
    def scenario(instruction):
        lock = make()
        lock.acquire()
        start = virtual.now
        got, _ = interrupted(lambda: lock.acquire(timeout=5), lock.release, instruction)
        if virtual.now > start:  # it had parked by then: the interruption came after the timeout, or not at all
            return False
        assert got
        assert not lock.acquire(False)
        lock.release()
        assert lock.acquire(False)
        return True

    assert everywhere(scenario) > 10


def test_a_release_in_the_middle_of_a_release_is_harmless(hub):
    def scenario(instruction):
        semaphore, log = Semaphore(0), []
        threads = [spawn(holder, semaphore, log, name, 0) for name in "ab"]
        sleep()
        _, came = interrupted(semaphore.release, semaphore.release, instruction)
        if not came:
            semaphore.release()
        for thread in threads:
            thread.wait()
        assert sorted(log) == ["a", "b"]
        assert semaphore.balance == 2
        return came

    assert everywhere(scenario) > 10


@pytest.mark.parametrize("waiters", [0, 1])
def test_an_rlock_that_is_used_in_the_middle_of_itself_is_harmless(waiters, hub):
    lock, log = RLock(), []

    def finaliser():
        if lock.acquire(waiters == 0):  # with waiters it may be theirs already
            lock.release()

    def use():
        with lock:
            pass

    def scenario(instruction):
        lock.acquire()
        threads = [spawn(holder, lock, log, "waiter", 0) for _ in range(waiters)]
        sleep()
        lock.release() if not waiters else None
        _, came = interrupted(use if not waiters else lock.release, finaliser, instruction)
        for thread in threads:
            thread.wait()
        assert not lock.locked()
        return came

    assert everywhere(scenario) > 10


def test_a_finaliser_that_waits_for_an_rlock_in_the_middle_of_its_release_gets_it(hub, monkeypatch):
    """The releaser has freed it, and not yet woken who waits: the finaliser must do that, or both wait for ever."""
    lock, log = RLock(), []
    lock.acquire()
    thread = spawn(holder, lock, log, "waiter", 0)
    sleep()
    wake_head = RLock._wake_head

    def interrupted_wake_head(self):
        monkeypatch.setattr(RLock, "_wake_head", wake_head)
        with lock:  # the finaliser
            log.append("finaliser")
        wake_head(self)

    monkeypatch.setattr(RLock, "_wake_head", interrupted_wake_head)
    lock.release()
    thread.wait()
    assert log == ["waiter", "finaliser"]


def test_any_schedule_of_holders_keeps_the_order_of_coming():
    for seed in range(30):
        for make in (Lock, RLock, Semaphore):
            with virtual_time(seed):
                lock, came, went = make(), [], []

                def work(name, lock=lock, came=came, went=went):
                    sleep(name % 3)
                    came.append(name)
                    with lock:
                        went.append(name)
                        sleep(1)

                threads: list[GreenThread[None]] = [spawn(work, n) for n in range(9)]
                for thread in threads:
                    thread.wait()
                assert went == came
                assert current_hub().clock() <= 11
