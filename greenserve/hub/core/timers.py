"""Deadlines on a heap.

Strategy: an entry is the tuple (deadline, sequence, token), so that heapq compares in C and equal deadlines fire in the
order in which they were set. A token holds a parked greenlet, a `Timer`, or something else with `expire`; empty, its
entry is dead. A dead entry that is the heap's last leaf, as one just set mostly is, goes at once; another stays until
it is due or until the dead outnumber the living, when the heap is rebuilt. So a million start/cancel pairs grow
nothing, and a cancellation costs no search.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any, TypeAlias

from greenlet import greenlet

from greenserve.hub.core.ready import TIMED_OUT, Call, Token, call_guarded

__all__ = ["Timer", "Timers", "Token"]

MIN_DEAD = 128  # below this many dead entries a rebuild costs more than the memory that it returns

Entry: TypeAlias = tuple[float, int, Token]


class Timer:
    """A call that the hub makes once, in its own greenlet, at a deadline. `cancel` forgets it; made by
    `Hub.call_later`.
    """

    __slots__ = ("_args", "_callback", "_timers", "_token")

    def __init__(self, timers: Timers, deadline: float, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._timers = timers
        self._callback: Callable[..., object] | None = callback
        self._args = args
        self._token: Token = [self]
        timers.add(deadline, self._token)

    @property
    def pending(self) -> bool:
        """Whether the call is still to come."""
        return self._callback is not None

    def cancel(self) -> None:
        """Forget the call. Harmless when it was made or cancelled already."""
        self._callback = None
        self._args = ()
        if self._token:
            self._token.clear()
            self._timers.forget(self._token)

    def expire(self, hub: object) -> None:
        """Make the call. The hub's, when the deadline has come."""
        callback, args = self._callback, self._args
        self._callback, self._args = None, ()
        if callback is not None:
            call_guarded(callback, args)


class Timers:
    """The heap of one hub's deadlines (absolute seconds of the hub's clock). For its own OS thread; a signal handler
    asks by `call_soon_threadsafe`.
    """

    __slots__ = ("_dead", "_sequence", "heap")

    def __init__(self) -> None:
        self.heap: list[Entry] = []
        self._sequence = itertools.count()
        self._dead = 0

    def __len__(self) -> int:
        """How many entries there are, cancelled ones that are not swept yet included."""
        return len(self.heap)

    def add(self, deadline: float, token: Token) -> None:
        """Remember `token` until `deadline`. Raises ValueError for NaN, which would put the heap out of order."""
        if deadline != deadline:  # noqa: PLR0124 - the cheapest question whether it is NaN
            raise ValueError("a deadline cannot be NaN")
        heapq.heappush(self.heap, (deadline, next(self._sequence), token))

    def forget(self, token: Token) -> None:
        """Take notice that an entry has died: its token is empty."""
        heap = self.heap
        if heap and heap[-1][2] is token:
            heap.pop()
            return
        self._dead += 1
        if self._dead > MIN_DEAD and self._dead > len(heap) >> 1:
            self._rebuild()

    def fire(self, now: float, hub: Any) -> None:
        """Claim what is due at `now`, in order of deadline: a greenlet is made ready in `hub`, else `expire(hub)` is
        called.

        What is set meanwhile has to wait for the next time: a callback that sets a timer for this very moment cannot
        keep the hub from its descriptors. What an error keeps from being claimed is due again.
        """
        heap, ready, heappop = self.heap, hub.ready, heapq.heappop
        end = next(self._sequence)
        token: Token = [None]
        item: Any = None
        try:
            while heap:
                deadline, sequence, token = heap[0]
                if deadline > now or sequence >= end:
                    break
                if token:
                    try:
                        item = token[0]
                        token.pop()  # the claim, and first: an entry that an error leaves in the heap is a dead one
                    except IndexError:  # an OS thread was quicker
                        continue
                    heappop(heap)
                    if isinstance(item, greenlet):
                        item.outcome = TIMED_OUT  # type: ignore[attr-defined]  # it is a Greenlet, or adopted
                        ready.append(item)
                    else:
                        item.expire(hub)
                else:
                    heappop(heap)
                    self._dead -= 1
        except BaseException:
            if not token:  # it is claimed, so it must be resumed; twice is harmless
                if isinstance(item, greenlet):
                    item.outcome = TIMED_OUT  # type: ignore[attr-defined]  # as above
                    ready += (item,)
                elif isinstance(item, Timer) and item.pending:
                    ready += (Call(item.expire, (hub,)),)
            raise

    def next_deadline(self) -> float | None:
        """The earliest deadline of a living entry; None when there is none. Drops the dead ones before it."""
        heap = self.heap
        while heap:
            entry = heap[0]
            if entry[2]:
                return entry[0]
            heapq.heappop(heap)
            self._dead -= 1
        return None

    def clear(self) -> None:
        """Forget everything."""
        self.heap.clear()
        self._dead = 0

    def _rebuild(self) -> None:
        self.heap[:] = [entry for entry in self.heap if entry[2]]
        heapq.heapify(self.heap)
        self._dead = 0
