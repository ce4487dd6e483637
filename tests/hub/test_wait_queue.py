"""WaitQueue: what every container has in which green threads wait."""

from __future__ import annotations

import pytest

from greenserve.hub import Timeout, running, sleep, spawn
from greenserve.hub.core.ready import TIMED_OUT, wake
from greenserve.hub.core.wait_queue import Offer, WaitQueue, resume


def test_waiters_are_woken_in_the_order_of_their_coming(hub):
    line, order = WaitQueue(), []

    def waiting(name):
        order.append((name, line.wait()))

    for name in "abc":
        spawn(waiting, name)
    sleep()
    assert [line.wake(1), line.wake(2), line.wake(3), line.wake(4)] == [True, True, True, False]
    sleep()
    assert order == [("a", 1), ("b", 2), ("c", 3)]
    assert not line


def test_one_that_enters_as_the_first_is_woken_before_the_others(hub):
    line = WaitQueue()
    later = spawn(line.wait)
    sleep()
    first = spawn(line.wait, first=True)
    sleep()
    line.wake("first")
    line.wake("later")
    assert (first.wait(), later.wait()) == ("first", "later")


@pytest.mark.parametrize("how", [{"timeout": 5}, {"deadline": 5}])
def test_a_waiter_that_times_out_leaves_nothing(how, virtual):
    line = WaitQueue()
    assert line.wait(**how) is TIMED_OUT
    assert virtual.now == 5
    assert not line
    assert not line.wake()


def test_a_waiter_that_is_killed_or_interrupted_leaves_nothing(virtual):
    line = WaitQueue()
    killed = spawn(line.wait)
    sleep()
    killed.kill()
    with Timeout(1, False):
        line.wait()
    assert not line


def test_what_is_there_already_ends_the_wait_without_a_switch(hub):
    line, others = WaitQueue(), []
    spawn(others.append, "another has run")
    assert line.wait(unless=lambda: "there") == "there"
    assert not line
    assert not others


def test_the_second_look_sees_a_waiter_that_can_be_woken(hub):
    line = WaitQueue()
    assert line.wait(unless=lambda: line.wake("by the second look") and None) == "by the second look"
    assert not line


def test_what_a_waiter_was_given_counts_more_than_what_the_second_look_finds(hub):
    line = WaitQueue()
    assert line.wait(unless=lambda: line.wake("given")) == "given"
    thread = spawn(line.wait)
    sleep()
    assert line.wake("its own")
    assert thread.wait() == "its own"


def test_an_error_of_the_second_look_leaves_nothing(hub):
    line = WaitQueue()
    with pytest.raises(ZeroDivisionError):
        line.wait(unless=lambda: 1 / 0)
    assert not line


def test_a_claimed_waiter_is_resumed_with_what_was_taken_for_it(virtual):
    line = WaitQueue()
    thread = spawn(line.wait, 5)
    sleep()
    claimed = line.claim()
    sleep(10)
    assert not thread.dead  # its time has come while it was claimed
    resume(claimed, "late, but certain")
    assert thread.wait() == "late, but certain"
    assert line.claim() is None


def test_all_are_woken_that_wait_and_none_that_comes_meanwhile(hub):
    line, woken = WaitQueue(), []

    class Coming(Offer):
        def pop(self, *position):  # as another OS thread's, in the middle of it
            line.append(late)
            return super().pop(*position)

    late = [running()]
    first = Coming(None)
    waiting = [spawn(line.wait, offer=first), spawn(line.wait)]
    sleep()
    assert line.wake_all("all") is True
    woken += [thread.wait() for thread in waiting]
    assert woken == ["all", "all"]
    assert list(line) == [late]
    line.leave(late)
    assert line.wake_all() is False


def test_of_a_waiter_and_one_that_leaves_each_takes_out_one_token(hub):
    line = WaitQueue()
    mine, other = [running()], ["another's greenlet"]
    line.append(other)
    line.append(mine)
    other.clear()  # it was woken, or has timed out, and has not run yet
    assert line.leave(mine)
    assert not line.leave(other)
    assert not line


def test_an_offer_comes_to_the_one_that_claims_its_waiter(hub):
    line, offer = WaitQueue(), Offer("what it brings")
    thread = spawn(line.wait, offer=offer)
    sleep()
    assert line[0].item == "what it brings"
    assert wake(line.popleft(), "taken")
    assert thread.wait() == "taken"
