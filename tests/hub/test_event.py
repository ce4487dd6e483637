"""Event, AsyncResult, Flag."""

from __future__ import annotations

import traceback

import pytest

from greenserve.errors import AlreadySent
from greenserve.hub import Timeout, sleep, spawn
from greenserve.hub.sync.event import AsyncResult, Event, Flag
from tests.hub.interrupting import everywhere, interrupted

BOTH = pytest.mark.parametrize("make", [Event, AsyncResult])


@BOTH
def test_a_value_reaches_all_who_wait_and_all_who_come_later(make, hub):
    event = make()
    threads = [spawn(event.wait) for _ in range(3)]
    sleep()
    assert not event.ready()
    event.send(42)
    assert [thread.wait() for thread in threads] == [42, 42, 42]
    assert event.wait() == 42
    assert event.ready()
    assert event.has_result()
    assert not event.has_exception()


@BOTH
@pytest.mark.parametrize(
    "send",
    [
        lambda event: event.send(exc=KeyError("gone")),
        lambda event: event.send(exc=(KeyError, "gone")),
        lambda event: event.send_exception(KeyError, "gone"),
        lambda event: event.send_exception(KeyError("gone")),
    ],
)
def test_an_error_is_raised_in_all_who_wait(make, send, hub):
    event = make()
    threads = [spawn(event.wait) for _ in range(3)]
    for thread in threads:
        thread.quiet = True
    sleep()
    send(event)
    for thread in threads:
        with pytest.raises(KeyError, match="gone"):
            thread.wait()
    assert event.has_exception()
    assert not event.has_result()
    assert repr(event.poll_exception()) == "KeyError('gone')"


def test_an_errors_traceback_does_not_grow_by_each_who_waits():
    event = Event()
    try:
        raise ValueError("once")
    except ValueError as error:
        event.send_exception(error)
    lengths = set()
    for _ in range(5):
        with pytest.raises(ValueError, match="once") as caught:
            event.wait()
        lengths.add(len(traceback.extract_tb(caught.value.__traceback__)))
    assert len(lengths) == 1


@BOTH
def test_it_can_be_sent_once_and_again_after_a_reset(make):
    event = make()
    event.send(1)
    with pytest.raises(AlreadySent):
        event.send(2)
    with pytest.raises(AssertionError):  # as Eventlet's
        event.send_exception(ValueError())
    assert event.wait() == 1
    event.reset()
    assert not event.ready()
    event.send(3)
    assert event.wait() == 3


def test_who_was_woken_gets_the_value_though_it_was_reset_at_once(hub):
    event = Event()
    thread = spawn(event.wait)
    sleep()
    event.send("first")
    event.reset()
    event.send("second")
    assert thread.wait() == "first"


def test_a_wait_with_a_timeout_returns_none_and_leaves_nothing(virtual):
    event = Event()
    assert event.wait(timeout=5) is None
    assert virtual.now == 5
    assert not event._waiters
    thread = spawn(event.wait, 5)
    sleep(1)
    event.send("in time")
    assert thread.wait() == "in time"


def test_a_killed_waiter_leaves_nothing(hub):
    event = Event()
    thread = spawn(event.wait)
    sleep()
    thread.kill()
    assert not event._waiters
    event.send(1)


def test_polling_tells_what_is_there_without_waiting():
    event = Event()
    assert event.poll() is None
    assert event.poll("nothing") == "nothing"
    assert event.poll_result("nothing") == "nothing"
    assert event.poll_exception("nothing") == "nothing"
    event.send(7)
    assert event.poll() == event.poll_result() == 7
    assert event.poll_exception("none") == "none"
    event.reset()
    event.send_exception(ValueError("bad"))
    assert event.poll_result("none") == "none"
    with pytest.raises(ValueError, match="bad"):
        event.poll()


def test_an_async_result_tells_a_missing_result_from_none(virtual):
    result = AsyncResult()
    with pytest.raises(TimeoutError):
        result.get(timeout=1)
    with pytest.raises(TimeoutError):
        result.get_nowait()
    result.set(None)
    assert result.get() is None
    assert result.get_nowait() is None
    assert result.successful()
    assert result.exception is None


def test_an_async_result_takes_over_how_a_thread_ended(hub):
    good, bad = AsyncResult(), AsyncResult()
    spawn(lambda: 5).link(good)
    failing = spawn(int, "x")
    failing.quiet = True
    failing.link(bad)
    assert good.get() == good.value == 5
    with pytest.raises(ValueError, match="invalid literal"):
        bad.get()
    assert isinstance(bad.exception, ValueError)
    assert bad.value is None


def test_a_flag_is_up_or_down(virtual):
    flag = Flag()
    assert not flag.is_set()
    assert flag.wait(1) is False
    thread = spawn(flag.wait)
    sleep()
    flag.set()
    assert flag.is_set()
    assert thread.wait() is True
    assert flag.wait() is True
    flag.clear()
    assert flag.wait(1) is False
    assert virtual.now == 2
    assert not flag._waiters


def test_a_flag_that_is_put_up_and_down_at_once_wakes_those_who_waited(hub):
    flag = Flag()
    threads = [spawn(flag.wait) for _ in range(3)]
    sleep()
    flag.set()
    flag.clear()
    assert [thread.wait() for thread in threads] == [True] * 3
    late = spawn(flag.wait, 0.001)
    assert late.wait() is False


def test_a_timeout_ends_a_wait_for_a_flag(virtual):
    flag = Flag()
    with Timeout(3, False):
        flag.wait()
    assert virtual.now == 3
    assert not flag._waiters


@pytest.mark.parametrize(("make", "happen"), [(Event, Event.send), (Flag, Flag.set)])
def test_what_happens_in_the_middle_of_a_wait_is_not_missed(make, happen, virtual):
    def scenario(instruction):
        thing, start = make(), virtual.now
        interrupted(lambda: thing.wait(5), lambda: happen(thing), instruction)
        assert not thing._waiters
        return virtual.now == start

    assert everywhere(scenario) > 10
