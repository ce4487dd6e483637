"""Random programs under a virtual clock, against what a simple model says of them."""

from __future__ import annotations

from typing import Any

from greenlet import GreenletExit
from hypothesis import given, settings
from hypothesis import strategies as st

from greenserve.hub import TIMED_OUT, GreenThread, Timeout, sleep, spawn, use_hub
from greenserve.hub.core.hub import Hub, running, wake
from tests.hub.support import VirtualTime

THREADS = 4
numbers = st.integers(0, THREADS - 1)
seconds = st.integers(0, 5)
steps = st.one_of(
    st.tuples(st.just("sleep"), seconds),
    st.tuples(st.just("park"), seconds),  # with a deadline
    st.tuples(st.just("wake"), numbers),
    st.tuples(st.just("kill"), numbers),
    st.tuples(st.just("wait"), numbers),
    st.tuples(st.just("spawn"), seconds),
    st.tuples(st.just("timeout"), seconds),
)
programs = st.lists(st.lists(steps, max_size=8), min_size=THREADS, max_size=THREADS)


class World:
    """Runs programs, and counts how often each thread parks, is resumed, and is claimed."""

    def __init__(self, time: VirtualTime, programs: list[list[tuple[str, int]]]) -> None:
        self.time = time
        self.tokens: dict[int, list[Any]] = {}
        self.sent: dict[int, list[object]] = {number: [] for number in range(THREADS)}
        self.received: dict[int, list[object]] = {number: [] for number in range(THREADS)}
        self.inside = dict.fromkeys(range(THREADS), False)
        self.killed: set[int] = set()
        self.children: list[GreenThread[Any]] = []
        self.threads = [spawn(self.run, number, program) for number, program in enumerate(programs)]

    def run(self, number: int, program: list[tuple[str, int]]) -> str:
        for step, argument in program:
            getattr(self, step)(number, argument)
        return "ran to its end"

    def enter(self, number: int) -> None:
        assert not self.inside[number]
        self.inside[number] = True

    def leave(self, number: int) -> None:
        assert self.inside[number], "resumed without having parked"
        self.inside[number] = False

    def sleep(self, number: int, argument: int) -> None:
        start = self.time.now
        self.enter(number)
        try:
            sleep(argument)
        finally:
            self.leave(number)
        assert self.time.now == start + argument  # exactly, for nobody is ever busy

    def park(self, number: int, argument: int) -> None:
        me = running()
        token = self.tokens[number] = [me]
        start = self.time.now
        self.enter(number)
        try:
            outcome = self.time.hub.park_until(me, token, start + argument)
        finally:
            self.leave(number)
            assert token == []
        if outcome is TIMED_OUT:
            assert self.time.now == start + argument
        else:
            self.received[number].append(outcome)

    def wake(self, number: int, argument: int) -> None:
        message = object()
        if wake(self.tokens.get(argument, []), message):
            self.sent[argument].append(message)

    def kill(self, number: int, argument: int) -> None:
        if argument == number:
            return
        self.killed.add(argument)  # before: while our victim has its turn, somebody may kill us
        self.threads[argument].kill()

    def wait(self, number: int, argument: int) -> None:
        if argument != number:
            self.enter(number)
            try:
                self.threads[argument].join(timeout=3)
            finally:
                self.leave(number)

    def spawn(self, number: int, argument: int) -> None:
        self.children.append(spawn(sleep, argument))

    def timeout(self, number: int, argument: int) -> None:
        start = self.time.now
        with Timeout(argument, False):
            self.enter(number)
            try:
                sleep(2)
            finally:
                self.leave(number)
        assert self.time.now == start + min(2, argument)


@settings(max_examples=400)
@given(programs)
def test_each_thread_is_resumed_as_often_as_it_parked_and_every_kill_lands(programs: list[list[tuple[str, int]]]):
    time = VirtualTime(forever=False)
    time.hub = use_hub(Hub(clock=time.clock, poller=time))
    try:
        world = World(time, programs)
        for thread in world.threads:
            assert thread.join(1000)
        for child in world.children:
            assert child.wait(1000) is None
        for number, thread in enumerate(world.threads):
            if thread.error is None:
                assert thread.wait() == "ran to its end"
            else:
                assert isinstance(thread.error, GreenletExit), thread.error
                assert number in world.killed
            # What was handed over has arrived, all of it, once, in order; also at those killed at that moment.
            assert world.received[number] == world.sent[number]
        assert time.hub.timers.next_deadline() is None
        sleep(0)
        assert list(time.hub.ready) == [None]
    finally:
        use_hub(Hub())


@given(st.lists(seconds, max_size=20))
def test_sleepers_of_equal_deadlines_wake_in_the_order_of_their_coming(delays: list[int]):
    time = VirtualTime(forever=False)
    use_hub(Hub(clock=time.clock, poller=time))
    order: list[int] = []

    def doze(number: int, delay: int) -> None:
        sleep(delay)
        order.append(number)

    try:
        for thread in [spawn(doze, number, delay) for number, delay in enumerate(delays)]:
            thread.wait()
        assert order == sorted(range(len(delays)), key=lambda number: delays[number])
    finally:
        use_hub(Hub())


@given(st.permutations(range(12)), st.sets(st.integers(0, 11)))
def test_those_who_wait_are_resumed_in_the_order_in_which_they_are_woken_and_the_killed_are_skipped(
    order: list[int], killed: set[int]
):
    time = VirtualTime(forever=False)
    hub = use_hub(Hub(clock=time.clock, poller=time))
    tokens: dict[int, list[Any]] = {}
    resumed: list[int] = []

    def wait(number: int) -> None:
        me = running()
        tokens[number] = [me]
        hub.park(me, tokens[number])
        resumed.append(number)

    try:
        threads = [spawn(wait, number) for number in range(12)]
        sleep(0)
        for number in killed:
            threads[number].kill(block=False)
        assert [wake(tokens[number]) for number in order] == [number not in killed for number in order]
        for thread in threads:
            thread.join()
        assert resumed == [number for number in order if number not in killed]
    finally:
        use_hub(Hub())
