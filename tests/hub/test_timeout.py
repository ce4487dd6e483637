"""Timeout: told apart by identity, restartable, silent where asked; and never raised where it no longer belongs."""

from __future__ import annotations

import contextlib

import pytest

from greenserve.errors import HubError
from greenserve.hub import Timeout, is_timeout, sleep, spawn, spawn_after, with_timeout
from greenserve.hub.core.hub import running, wake
from tests.hub.support import VirtualTime


def test_a_timeout_is_a_base_exception_and_raises_itself(virtual: VirtualTime):
    timeout = Timeout(5)
    with pytest.raises(Timeout) as caught, contextlib.suppress(Exception):
        sleep(10)
    assert caught.value is timeout
    assert virtual.now == 5


def test_nested_timeouts_catch_their_own(virtual: VirtualTime):
    with Timeout(10) as outer, pytest.raises(Timeout) as caught, Timeout(5) as inner:
        sleep(20)
    assert caught.value is inner
    assert not outer.pending


def test_an_outer_timeout_passes_through_a_silent_inner_one(virtual: VirtualTime):
    with pytest.raises(Timeout) as caught, Timeout(2) as outer, Timeout(5, False):
        sleep(20)
    assert caught.value is outer


def test_the_with_form_can_be_silent(virtual: VirtualTime):
    with Timeout(5, False):
        sleep(10)
        pytest.fail("went on")
    assert virtual.now == 5


def test_a_cancelled_timeout_can_start_again(virtual: VirtualTime):
    timeout = Timeout(5)
    timeout.cancel()
    timeout.cancel()
    sleep(10)
    timeout.start()
    assert timeout.pending
    with pytest.raises(Timeout) as caught:
        sleep(10)
    assert caught.value is timeout
    assert virtual.now == 15


def test_a_fired_timeout_can_start_again_and_starts_at_the_next_with(virtual: VirtualTime):
    timeout = Timeout(5)
    with pytest.raises(Timeout):
        sleep(10)
    with pytest.raises(Timeout), timeout:
        sleep(10)
    assert virtual.now == 10
    timeout.start()
    with pytest.raises(Timeout):
        sleep(10)
    assert virtual.now == 15


def test_starting_twice_is_an_error(virtual: VirtualTime):
    with Timeout(5) as timeout, pytest.raises(HubError, match="already started"):
        timeout.start()


def test_a_with_does_not_restart_what_counts_already(virtual: VirtualTime):
    timeout = Timeout(5)
    sleep(3)
    with pytest.raises(Timeout), timeout:
        sleep(10)
    assert virtual.now == 5


def test_seconds_none_never_fires(virtual: VirtualTime):
    with Timeout(None) as timeout:
        sleep(1000)
    assert not timeout.pending
    assert str(timeout) == ""


def test_another_exception_may_be_raised_instead(virtual: VirtualTime):
    error = KeyError("mine")
    for given in (error, KeyError, lambda: KeyError("mine")):
        with pytest.raises(KeyError), Timeout(1, given):
            sleep(10)


def test_an_exception_that_cannot_be_made_is_reported_by_its_own_error(virtual: VirtualTime):
    with pytest.raises(TypeError), Timeout(1, UnicodeDecodeError):
        sleep(10)


def test_a_timeout_that_fires_for_a_claimed_thread_comes_at_its_next_park(virtual: VirtualTime):
    greenlet = running()
    token = [greenlet]
    spawn_after(4, wake, token, "handed over")
    spawn_after(4, busy_until, virtual, 6)  # so that main, although claimed, is not resumed before the timeout fires
    with Timeout(5) as timeout:
        assert virtual.hub.park(greenlet, token) == "handed over"
        with pytest.raises(Timeout) as caught:
            sleep(0)
    assert caught.value is timeout


def busy_until(virtual: VirtualTime, time: float) -> None:
    virtual.now = time
    sleep(0)


def test_a_fired_timeout_that_is_cancelled_before_it_is_raised_is_taken_back(virtual: VirtualTime):
    greenlet = running()
    token = [greenlet]
    virtual.hub.call_later(5, wake, token)  # first in the heap: main is claimed when the timeouts fire
    timeouts = [Timeout(5), Timeout(5), Timeout(5)]
    virtual.hub.park(greenlet, token)
    assert greenlet.pending == timeouts
    timeouts[1].cancel()
    assert greenlet.pending == [timeouts[0], timeouts[2]]
    timeouts[0].cancel()
    timeouts[2].cancel()
    sleep(1)


def test_a_fired_timeout_that_is_on_its_way_is_not_restarted_by_a_with(virtual: VirtualTime):
    greenlet = running()
    token = [greenlet]
    virtual.hub.call_later(5, wake, token)
    timeout = Timeout(5)
    virtual.hub.park(greenlet, token)
    with pytest.raises(Timeout), timeout:
        sleep(1)
    assert virtual.now == 5


def test_a_timeout_does_not_hit_the_next_job_of_its_carrier(virtual: VirtualTime):
    def careless() -> None:
        Timeout(5)

    spawn(careless).wait()
    assert spawn(lambda: sleep(10) or "unharmed").wait() == "unharmed"
    assert virtual.now == 10


def test_with_timeout(virtual: VirtualTime):
    assert with_timeout(5, divmod, 7, 2) == (3, 1)
    assert with_timeout(5, sleep, 10, timeout_value="too late") == "too late"
    with pytest.raises(Timeout):
        with_timeout(5, sleep, 10)
    with pytest.raises(Timeout) as caught, Timeout(1) as outer:
        with_timeout(5, sleep, 10, timeout_value="not mine")
    assert caught.value is outer


def test_start_new_takes_seconds_or_a_timeout(virtual: VirtualTime):
    timeout = Timeout.start_new(5)
    assert Timeout.start_new(timeout) is timeout
    timeout.close()
    assert Timeout.start_new(timeout).pending
    timeout.cancel()


def test_is_timeout():
    assert is_timeout(TimeoutError())
    assert is_timeout(Timeout(None))
    assert not is_timeout(OSError())


def test_a_timeout_describes_itself(virtual: VirtualTime):
    with Timeout(1) as timeout:
        assert repr(timeout) == "<Timeout of 1 second (pending)>"
    assert repr(timeout) == "<Timeout of 1 second (not started)>"
    assert str(Timeout(2.5)) == "2.5 seconds"


def test_a_wait_that_ends_by_an_exception_cancels_its_timer(virtual: VirtualTime):
    hub = running().hub
    thread = spawn(sleep, 1000)
    sleep(0)
    assert len(hub.timers) == 1
    thread.kill()
    assert hub.timers.next_deadline() is None
    with Timeout(1, False):
        hub.park_until(running(), [running()], 1000)
    assert hub.timers.next_deadline() is None


def test_a_million_start_cancel_pairs_grow_nothing(virtual: VirtualTime):
    hub = running().hub
    largest = 0
    for _ in range(100_000):
        Timeout(10).cancel()
        largest = max(largest, len(hub.timers))
    assert largest <= 1
    kept = [Timeout(10 + number) for number in range(300)]
    for _ in range(20_000):  # others in between, so that a cancelled one is not the heap's last leaf
        one, two = Timeout(100), Timeout(1)
        one.cancel()
        two.cancel()
        largest = max(largest, len(hub.timers))
    assert largest <= 4 * len(kept)
    for timeout in kept:
        timeout.cancel()
    assert hub.timers.next_deadline() is None
