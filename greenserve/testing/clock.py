"""For tests of programs on green threads: a clock that jumps instead of waiting, and orders that come from a seed.

::

    with greenserve.testing.virtual_time(seed=7) as clock:
        thread = greenserve.spawn(program)     # an hour of its sleeps and timeouts takes no time
        thread.wait()
        assert clock() == 3600.0

Invariant: time stands still while any thread can run, and jumps to the next deadline when all wait. With a seed, the
green threads that are ready run in an order that the seed decides, so that a loop over seeds tries many schedules,
and the one that failed can be run again.
"""

from __future__ import annotations

import collections
import contextlib
import random
from collections.abc import Iterator
from typing import Any

from greenserve.hub.core.hub import MARK, Hub, HubCall, stand_in
from greenserve.hub.core.poller import Poller, default_poller
from greenserve.hub.spawning import Start

__all__ = ["VirtualClock", "virtual_time"]

GRACE = 0.001  # real seconds in which an event may come from descriptors that are waited for, before the clock jumps
PATIENCE = 5.0  # real seconds in which an operation in an OS thread may end, before the clock jumps all the same


class VirtualClock:
    """The time that the hub goes by, in seconds. A call returns it."""

    def __init__(self, start: float = 0.0) -> None:
        self._now = start

    def __call__(self) -> float:
        """The time."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass: what is due then fires at the hub's next turn."""
        if seconds < 0:
            raise ValueError("time does not go back")
        self._now += seconds

    def __repr__(self) -> str:
        return f"<VirtualClock at {self._now}>"


class _JumpingPoller:
    """A poller that lets the clock jump where it would sleep. Descriptors are real."""

    def __init__(self, clock: VirtualClock | None = None) -> None:
        self._clock = clock or VirtualClock()  # none in a forked child, where the hub makes a new poller
        self._real: Poller = default_poller()
        self.edges = self._real.edges
        self.readable, self.writable, self.hangup = self._real.readable, self._real.writable, self._real.hangup
        self.add, self.rearm, self.remove = self._real.add, self._real.rearm, self._real.remove
        self.arm, self.disarm, self.close = self._real.arm, self._real.disarm, self._real.close
        self.hub: Hub | None = None

    def wait(self, timeout: float | None) -> list[tuple[int, int]]:
        """Report what is ready now; if nothing is, let `timeout` seconds pass at once."""
        if timeout is None:
            return self._real.wait(None)
        events = self._real.wait(0.0)
        if events or timeout <= 0:
            return events
        events = self._real.wait(self._grace())
        if not events:
            self._clock.advance(timeout)
        return events

    def _grace(self) -> float:
        hub = self.hub
        if hub is None:
            return 0.0
        if hub.external:
            return PATIENCE
        if any(d.reader is not None or d.writer is not None for d in hub.io.descriptors.values()):
            return GRACE
        return 0.0


class _ShuffledReady(collections.deque[Any]):
    """A ready queue that gives out the greenlets of the present round in random order, after the hub's calls in theirs.

    The order of the calls is a promise: of call_soon, and of kill, which returns when the killed thread has seen it.
    """

    def __init__(self, chance: random.Random) -> None:
        super().__init__([MARK])
        self._chance = chance

    def __getitem__(self, place: Any) -> Any:
        """The first, which is chosen now: any of those before the MARK, or the MARK when there is none."""
        if place != 0:
            return super().__getitem__(place)
        items = list(self)
        end = items.index(MARK)
        chosen = next((n for n in range(end) if _is_call(items[n])), None)
        if chosen is None:
            chosen = self._chance.randrange(end or 1)
        if chosen:
            del self[chosen]
            self.appendleft(items[chosen])
        return items[chosen]


def _is_call(item: object) -> bool:
    return isinstance(item, HubCall) and not isinstance(item, Start)


@contextlib.contextmanager
def virtual_time(seed: int | None = None, start: float = 0.0) -> Iterator[VirtualClock]:
    """A hub of its own for the block, in virtual time: its sleeps, timeouts and deadlines take no real time.

    seed: run what is ready in an order that it decides; None: in the order in which it became ready. start: the
    time at the beginning, in seconds. Yields the clock. Green threads that still run at the end of the block are
    killed, and the former hub is there again. Time does not wait for OS threads other than the hub's own.

    To be used in an OS thread's own code, not in a green thread: raises HubError there.

    >>> with greenserve.testing.virtual_time(seed=1) as clock:
    ...     greenserve.sleep(3600)
    ...     clock()
    3600.0
    """
    clock = VirtualClock(start)
    poller = _JumpingPoller(clock)
    hub = poller.hub = Hub(clock=clock, poller=poller)
    if seed is not None:
        hub.take_turns(_ShuffledReady(random.Random(seed)))  # noqa: S311 - an order, not a secret
    with stand_in(hub):
        yield clock
