"""LightQueue: what all queues between green threads and OS threads are made of. The others are in queue.py.

Strategy. A put gives its item straight to the first waiting getter, or stores it; a get takes a stored item, and
then lets the first waiting putter store its own. A putter leaves its item in the line (`Offer`), so that the thread
that makes room stores it, and an item never has to wait until its putter has run. Room is counted by permits, which is
exact however many OS threads put.

Invariants: those of wait_queue.py. So a getter that is killed after it was given an item still returns it (the kill
comes at its next wait), one that was killed before is skipped, and no item is lost or comes twice. Between an item's
end of waiting and its receiver's claim there is only `_match`, which claims the receiver first: no item is ever put
back, so none changes its place.

Subclasses may override the standard library's hooks, _init, _put, _get and _qsize: then hooked_store.py sees to it that
one at a time is in them.
"""

from __future__ import annotations

import collections
import contextlib
import sys
from collections.abc import Callable, Iterator
from enum import Enum
from queue import Empty, Full
from typing import Any, Generic, Self, TypeVar, cast

from greenlet import getcurrent as _getcurrent

from greenserve.hub.core.busy_wait import relax
from greenserve.hub.core.hub import TIMED_OUT, Greenlet, running
from greenserve.hub.core.timers import Token
from greenserve.hub.core.wait_queue import AGAIN, Offer, WaitQueue, resume
from greenserve.hub.sync.hooked_store import HookedStore, NoItem
from greenserve.hub.sync.lock import Semaphore

if sys.version_info >= (3, 13):
    from queue import ShutDown
else:

    class ShutDown(Exception):
        """A queue was shut down: nothing can be put any more; or, for a getter, nothing is left."""


__all__ = ["Empty", "Full", "LightQueue", "ShutDown"]

T = TypeVar("T")


class _State(Enum):
    OPEN = "open"
    DRAINING = "draining"  # shut down: what is stored can still be got
    ENDED = "ended"  # shut down at once


_OPEN = _State.OPEN
_SHUT: Any = type("Shut", (), {"__repr__": lambda _: "SHUT"})()  # the outcome of a waiter whose queue was shut down


class LightQueue(Generic[T]):
    """A queue: first in, first out. `Queue` has task_done and join too.

    maxsize: how many items it holds at most before put waits; None: without limit; 0: put waits until a get takes
    the item.

    >>> queue = greenserve.LightQueue(1)
    >>> queue.put("item")
    >>> queue.put("one too many", timeout=0.01)
    Traceback (most recent call last):
    queue.Full
    >>> queue.get()
    'item'
    """

    def __init__(self, maxsize: int | None = None) -> None:
        self.maxsize = None if maxsize is None or maxsize < 0 else maxsize
        self._state = _OPEN
        self._getters = WaitQueue()
        self._putters = WaitQueue()  # an `Offer` each
        self._room = None if self.maxsize is None else Semaphore(self.maxsize)
        self._debt: list[bool] = []  # room to be given up, after `resize` to less than there was
        self._puts: Iterator[bool] | None = None
        self._init(maxsize)
        cls = type(self)
        hooks: tuple[Any, ...] = (cls._init, cls._qsize, cls._put, cls._get)
        self._transparent = hooks in ATOMIC_HOOKS or hooks in TRANSPARENT_HOOKS
        self._hooked = (
            None if hooks in ATOMIC_HOOKS else HookedStore(self, self._getters, self._admit_or_not, self._refused)
        )
        self._items: Any = self.queue if self._hooked is None else self._hooked
        self._append: Callable[[T], None] = self._items.append
        self._fetch: Callable[[], T] = getattr(self._items, "popleft", self._items.pop)
        self._nothing = IndexError if self._hooked is None else NoItem  # what `_fetch` raises
        self._note_state()

    # -- what a subclass may override

    def _init(self, maxsize: int | None) -> None:
        self.queue: Any = collections.deque()

    def _qsize(self) -> int:
        return len(self.queue)

    def _put(self, item: T) -> None:
        self.queue.append(item)

    def _get(self) -> T:
        return self.queue.popleft()  # type: ignore[no-any-return]  # a T, as it was put

    def _note_state(self) -> None:
        """Note whether put needs to mind neither room nor a shutdown, and may give an item straight to a getter."""
        self._plain = self._room is None and self._state is _OPEN and self._transparent

    # -- put

    def put(self, item: T, block: bool = True, timeout: float | None = None) -> None:
        """Put an item; wait for room if `block`, at most `timeout` seconds. Raises Full; ShutDown after `shutdown`."""
        if not self._plain:
            self._put_carefully(item, block, timeout)
            return
        puts = self._puts
        if puts is not None:
            next(puts)
        getters = self._getters
        if getters and not self._items:
            try:
                greenlet = getters.popleft().pop()
            except IndexError:  # the first is dead, or another OS thread was quicker
                pass
            else:
                greenlet.outcome = item  # `resume`, without a call's cost
                hub = greenlet.hub
                make_ready = hub.make_ready
                make_ready(greenlet)
                if hub.sleeping:
                    hub.wakeup.wake()
                return
        self._append(item)
        if getters or not self._plain:
            self._settle()

    def put_nowait(self, item: T) -> None:
        """`put` without waiting."""
        self.put(item, False)

    def _put_carefully(self, item: T, block: bool, timeout: float | None) -> None:
        if self._state is not _OPEN:
            raise ShutDown
        room = self._room
        if room is None:
            self._count()
            self._append(item)
            self._settle()
            return
        if timeout is not None and timeout < 0:
            raise ValueError("'timeout' must be a non-negative number")
        if not self._items and (self._transparent or self.maxsize == 0):
            getter = self._getters.claim()
            if getter is not None:
                self._count()
                resume(getter, item)
                return
        if self.maxsize != 0 and room._take():
            self._count()
            self._append(item)
            self._settle()
        elif block and timeout != 0:
            self._offer(item, timeout)
        elif relax():
            self._put_carefully(item, False, None)
        else:
            raise Full

    def _offer(self, item: T, timeout: float | None) -> None:
        """Wait until another thread makes room and stores the item, or takes it."""
        outcome = self._putters.wait(timeout, unless=self._look_for_room, offer=Offer(item))
        if outcome is TIMED_OUT:
            raise Full
        if outcome is _SHUT:
            raise ShutDown

    def _look_for_room(self) -> None:
        """Look again, after a putter's entry."""
        room = self._room
        if self.maxsize != 0 and (room is None or room._take()):
            self._admit()
        if self._getters or self._state is not _OPEN:
            self._settle()

    def _count(self) -> None:
        if self._puts is not None:
            next(self._puts)

    def _uncount(self) -> None:
        """What `_count` has counted was not put after all."""

    def _refused(self) -> None:
        """A hook has not stored an item: neither its task nor its place is taken."""
        self._uncount()
        self._admit_or_not()

    # -- get

    def get(self, block: bool = True, timeout: float | None = None) -> T:  # noqa: C901 - in one piece, for speed
        """Take an item; wait for one if `block`, at most `timeout` seconds. Raises Empty, and ShutDown when none will
        come.
        """
        if self._items:
            try:
                item = self._fetch()
            except self._nothing:
                pass
            else:
                if self._room is not None:
                    self._admit()
                    self._settle()
                return item
        elif block and timeout is None and not self._putters:
            # The common wait, in one piece; `_get_carefully` has all the others.
            greenlet: Any = _getcurrent()
            try:  # `running`, without a call's cost
                hub = greenlet.hub
            except AttributeError:
                hub = running().hub
            token: Token = [greenlet]
            self._getters.append(token)
            try:
                # Between our look and our entry something may have come. (A plain queue has no putters, and is open.)
                if self._items or (not self._plain and (self._putters or self._state is not _OPEN)):
                    self._settle()
                outcome = hub.park(greenlet, token)
            except BaseException:
                self._getters.leave(token)
                raise
            if outcome is AGAIN:
                return self._get_carefully(True, None, first=True)
            if outcome is not _SHUT:
                return cast("T", outcome)
        return self._get_carefully(block, timeout)

    def get_nowait(self) -> T:
        """`get` without waiting."""
        return self.get(False)

    def _get_carefully(self, block: bool, timeout: float | None, first: bool = False) -> T:
        if timeout is not None and timeout < 0:
            raise ValueError("'timeout' must be a non-negative number")
        if self._putters and self.maxsize == 0:
            offer = self._claim_offer()
            if offer is not None:
                putter, item = offer
                self._count()
                resume(putter)
                return item
        if self._state is not _OPEN and not self._items:
            raise ShutDown
        if not block or timeout == 0:
            return self.get(False) if relax() else self._take_stored()
        deadline = None if timeout is None else running().hub.clock() + timeout
        outcome = self._getters.wait(deadline=deadline, unless=self._settle, first=first)
        while outcome is AGAIN:
            outcome = self._getters.wait(deadline=deadline, unless=self._settle, first=True)
        if outcome is TIMED_OUT:
            raise Empty
        if outcome is _SHUT:
            raise ShutDown
        return cast("T", outcome)

    def _take_stored(self) -> T:
        """Take an item, having seen none; there may be one all the same, if another thread is busy in the hooks."""
        item = TIMED_OUT
        if self._hooked is not None and self._items:
            item = self._hooked.ask()
        if item is TIMED_OUT:
            raise Empty
        return cast("T", item)

    # -- bringing together

    def _settle(self) -> None:
        """Look again, after an entry or a put: give items to getters, and mind a shutdown."""
        if self._getters:
            self._match()
        if self._state is not _OPEN:
            self._end()

    def _match(self) -> None:
        items, getters = self._items, self._getters
        if self._hooked is not None:
            self._hooked.serve()
        else:
            while items and getters:
                getter = getters.claim()
                if getter is None:
                    break
                try:
                    item = self._fetch()
                except IndexError:
                    resume(getter, AGAIN)
                else:
                    resume(getter, item)
                    self._admit_or_not()
        while self.maxsize == 0 and getters and self._putters and not items:
            getter = getters.claim()
            if getter is None:
                break
            offer = self._claim_offer()
            if offer is None:
                resume(getter, AGAIN)
            else:
                self._count()
                resume(getter, offer[1])
                resume(offer[0])

    def _admit_or_not(self) -> None:
        if self._room is not None:
            self._admit()

    def _admit(self) -> None:
        """There is room for one: store the first putter's item, or put the room down."""
        if self._debt:
            try:
                self._debt.pop()
            except IndexError:
                pass
            else:
                return
        room = self._room
        while True:
            offer = self._claim_offer()
            if offer is not None:
                putter, item = offer
                self._count()
                if self._hooked is not None:
                    self._hooked.append_for(putter, item)
                    return
                self._append(item)
                resume(putter)
                return
            if room is None:
                return
            room.release()
            if not self._putters or not room._take():
                return

    def _claim_offer(self) -> tuple[Greenlet, T] | None:
        """The first putter that still waits, claimed, and its item."""
        putters = self._putters
        while putters:
            try:
                offer: Any = putters.popleft()  # each is an `Offer`
                return offer.pop(), offer.item
            except IndexError:
                pass
        return None

    # -- the end

    def shutdown(self, immediate: bool = False) -> None:
        """Let nothing more be put: put raises ShutDown, also where it waits; so does get, as soon as nothing is left.

        immediate: what is stored is thrown away, and every get raises at once. As in Python 3.13.
        """
        if immediate:
            self._state = _State.ENDED
        elif self._state is _OPEN:
            self._state = _State.DRAINING
        self._note_state()
        self._end()

    def _end(self) -> None:
        while (offer := self._claim_offer()) is not None:
            resume(offer[0], _SHUT)
        if self._state is _State.ENDED:
            with contextlib.suppress(Empty):
                while True:
                    self._throw_away()
        if not self._items:
            self._getters.wake_all(_SHUT)

    def _throw_away(self) -> None:
        """Take an item that no getter will get. Raises Empty when there is none."""
        try:
            self._fetch()
        except self._nothing:
            self._take_stored()

    # -- looking at it

    @property
    def is_shutdown(self) -> bool:
        """Whether `shutdown` was called."""
        relax()
        return self._state is not _OPEN

    def qsize(self) -> int:
        """How many items are stored."""
        relax()
        return len(self._items)

    def empty(self) -> bool:
        """Whether none is."""
        relax()
        return not self._items

    def full(self) -> bool:
        """Whether there is no room."""
        return self.maxsize is not None and self.qsize() >= self.maxsize

    def getting(self) -> int:
        """How many wait in `get`."""
        relax()
        return len(self._getters)

    def putting(self) -> int:
        """How many wait in `put`."""
        relax()
        return len(self._putters)

    def resize(self, size: int | None) -> None:
        """Change `maxsize`. Items beyond a smaller one stay; putters that have room now go on.

        Between a number and None it is exact only while no other OS thread puts or gets.
        """
        size = None if size is None or size < 0 else size
        before, self.maxsize = self.maxsize, size
        if size is None:
            self._room = None
            self._debt.clear()
            while self._putters:
                self._admit()
        elif before is None:
            self._room = Semaphore(max(0, size - len(self._items)))
            self._debt.extend([True] * (len(self._items) - size))
        else:
            for _ in range(size - before):
                self._admit()
            for _ in range(before - size):
                self._give_up_room()
        self._note_state()
        self._settle()

    def _give_up_room(self) -> None:
        if self._room is None or not self._room._take():
            self._debt.append(True)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        """The next item; waits for it. Ends when the queue is shut down, or at an item that is StopIteration itself."""
        try:
            item = self.get()
        except ShutDown:
            raise StopIteration from None
        if item is StopIteration:
            raise StopIteration
        return item

    def __repr__(self) -> str:
        parts = [f"maxsize={self.maxsize}", f"{len(self._items)} stored"]
        parts += [f"{len(self._getters)} getting"] * bool(self._getters)
        parts += [f"{len(self._putters)} putting"] * bool(self._putters)
        parts += [self._state.value] * (self._state is not _OPEN)
        return f"<greenserve.{type(self).__qualname__} at {id(self):#x}: {', '.join(parts)}>"


ATOMIC_HOOKS: set[tuple[Any, ...]] = {(LightQueue._init, LightQueue._qsize, LightQueue._put, LightQueue._get)}
"""Hooks that come to one atomic operation of `queue` each: append, and popleft or pop."""

TRANSPARENT_HOOKS: set[tuple[Any, ...]] = set()
"""Hooks through which an item that is put into nothing comes out as it is, so that a waiting getter can have it at
once.
"""
