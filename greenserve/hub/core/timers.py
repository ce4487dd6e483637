"""Deadlines, kept by the millisecond.

Strategy: deadlines of the same millisecond share a *tick*, the list [number, sequence, due, token, token, ...]. So a
thousand sleeps of the same length cost a heap not a thousand entries but a few, and a heap of ticks compares integers
in C. `due` is the latest deadline of a tick: nothing fires early, and nothing later than its millisecond's end, which
is as exact as pollers are, which count in milliseconds. Within a tick the order is that in which deadlines were set.

A token holds a parked greenlet, a `Timer`, or something else with `expire`; empty, it is dead. A dead token that was
the last to be set, as a timeout's mostly is, goes at once; another stays until it is due or until the dead outnumber
the living, when all ticks are swept. So a million start/cancel pairs grow nothing, and a cancellation costs no search.
"""

from __future__ import annotations

import heapq
import itertools
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

from greenlet import greenlet

from greenserve.hub.core.ready import TIMED_OUT, Call, Token, call_guarded

__all__ = ["Timer", "Timers", "Token"]

TICKS_PER_SECOND = 1000
MIN_DEAD = 128  # below this many dead tokens a sweep costs more than the memory that it returns

Tick: TypeAlias = list[Any]
NUMBER, SEQUENCE, DUE, TOKENS = range(4)  # the places in a tick; tokens go on to its end


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
    """One hub's deadlines (absolute seconds of the hub's clock). For its own OS thread; a signal handler asks by
    `call_soon_threadsafe`. heap: of ticks; `heap[0][DUE]` is when there is something to `fire`.
    """

    __slots__ = ("_dead", "_latest", "_most_dead", "_sequence", "_ticks", "heap")

    def __init__(self) -> None:
        self.heap: list[Tick] = []
        self._sequence = itertools.count()
        self._latest: Tick  # to which a token was added last
        self._ticks: dict[int, Tick] = {}  # by number; those that are being fired are in the heap alone
        self.clear()

    def __len__(self) -> int:
        """How many tokens there are, dead ones that are not swept yet included."""
        return sum(len(tick) - TOKENS for tick in self.heap)

    def add(self, deadline: float, token: Token) -> None:
        """Remember `token` until `deadline`. Raises ValueError for NaN, which would put the heap out of order."""
        try:
            number = int(deadline * TICKS_PER_SECOND)
        except OverflowError:  # infinite
            number = sys.maxsize if deadline > 0 else -sys.maxsize
        try:
            tick = self._ticks[number]
            tick.append(token)  # before anything else is done: a sweep would drop a tick that is empty
        except KeyError:
            tick = self._begin(number, deadline, token)
        if deadline > tick[DUE]:  # noqa: PLR1730 - a call of max() would cost a tenth of ours
            tick[DUE] = deadline
        self._latest = tick

    def _begin(self, number: int, deadline: float, token: Token) -> Tick:
        if len(self._latest) == TOKENS:  # emptied by `forget`, and perhaps never used again
            self._count_dead()
        tick = [number, next(self._sequence), deadline, token]
        heapq.heappush(self.heap, tick)  # first: an error between the two leaves a tick that is fired all the same
        self._ticks[number] = tick
        return tick

    def forget(self, token: Token) -> None:
        """Take notice that a token has died: it is empty."""
        latest = self._latest
        if latest[-1] is token:
            latest.pop()
        else:
            self._count_dead()

    def _count_dead(self) -> None:
        self._dead += 1
        if self._dead > self._most_dead:
            self._sweep()

    def _sweep(self) -> None:
        living = 0
        for tick in self.heap:
            tick[TOKENS:] = [token for token in tick[TOKENS:] if token]
            living += len(tick) - TOKENS
            if len(tick) == TOKENS:
                self._ticks.pop(tick[NUMBER], None)
        self.heap[:] = [tick for tick in self.heap if len(tick) > TOKENS]
        heapq.heapify(self.heap)
        self._dead = 0
        self._most_dead = max(MIN_DEAD, living // 2)

    def fire(self, now: float, hub: Any) -> None:
        """Claim what is due at `now`, in order of deadline: a greenlet is made ready in `hub`, else `expire(hub)` is
        called.

        What is set meanwhile has to wait for the next time: a callback that sets a timer for this very moment cannot
        keep the hub from its descriptors. What an error keeps from being claimed is due again.
        """
        heap, ready = self.heap, hub.ready
        end = next(self._sequence)
        token: Token = [None]
        item: Any = None
        try:
            while heap:
                tick = heap[0]
                if tick[DUE] > now or tick[SEQUENCE] >= end:
                    break
                self._ticks.pop(tick[NUMBER], None)  # what is set from now on begins another
                for token in tick[TOKENS:]:
                    try:
                        item = token[0]
                        token.pop()  # the claim, and first: what an error leaves in the heap is dead
                    except IndexError:  # cancelled, or an OS thread was quicker
                        continue
                    if isinstance(item, greenlet):
                        item.outcome = TIMED_OUT  # type: ignore[attr-defined]  # it is a Greenlet, or adopted
                        ready.append(item)
                    else:
                        item.expire(hub)
                        if not heap or heap[0] is not tick:
                            # It has set a deadline long past, which comes before the rest; or it has forked, and in the
                            # child there is no rest.
                            return
                heapq.heappop(heap)
        except BaseException:
            if not token:  # it is claimed, so it must be resumed; twice is harmless
                ready += _resumption(item, hub)
            raise

    def next_deadline(self) -> float | None:
        """The earliest tick's that has a living token; None when there is none. Drops the dead ones before it."""
        heap = self.heap
        if not heap:
            return None
        while heap:
            tick = heap[0]
            while len(tick) > TOKENS and not tick[-1]:
                tick.pop()
            if len(tick) > TOKENS:
                due: float = tick[DUE]
                return due
            self._ticks.pop(tick[NUMBER], None)
            heapq.heappop(heap)
        self.clear()
        return None

    def clear(self) -> None:
        """Forget everything."""
        self.heap.clear()
        self._ticks.clear()
        self._latest = [0, 0, 0.0]  # none as yet
        self._dead = 0
        self._most_dead = MIN_DEAD  # before a sweep; more if the last one has left many: its cost is to be shared


def _resumption(item: Any, hub: Any) -> tuple[Any, ...]:
    """What to make ready for an item whose token is claimed, and which an error may have kept from its turn."""
    if isinstance(item, greenlet):
        item.outcome = TIMED_OUT  # type: ignore[attr-defined]  # it is a Greenlet, or adopted
        return (item,)
    return (Call(item.expire, (hub,)),) if isinstance(item, Timer) and item.pending else ()
