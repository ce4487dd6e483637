"""An error in one green thread is that thread's: before any instruction of the hub, and at any depth of recursion.

A signal handler that raises does so between two instructions, whoever runs; the recursion limit raises at any call. The
green thread that it hits fails, or catches it; every other one goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import FrameType

import pytest

from greenserve.hub import Event, GreenPool, Lock, Queue, sleep, spawn, use_hub
from greenserve.hub.core.hub import Carrier, Hub, running, wake
from greenserve.hub.core.ready import MARK
from tests.hub.support import VirtualTime
from tests.hub.test_signals_anywhere import LINES, Injector

STEP = 1 if LINES else 7  # instructions; all of them take half a minute


class Hit(BaseException):
    """What a signal handler raises."""


def hit(signum: int, frame: FrameType) -> None:
    raise Hit


@pytest.fixture
def hub() -> Iterator[Hub]:
    time = VirtualTime(forever=False)
    yield use_hub(Hub(clock=time.clock, poller=time))
    use_hub(Hub())


def until_hit(turn: Callable[[], object], times: int) -> int:
    """Take that many turns. Returns how many an error has cut short."""
    hits = 0
    for _ in range(times):
        try:
            turn()
        except Hit:
            hits += 1
    return hits


def yields(hub: Hub) -> None:
    """Everything that parks, pauses, wakes and throws."""
    sleep(0)
    sleep(1)
    me = running()
    token = [me]
    waker = spawn(wake, token)
    waker.quiet = True
    hub.park_until(me, token, hub.clock() + 1)  # the waker may be the one that fails
    sleeper = spawn(sleep, 100)
    sleep(0)
    sleeper.kill()


def test_an_error_before_any_instruction_of_the_hub_is_one_threads(hub: Hub):
    before = sys.gettrace()
    instruction = 0
    try:
        while True:
            instruction += STEP
            hits: list[int] = []

            def worker(hits: list[int] = hits) -> None:
                hits.append(until_hit(lambda: yields(hub), 2))

            threads = [spawn(worker) for _ in range(2)]
            for thread in threads:
                thread.quiet = True
            in_main = 0
            with Injector(instruction, hit) as injector:
                for _ in range(500):  # virtual seconds; no thread takes so many
                    try:
                        sleep(1)
                        if all(thread.dead for thread in threads):
                            break
                    except Hit:
                        in_main += 1
            try:
                sleep(1)  # what the hub itself was hit by may still be on its way to main
            except Hit:
                in_main += 1
            # Hit before its own code begins or after its end, a thread has failed as a whole.
            failed = [thread.error for thread in threads if thread.error is not None]
            assert all(thread.dead for thread in threads), f"before instruction {instruction}"
            assert all(isinstance(error, Hit) for error in failed), f"before instruction {instruction}"
            assert len(hits) + len(failed) >= 2, f"before instruction {instruction}"
            assert in_main + sum(hits) + len(failed) <= 1, f"before instruction {instruction}"
            assert MARK in hub.ready
            if not injector.done:
                break
    finally:
        sys.settrace(before)
    assert instruction > 100


@pytest.mark.parametrize("yielding", ["pause", "park", "lock", "queue", "spawn"])
def test_a_recursion_that_yields_on_its_way_to_the_limit_fails_alone(hub: Hub, yielding: str):
    lock, queue = Lock(), Queue[int]()

    def turn() -> None:
        if yielding == "pause":
            sleep(0)
        elif yielding == "park":
            sleep(1)
        elif yielding == "lock":
            with lock:
                sleep(0)
        elif yielding == "queue":
            queue.put(1)
            sleep(0)
            queue.get()
        else:
            spawn(int).wait()

    def deep() -> None:
        turn()
        deep()

    def flat() -> str:
        for _ in range(50):
            sleep(0)
            sleep(1)
        return "done"

    for _ in range(3):
        others = [spawn(flat) for _ in range(3)]
        recursion = spawn(deep)
        recursion.quiet = True
        assert [other.wait() for other in others] == ["done"] * 3
        with pytest.raises(RecursionError):
            recursion.wait()
        assert MARK in hub.ready
        assert lock.acquire(timeout=1)
        lock.release()
        queue = Queue()


def test_at_every_depth_before_the_limit_a_yield_works_or_fails_as_a_whole(hub: Hub):
    """Each frame on the way back tries again: at one depth the first call meets the limit, at another the last."""
    event = Event()

    def dive(depth: int) -> int:
        try:
            count = dive(depth + 1)
        except RecursionError:
            count = 0
        if count < 40:
            for attempt in (lambda: sleep(0), lambda: sleep(1), lambda: spawn(int).join(), lambda: event.wait(0.1)):
                try:
                    attempt()
                except RecursionError:
                    pass
        return count + 1

    def flat() -> int:
        for turn in range(400):
            sleep(turn % 2)
        return turn

    others = [spawn(flat) for _ in range(3)]
    diver = spawn(dive, 0)
    assert [other.wait() for other in others] == [399] * 3
    assert diver.wait() > 100
    assert MARK in hub.ready


class NoFlush:
    def write(self, text: str) -> None:
        pass


class Failing(NoFlush):
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def write(self, text: str) -> None:
        raise self.error

    def flush(self) -> None:
        pass


@pytest.mark.parametrize(
    "stream", [NoFlush(), Failing(ValueError()), Failing(SystemExit()), Failing(MemoryError()), object(), None]
)
def test_a_report_that_cannot_be_written_harms_nobody(hub: Hub, stream: object, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stderr", stream)
    failing = spawn(divmod, 1, 0)
    hub.call_soon(divmod, 1, 0)
    with pytest.raises(ZeroDivisionError):
        failing.wait()
    assert failing.dead
    assert spawn(int).wait() == 0


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RecursionError

    __repr__ = __str__


def test_an_error_that_cannot_be_printed_is_still_its_threads_end(hub: Hub):
    def fail() -> None:
        raise Unprintable

    with pytest.raises(Unprintable):
        spawn(fail).wait()


@pytest.mark.parametrize("many", [False, True])
def test_a_green_thread_that_finds_no_memory_to_begin_with_fails_alone(
    hub: Hub, many: bool, monkeypatch: pytest.MonkeyPatch
):
    class Memoryless(Carrier):
        def switch(self, *args: object) -> object:
            raise MemoryError

    monkeypatch.setattr(Hub, "take_carrier", lambda hub, job: setup(Memoryless(hub), job))

    def setup(carrier: Carrier, job: object) -> Carrier:
        carrier.job = job
        return carrier

    thread = GreenPool(10).spawn(int) if many else spawn(int)
    with pytest.raises(MemoryError):
        thread.wait(5)
    monkeypatch.undo()
    assert spawn(int).wait() == 0
