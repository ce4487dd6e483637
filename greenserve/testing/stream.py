"""One direction of a connection in memory: bytes that are sent, under way, delivered, read.

Invariant: bytes move in `Stream` alone, and by the hub's clock alone. Deliveries keep their order, as TCP's do; of
those of several connections that are due at the same time, the seed decides which comes first.
"""

from __future__ import annotations

import errno
import heapq
import itertools
import os
import random
from collections import deque
from collections.abc import Callable
from typing import Any

from greenserve.errors import AlreadyWaiting
from greenserve.hub.core.ready import TIMED_OUT
from greenserve.hub.core.wait_queue import WaitQueue
from greenserve.testing.conditions import Conditions


def failure(number: int) -> OSError:
    """The OSError of an errno, as the system would raise it."""
    return OSError(number, os.strerror(number))


class Gate:
    """Where one green thread waits until something has changed."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._waiters = WaitQueue()

    def wait(self, deadline: float | None) -> None:
        """Park until `open`. Raises TimeoutError; AlreadyWaiting when another thread waits already."""
        if self._waiters:
            raise AlreadyWaiting(f"another green thread waits already to {self._what}")
        if self._waiters.wait(deadline=deadline) is TIMED_OUT:
            raise TimeoutError("timed out")

    def open(self) -> None:
        """Wake the waiter, which looks again."""
        self._waiters.wake()


class Deliveries:
    """Calls and when they are due; of those due at the same time, chance decides which comes first."""

    def __init__(self, hub: Any, chance: random.Random) -> None:
        self._hub = hub
        self._chance = chance
        self._heap: list[tuple[float, float, int, Callable[[], None]]] = []
        self._count = itertools.count()

    def at(self, time: float, deliver: Callable[[], None]) -> None:
        """Have `deliver` called when the hub's clock says `time`."""
        entry = (time, self._chance.random(), next(self._count), deliver)
        heapq.heappush(self._heap, entry)
        if self._heap[0] is entry:
            self._arm()

    def _arm(self) -> None:
        self._hub.call_later(max(0.0, self._heap[0][0] - self._hub.clock()), self._deliver)

    def _deliver(self) -> None:
        now = self._hub.clock()
        while self._heap and self._heap[0][0] <= now:
            heapq.heappop(self._heap)[-1]()
        if self._heap:
            self._arm()


class Stream:
    """From one end of a connection to the other. `received`: what is delivered and not read."""

    def __init__(
        self, deliveries: Deliveries, clock: Callable[[], float], chance: random.Random, conditions: Conditions
    ) -> None:
        self._deliveries = deliveries
        self._clock = clock
        self._chance = chance
        self.conditions = conditions
        self._under_way: deque[bytes | None] = deque()  # None is the end
        self._last = 0.0  # when the delivery before this one is due
        self.received = bytearray()
        self.ended = False  # the end has been delivered
        self.closed = False  # the reader has closed
        self.finished = False  # the sender has finished
        self.error = 0  # an errno: the connection is broken
        self.readable = Gate("read from this socket")
        self.writable = Gate("write to this socket")

    # -- the sender's end

    def room(self) -> int:
        """How many bytes a sender may hand over now."""
        waiting = sum(len(piece) for piece in self._under_way if piece)
        return max(0, self.conditions.capacity - waiting - len(self.received))

    def send(self, data: bytes) -> None:
        """Put `data` on its way; `room` says how much that may be."""
        most = self.conditions.pieces
        while data:
            size = len(data) if most is None else self._chance.randint(1, most)
            self._dispatch(data[:size])
            data = data[size:]

    def finish(self) -> None:
        """Put the end on its way, once."""
        if not self.finished:
            self.finished = True
            self._dispatch(None)

    def _dispatch(self, piece: bytes | None) -> None:
        self._under_way.append(piece)
        self._last = max(self._last, self._clock() + self.conditions.delay(self._chance))
        self._deliveries.at(self._last, self._deliver)

    # -- the way

    def _deliver(self) -> None:
        if not self._under_way:  # broken meanwhile
            return
        piece = self._under_way.popleft()
        if piece is None:
            self.ended = True
        elif self.closed:  # TCP answers bytes that will not be read with a reset, which takes its time, too
            reset = self._clock() + self.conditions.latency
            self._deliveries.at(reset, lambda: self.break_off(errno.EPIPE))
        else:
            self.received += piece
        self.readable.open()

    def break_off(self, number: int) -> None:
        """Nothing more comes through, and what is under way is lost."""
        if not self.error:
            self.error = number
            self._under_way.clear()
            self.readable.open()
            self.writable.open()

    # -- the reader's end

    def take(self, size: int, *, peek: bool = False) -> bytes:
        """At most `size` bytes of what is delivered."""
        most = self.conditions.pieces
        if most is not None:
            size = min(size, most)
        data = bytes(self.received[:size])
        if not peek:
            del self.received[:size]
            self.writable.open()
        return data
