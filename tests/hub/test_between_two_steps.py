"""What another OS thread, a signal handler or a fork does between two steps of the hub's, made to happen there."""

from __future__ import annotations

from typing import Any

import pytest

import greenserve
from greenserve.hub.core.hub import Hub
from greenserve.hub.core.wait_queue import Offer, WaitQueue
from greenserve.hub.sync.light_queue import LightQueue, ShutDown
from greenserve.hub.sync.lock import Lock
from tests.hub.support import VirtualTime, run


def test_a_second_look_at_the_line_of_a_taken_lock_gives_nobody_the_lock(hub: Hub):
    lock = Lock()
    lock.acquire()
    waiter = greenserve.spawn(lock.acquire)
    greenserve.sleep(0)
    lock._serve()  # as a release does when it had found nobody in the line
    greenserve.sleep(0)
    assert not waiter.dead
    lock.release()
    assert waiter.wait() is True


def test_who_has_left_a_line_cannot_be_claimed_by_one_who_had_taken_it_out_already(hub: Hub):
    line, token = WaitQueue(), [greenserve.hub.core.hub.running()]
    line.append(token)
    taken = line.popleft()  # another OS thread is about to claim it
    line.leave(token)
    assert not taken


class Beaten:
    """A queue's `_fetch` that finds the queue empty so many times, as when another OS thread was quicker."""

    def __init__(self, queue: LightQueue[Any], times: int) -> None:
        self._fetch, self._left = queue._fetch, times
        queue._fetch = self

    def __call__(self) -> Any:
        if self._left:
            self._left -= 1
            raise IndexError
        return self._fetch()


@pytest.mark.parametrize("times", range(4))
def test_a_getter_whose_item_was_taken_by_another_looks_again(virtual: VirtualTime, times: int):
    queue = LightQueue[str]()
    queue.put("item")
    Beaten(queue, times)
    getter = greenserve.spawn(queue.get)
    greenserve.sleep(1)
    assert getter.dead  # one that was claimed and forgotten could not even be killed
    assert getter.wait() == "item"


def test_a_getter_that_meets_an_offer_which_was_withdrawn_waits_for_the_next(virtual: VirtualTime):
    queue = LightQueue[str](0)
    getter = greenserve.spawn(queue.get)
    greenserve.sleep(0)
    queue._putters.append(Offer("withdrawn"))
    queue._settle()
    greenserve.sleep(0)
    assert not getter.dead
    putter = greenserve.spawn(queue.put, "item")
    greenserve.sleep(1)
    assert putter.dead
    assert getter.dead
    assert getter.wait() == "item"


class ShutAtEntry(WaitQueue):
    """A queue's waiters of whom each comes just after the queue was shut down, though it had looked before."""

    queue: LightQueue[Any]

    def append(self, entry: Any, /) -> None:
        self.queue.shutdown()
        super().append(entry)


def test_a_getter_that_comes_at_the_moment_of_the_shutdown_is_told(virtual: VirtualTime):
    queue = LightQueue[str]()
    queue._getters = ShutAtEntry()
    queue._getters.queue = queue
    with pytest.raises(ShutDown), greenserve.Timeout(60):
        queue.get()


def test_a_putter_that_comes_at_the_moment_of_the_shutdown_is_told(virtual: VirtualTime):
    class Putters(WaitQueue):
        def append(self, offer: Any, /) -> None:
            queue.shutdown()
            super().append(offer)

    queue = LightQueue[str](1)
    queue.put("fills it")
    queue._putters = Putters()
    with pytest.raises(ShutDown), greenserve.Timeout(60):
        queue.put("one too many")


def test_descriptors_are_looked_at_every_few_rounds_also_when_no_time_passes(virtual: VirtualTime):
    looks = 0
    wait = virtual.wait

    def counted(timeout: float | None) -> list[tuple[int, int]]:
        nonlocal looks
        looks += 1
        return wait(timeout)

    virtual.wait = counted  # type: ignore[method-assign]
    other = greenserve.spawn(lambda: [greenserve.sleep(0) for _ in range(320)])
    for _ in range(320):
        greenserve.sleep(0)
    other.wait()
    assert 10 <= looks <= 40  # every sixteenth


def test_a_thread_that_was_spawned_for_later_is_the_current_one_when_it_runs(virtual: VirtualTime):
    thread = greenserve.spawn_after(1, greenserve.getcurrent)
    assert thread.wait() is thread


FORK = """
import os, greenlet, greenserve
def waits(): greenserve.sleep(3600)
raw = greenlet.greenlet(waits)
thread = greenserve.spawn(raw.switch)
greenserve.sleep(0.01)
word = "greenlet.greenlet" + " object"  # in two, since a dump may show this very line
assert word in greenserve.debug.dump()
child = os.fork()
if not child:
    os._exit(word in greenserve.debug.dump())
assert os.waitpid(child, 0)[1] == 0
"""


def test_a_forked_child_knows_nothing_of_its_parents_raw_greenlets():
    run(FORK)


def test_a_closed_hub_knows_no_raw_greenlet_any_more(hub: Hub):
    import greenlet

    raw = greenlet.greenlet(lambda: greenserve.sleep(3600))
    greenserve.spawn(raw.switch)
    greenserve.sleep(0)
    assert list(hub.adopted) == [raw]
    greenserve.hub.core.hub.use_hub(Hub())
    assert raw.dead
    assert not list(hub.adopted)


HANDLER = """
import greenserve
hub = greenserve.current_hub()
def handler():
    greenserve.sleep(0.05)
    raise ValueError
hub.interrupt(handler)  # just before main's park, which ends while the handler waits
try:
    greenserve.sleep(0.01)
    greenserve.sleep(0.01)
    raise SystemExit("nothing was raised")
except ValueError:
    pass
hub.interrupt(lambda: greenserve.sleep(0.05))
greenserve.sleep(0.01)
"""


def test_main_goes_on_when_its_wait_ends_while_a_signal_handler_waits():
    run(HANDLER)
