"""The ready queue: fairness, claims, and resumptions that nobody has a claim for."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Callable

import greenlet
import pytest

from greenserve.errors import HubError
from greenserve.hub import TIMED_OUT, Timeout, sleep, spawn, use_hub
from greenserve.hub.core.hub import Hub, current_hub, running, wake
from tests.hub.support import VirtualTime


def parked(tokens: list[list[object]]) -> object:
    me = running()
    tokens.append([me])
    return me.hub.park(me, tokens[-1])


def test_a_computation_gives_way_when_its_turn_is_over_and_not_before(hub: Hub):
    times: list[float] = []

    def compute() -> None:
        me = running()
        sleep(0)  # into a fresh turn
        while not times:
            hub.give_way(me)

    thread = spawn(compute)
    spawn(lambda: (sleep(0.003), times.append(hub.clock())))
    thread.wait()
    hub.poll_time = hub.clock() + 60
    order: list[str] = []
    spawn(order.append, "other")
    assert not hub.turn_is_over()
    hub.give_way(running())
    assert order == []
    hub.poll_time = 0.0
    assert hub.turn_is_over()
    hub.give_way(running())
    assert order == ["other"]


def test_a_loop_of_sleep_0_starves_neither_descriptors_nor_timers(hub: Hub):
    reader, writer = os.pipe()
    stop: list[str] = []

    def spin() -> None:
        while len(stop) < 2:
            sleep(0)

    def timer() -> None:
        sleep(0.002)
        stop.append("timer")

    def descriptor() -> None:
        hub.wait_readable(reader)
        stop.append("descriptor")

    threads = [spawn(spin), spawn(spin), spawn(timer), spawn(descriptor)]
    sleep(0)
    os.write(writer, b"x")
    for thread in threads:
        thread.wait()
    assert sorted(stop) == ["descriptor", "timer"]
    os.close(reader)
    os.close(writer)


def test_two_threads_that_wake_each_other_starve_nobody(hub: Hub):
    """They park, instead of pausing; the rounds are as short as can be."""
    tokens: list[list[object]] = [[], []]
    stop: list[str] = []

    def player(mine: int) -> None:
        me = running()
        while not stop:
            tokens[mine] = [me]
            wake(tokens[1 - mine])
            hub.park(me, tokens[mine])
        wake(tokens[1 - mine])

    spawn(player, 0)
    spawn(player, 1)
    spawn(lambda: sleep(0.002) or stop.append("timer")).wait()
    assert stop == ["timer"]


def test_a_chain_of_callbacks_and_new_threads_starves_nobody(hub: Hub):
    stop: list[str] = []

    def again() -> None:
        if not stop:
            hub.call_soon(again)

    def have_children() -> None:
        if not stop:
            spawn(have_children)

    hub.call_soon(again)
    spawn(have_children)
    hub.call_later(0.002, stop.append, "timer")
    while not stop:
        sleep(0)


def test_sleep_0_lets_every_other_ready_thread_run_once(hub: Hub):
    order = []

    def turn(name: str) -> None:
        for _ in range(3):
            order.append(name)
            sleep(0)

    threads = [spawn(turn, name) for name in "abc"]
    for thread in threads:
        thread.wait()
    assert order == list("abcabcabc")


def test_of_two_claims_exactly_one_wins(hub: Hub):
    tokens: list[list[object]] = []
    thread = spawn(parked, tokens)
    sleep(0)
    assert wake(tokens[0], "first")
    assert not wake(tokens[0], "second")
    assert thread.wait() == "first"


def test_a_deadline_and_a_wake_up_at_the_same_time_resume_once(virtual: VirtualTime):
    """Whichever was set first comes first."""

    def wait(deadline: float) -> object:
        me = running()
        tokens.append([me])
        return me.hub.park_until(me, tokens[-1], deadline)

    tokens: list[list[object]] = []
    virtual.hub.call_later(5, lambda: wake(tokens[0], "woken"))
    first = spawn(wait, 5)
    second = spawn(wait, 5)
    sleep(0)
    virtual.hub.call_later(5, lambda: wake(tokens[1], "woken"))
    assert first.wait() == "woken"
    assert second.wait() is TIMED_OUT
    assert not TIMED_OUT
    assert repr(TIMED_OUT) == "TIMED_OUT"


def test_a_resumption_that_no_claim_stands_behind_is_ignored(hub: Hub):
    tokens: list[list[object]] = []
    thread = spawn(parked, tokens)
    sleep(0)
    hub.ready.append(tokens[0][0])
    sleep(0)
    assert not thread.dead
    wake(tokens[0], "rightly")
    assert thread.wait() == "rightly"


def test_an_idle_carrier_that_is_resumed_by_mistake_stays_idle(hub: Hub):
    spawn(int).wait()
    sleep(0)
    hub.ready.append(hub.idle_carriers[0])
    sleep(0)
    assert spawn(int, "7").wait() == 7


def test_a_users_own_greenlet_may_sleep(virtual: VirtualTime):
    def foreign() -> str:
        sleep(5)
        return "slept"

    assert greenlet.greenlet(foreign).switch() == "slept"
    assert spawn(lambda: greenlet.greenlet(foreign).switch()).wait() == "slept"
    assert virtual.now == 10


def test_a_users_own_greenlet_that_ends_does_not_resume_a_parent_that_is_parked(virtual: VirtualTime):
    def foreign() -> None:
        parent = greenlet.getcurrent().parent
        assert parent is not None
        parent.switch()
        sleep(5)

    child = greenlet.greenlet(foreign)
    child.switch()
    spawn(child.switch)  # it ends at 5, and falls back to main, which sleeps until 10
    sleep(10)
    assert virtual.now == 10
    assert child.dead


def test_a_raw_throw_into_a_parked_thread_leaves_no_claim_behind(hub: Hub):
    tokens: list[list[object]] = []
    thread = spawn(parked, tokens)
    thread.quiet = True
    sleep(0)
    carrier = tokens[0][0]
    assert isinstance(carrier, greenlet.greenlet)
    hub.call_soon(carrier.throw, KeyError("raw"))
    with pytest.raises(KeyError, match="raw"):
        thread.wait()
    assert not wake(tokens[0])


def test_a_throw_at_a_greenlet_that_has_died_meanwhile_harms_nobody(hub: Hub):
    def foreign() -> None:
        me = running()
        tokens.append([me])
        me.hub.park(me, tokens[-1])

    tokens: list[list[object]] = []
    raw = greenlet.greenlet(foreign)
    spawn(raw.switch)
    sleep(0)
    hub.throw(raw, KeyError("too late"))
    hub.ready.appendleft(raw)  # a mistake somewhere: it is resumed, ends, and then the exception comes
    tokens[0].clear()
    sleep(0)
    assert raw.dead
    sleep(0)


def test_several_pending_exceptions_come_one_at_each_park(hub: Hub):
    me = running()
    hub.throw(me, KeyError("first"))
    hub.throw(me, ValueError("second"))
    with pytest.raises(KeyError):
        sleep(0)
    with pytest.raises(ValueError):
        hub.park(me, [me])
    sleep(0)


def test_a_pending_exception_does_not_destroy_what_was_handed_over(hub: Hub):
    me = running()
    token = [me]
    hub.throw(me, KeyError("waits"))
    wake(token, "a present")
    assert hub.park(me, token) == "a present"
    with pytest.raises(KeyError):
        sleep(0)


def test_a_callback_that_raises_does_not_stop_the_others(hub: Hub, capsys: pytest.CaptureFixture[str]):
    calls: list[str] = []
    hub.call_soon(int, "not a number")
    hub.call_later(0, int, "not a number either")
    hub.call_soon(calls.append, "soon")
    hub.call_later(0, calls.append, "later")
    hub.call_soon(exit_greenlet)
    hub.call_later(0, exit_greenlet)
    hub.call_later(0, calls.append, "last")
    spawn(sleep, 0.001).wait()
    assert sorted(calls) == ["last", "later", "soon"]
    assert capsys.readouterr().err.count("Traceback") == 2


def exit_greenlet() -> None:
    raise greenlet.GreenletExit


def test_system_exit_of_a_callback_is_mains(hub: Hub):
    hub.call_soon(exit, 3)
    with pytest.raises(SystemExit):
        sleep(1000)
    hub.call_later(0, exit, 3)
    fired: list[int] = []
    hub.call_later(0, fired.append, 1)
    with pytest.raises(SystemExit):
        sleep(1000)
    sleep(0.001)
    assert fired == [1]


@pytest.mark.parametrize("where", ["park", "sleep", "pause", "loop"])
def test_a_signal_handler_that_raises_is_no_end_of_the_world(hub: Hub, where: str):
    """Not allowed, and yet the hub goes on: with the MARK lost in the middle of things nobody would look at timers."""
    raw = hub.ready.popleft()  # as such a handler would leave things
    assert raw is None
    me = running()
    if where == "loop":
        hub.ready.append(None)
        hub.call_soon(hub.ready.clear)
        hub.call_soon_threadsafe(lambda: pytest.fail("never"))
        with pytest.raises(IndexError):
            sleep(1000)
    else:
        hub.ready.append(None)
    with Timeout(0.001, False):
        if where == "park":
            hub.park(me, [me])
        else:
            sleep(1000)
    sleep(0.001)


def test_a_new_thread_is_begun_by_the_hub_however_deep_the_spawner_is(hub: Hub):
    """On top of a deep C stack, each of them would need a copy of it."""
    depth: list[int] = []

    def deep(levels: int) -> None:
        if levels:
            sorted([levels], key=lambda level: deep(level - 1) or 0)  # through C at each level
        else:
            for thread in [spawn(depth.append, 1) for _ in range(300)]:
                thread.wait()

    spawn(deep, 60).wait()
    deep(60)
    assert len(depth) == 600


def test_a_recursion_error_is_its_threads_own(hub: Hub, capsys: pytest.CaptureFixture[str]):
    def endless() -> None:
        sleep(0)
        endless()

    thread = spawn(endless)
    with pytest.raises(RecursionError):
        thread.wait()
    assert spawn(int).wait() == 0
    capsys.readouterr()


def test_tracing_and_profiling_survive_switches(hub: Hub):
    events: list[str] = []

    def note(frame: object, event: str, argument: object) -> None:
        events.append(event)

    def turn() -> int:
        for _ in range(3):
            sleep(0)
        spawn(int).wait()
        return len(events)

    tracing, profiling = sys.gettrace(), sys.getprofile()
    try:
        for install in (sys.settrace, sys.setprofile):
            events.clear()
            install(note)
            threads = [spawn(turn) for _ in range(3)]
            assert all(thread.wait() > 0 for thread in threads)
            install(None)
    finally:
        sys.settrace(tracing)
        sys.setprofile(profiling)


def test_a_parked_thread_that_nobody_refers_to_lives_on(virtual: VirtualTime):
    ends: list[float] = []

    def forgotten() -> None:
        try:
            sleep(5)
        finally:
            ends.append(virtual.now)

    spawn(forgotten)
    sleep(1)
    gc.collect()
    sleep(10)
    assert ends == [5]


def test_the_clock_and_the_poller_may_be_given(virtual: VirtualTime):
    sleep(3600)
    assert virtual.now == 3600
    assert current_hub() is virtual.hub


def test_an_infinite_deadline_is_slept_towards_in_pieces(virtual: VirtualTime):
    thread = spawn(sleep, float("inf"))
    sleep(200_000)
    assert not thread.dead
    assert max(virtual.sleeps) <= 86400


def test_a_sleep_that_is_not_a_number_is_refused(hub: Hub):
    with pytest.raises(ValueError, match="NaN"):
        sleep(float("nan"))
    sleep(-1)


def test_a_closed_hub_says_so():
    old = use_hub(Hub())
    sleep(0)
    use_hub(Hub())
    me = running()
    with pytest.raises(HubError, match="closed"):
        old.park(me, [me])
    old.close()


def in_os_thread(function: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=function)
    thread.start()
    return thread


def test_a_wake_from_another_os_thread_ends_the_hubs_sleep(hub: Hub):
    tokens: list[list[object]] = []
    green = spawn(parked, tokens)
    sleep(0)
    waker = in_os_thread(lambda: (wait_until_asleep(hub), wake(tokens[0], "across")))
    assert green.wait() == "across"
    waker.join()


def test_a_call_from_another_os_thread_ends_the_hubs_sleep(hub: Hub):
    tokens: list[list[object]] = []
    green = spawn(parked, tokens)
    sleep(0)
    caller = in_os_thread(lambda: (wait_until_asleep(hub), hub.call_soon_threadsafe(wake, tokens[0], "across")))
    assert green.wait() == "across"
    caller.join()


def test_a_kill_from_another_os_thread_lands(hub: Hub):
    green = spawn(sleep, 1000)
    fresh = spawn(sleep, 0)
    killer = in_os_thread(lambda: (fresh.kill(), wait_until_asleep(hub), green.kill()))
    assert green.join()
    assert fresh.join()
    killer.join()


def test_waiting_for_a_green_thread_of_another_os_thread(hub: Hub):
    green = spawn(lambda: sleep(0.002) or "done")
    results: list[object] = []
    waiters = [in_os_thread(lambda: results.append(green.wait())) for _ in range(4)]
    green.wait()
    for waiter in waiters:
        waiter.join()
    assert results == ["done"] * 4


def wait_until_asleep(hub: Hub) -> None:
    asleep = threading.Event()
    while not hub.sleeping:
        asleep.wait(0.0005)


def test_many_os_threads_hammering_one_hub_lose_no_wake_up(hub: Hub):
    rounds = 300

    def consumer(inbox: list[list[object]]) -> int:
        me = running()
        got = 0
        while got < rounds:
            token: list[object] = [me]
            inbox.append(token)
            assert me.hub.park(me, token) == got
            got += 1
        return got

    def producer(inbox: list[list[object]]) -> None:
        pause = threading.Event()
        for number in range(rounds):
            while not inbox:
                pause.wait(0.0001)
            assert wake(inbox.pop(), number)

    boxes: list[list[list[object]]] = [[] for _ in range(4)]
    producers = [in_os_thread(lambda box=box: producer(box)) for box in boxes]
    assert [spawn(consumer, box).wait() for box in boxes] == [rounds] * 4
    for thread in producers:
        thread.join()
