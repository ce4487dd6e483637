"""Deadlines on a heap.

Strategy: an entry is the tuple (deadline, sequence, what), so that heapq compares in C and equal deadlines fire in the order
in which they were set. `what` is a token (see hub.py) or a `Timer`. Law: a cancelled entry stays in the heap until it is due
or until the dead outnumber the living, when the heap is rebuilt; so a million start/cancel pairs grow nothing, and a
cancellation costs no search.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any, TypeAlias

Token: TypeAlias = list[Any]
"""A one-shot claim on a parked greenlet: [greenlet], emptied by whoever resumes it (hub.py tells why a list)."""

MIN_DEAD = 128  # below this many dead entries a rebuild costs more than the memory that it returns


class Timer:
    """A call that the hub makes once, in its own greenlet, at a deadline. `cancel` forgets it; made by `Hub.call_later`."""

    __slots__ = ("_args", "_callback", "_timers")

    def __init__(self, timers: Timers, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._timers = timers
        self._callback: Callable[..., object] | None = callback
        self._args = args

    @property
    def pending(self) -> bool:
        """Whether the call is still to come."""
        return self._callback is not None

    def cancel(self) -> None:
        """Forget the call. Harmless when it was made or cancelled already."""
        if self._callback is not None:
            self._callback = None
            self._args = ()
            self._timers.forget()

    def fire(self) -> None:
        """Make the call, unless it was cancelled. Called by the hub."""
        callback, args = self._callback, self._args
        self._callback, self._args = None, ()
        if callback is not None:
            callback(*args)


Entry: TypeAlias = tuple[float, int, "Token | Timer"]


class Timers:
    """The heap of one hub's deadlines (absolute seconds of the hub's clock)."""

    __slots__ = ("_dead", "_sequence", "heap")

    def __init__(self) -> None:
        self.heap: list[Entry] = []
        self._sequence = 0
        self._dead = 0

    def __len__(self) -> int:
        """How many entries there are, cancelled ones that are not swept yet included."""
        return len(self.heap)

    def add(self, deadline: float, what: Token | Timer) -> None:
        """Remember `what` until `deadline`."""
        self._sequence = sequence = self._sequence + 1
        heapq.heappush(self.heap, (deadline, sequence, what))

    def forget(self) -> None:
        """Take notice that one entry has died (its token is empty, or its timer cancelled)."""
        self._dead += 1
        if self._dead > MIN_DEAD and self._dead > len(self.heap) >> 1:
            self._rebuild()

    def due(self, now: float) -> list[Token | Timer]:
        """Remove and return what is due at `now`, in order of deadline.

        Collected before anything is called: a callback that sets a timer for this very moment gets the next round,
        so it cannot keep the hub from its descriptors.
        """
        heap = self.heap
        due: list[Token | Timer] = []
        while heap and heap[0][0] <= now:
            what = heapq.heappop(heap)[2]
            if _alive(what):
                due.append(what)
            else:
                self._dead -= 1
        return due

    def next_deadline(self) -> float | None:
        """The earliest deadline of a living entry; None when there is none. Drops the dead ones before it."""
        heap = self.heap
        while heap:
            entry = heap[0]
            if _alive(entry[2]):
                return entry[0]
            heapq.heappop(heap)
            self._dead -= 1
        return None

    def clear(self) -> None:
        """Forget everything (a forked child starts afresh)."""
        self.heap.clear()
        self._dead = 0

    def _rebuild(self) -> None:
        self.heap[:] = [entry for entry in self.heap if _alive(entry[2])]
        heapq.heapify(self.heap)
        self._dead = 0


def _alive(what: Token | Timer) -> bool:
    return what.pending if isinstance(what, Timer) else bool(what)
