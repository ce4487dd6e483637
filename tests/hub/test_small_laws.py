"""Single lines of the hub that only a race, or a rare order of things, shows to be needed."""

from __future__ import annotations

import itertools
import socket
import sys

import pytest
from greenlet import greenlet

from greenserve.hub import Event, Timeout, getcurrent, running, sleep, spawn, spawn_after
from greenserve.hub.core.greenlets import Carrier
from greenserve.hub.core.hub import ROUNDS_BETWEEN_POLLS, Hub, use_hub
from greenserve.hub.core.wait_queue import Offer, WaitQueue
from greenserve.hub.sync.light_queue import LightQueue, ShutDown
from greenserve.hub.sync.lock import Lock, Semaphore
from greenserve.hub.sync.queue import Channel
from tests.hub.interrupting import everywhere, interrupted
from tests.hub.support import run


@pytest.mark.parametrize("make", [Lock, lambda: Semaphore(1)])
def test_of_two_that_begin_to_wait_during_a_release_one_gets_the_permit(make, hub):
    def scenario(instruction):
        lock = make()
        lock.acquire()
        lock.acquire(timeout=1e-9)  # from now on it has a line
        line, tokens = lock._lines[0], [[running()], [running()]]

        def two_begin_to_wait():  # as `_wait` does, up to its park
            for token in tokens:
                line.append(token)
                if lock._take():
                    lock._give(line)

        _, came = interrupted(lock.release, two_begin_to_wait, instruction)
        if came:
            assert [bool(token) for token in tokens] == [False, True]  # the first one is claimed
            assert lock.locked()
            hub.ready.clear()
            hub.ready.append(None)
        return came

    assert everywhere(scenario) > 3


@pytest.mark.parametrize("make", [Lock, lambda: Semaphore(1)])
def test_a_lock_that_is_free_stays_free_to_the_end_of_the_release(make, hub):
    lock, found = make(), []

    def look(frame, *_):
        frame.f_trace_opcodes = True
        found.append(bool(lock._free))
        return look

    lock.acquire()
    lock.acquire(timeout=1e-9)  # from now on it has a line
    for _ in range(2):  # Python 3.13 tells of a function's instructions from its second call on
        found.clear()
        before = sys.gettrace()
        sys.settrace(look)
        lock.release()
        sys.settrace(before)
        lock.acquire()
    freed = found.index(True)
    assert all(found[freed:])


def test_a_waiter_that_has_left_cannot_be_claimed_by_one_that_had_come_across_it():
    line, token = WaitQueue(), ["a greenlet"]
    line.append(token)
    come_across = line.popleft()
    line.leave(token)
    assert come_across == []


def test_a_getter_whose_item_another_takes_meanwhile_looks_again(virtual):
    def scenario(instruction):
        queue = LightQueue()
        getters = [spawn(queue.get), spawn(queue.get)]
        sleep()
        queue.queue.append("stored")
        _, came = interrupted(queue._match, queue.queue.clear, instruction)
        sleep()
        queue.put("first")
        queue.put("second")
        for getter in getters:
            assert getter.join(5)
        got = [getter.wait() for getter in getters]
        assert got in (["stored", "first"], ["first", "second"])  # the order of the getters is kept
        return came

    assert everywhere(scenario) > 10


def test_a_getter_whose_putter_is_killed_meanwhile_looks_again(virtual):
    def scenario(instruction):
        queue = Channel()
        getter = spawn(queue.get)
        sleep()
        offer = Offer("offered")
        offer.append(running())
        queue._putters.append(offer)
        _, came = interrupted(queue._match, offer.clear, instruction)
        queue._putters.clear()
        if not getter.join(1):
            queue.put("another", timeout=5)
        assert getter.wait(5) in ("offered", "another")
        return came

    assert everywhere(scenario) > 10


@pytest.mark.parametrize("size", [None, 1, 0])
@pytest.mark.parametrize("operation", ["get", "put"])
def test_a_shutdown_at_any_moment_of_a_wait_ends_it(operation, size, virtual):
    def scenario(instruction):
        queue, ends, moments = LightQueue(size), [], []
        if operation == "put" and size:
            queue.put("stored")

        def wait():
            try:
                with Timeout(5):
                    queue.get() if operation == "get" else queue.put("item")
            except (ShutDown, Timeout) as end:
                ends.append(type(end))

        def shut_down():
            moments.append(virtual.now)
            queue.shutdown()

        began = virtual.now
        _, came = interrupted(wait, shut_down, instruction)
        if came and moments == [began]:  # and not when the timeout had fired
            assert ends == [ShutDown]
        return came

    if operation == "get" or size is not None:
        assert everywhere(scenario) > 20


def test_descriptors_have_their_turn_after_so_many_rounds_though_time_stands_still(virtual):
    hub = virtual.hub
    left, right = socket.socketpair()
    with left, right:
        spawn(hub.wait_readable, left.fileno())
        sleep(0)
        asked = []
        wait = hub.io.poller.wait
        virtual.wait = lambda timeout: asked.append(hub.rounds) or wait(timeout)
        for _ in range(10 * ROUNDS_BETWEEN_POLLS):
            sleep(0)
        gaps = {after - before for before, after in itertools.pairwise(asked)}
        assert len(asked) > 5
        assert gaps <= {ROUNDS_BETWEEN_POLLS, ROUNDS_BETWEEN_POLLS + 1}


def test_a_closed_hub_knows_nobody_any_more(hub):
    event = Event()
    own = greenlet(event.wait)
    spawn(own.switch)
    sleep()
    assert list(hub.adopted) == [own]
    use_hub(Hub())
    assert own.dead
    assert not hub.adopted


def test_a_forked_child_unwinds_none_of_its_parents_own_greenlets():
    done = run(
        """
        import os, warnings
        warnings.simplefilter("ignore")
        from greenlet import greenlet
        from greenserve.hub import Event, sleep, spawn
        from greenserve.hub.core.hub import Hub, use_hub
        def wait():
            try:
                Event().wait()
            finally:
                os.write(1, b"unwound")
        own = greenlet(wait)
        spawn(own.switch)
        sleep()
        if os.fork() == 0:
            use_hub(Hub())
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.wait()[1]) == 7
        os.write(1, b"done")
        os._exit(0)
        """
    )
    assert done.stdout == "done"


def test_a_thread_that_was_spawned_for_later_is_the_current_one(hub):
    thread = spawn_after(0, getcurrent)
    assert thread.wait() is thread


def test_a_new_carrier_has_no_job(hub):
    assert Carrier(hub).job is None
