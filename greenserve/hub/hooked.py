"""A queue's store whose operations are not atomic: PriorityQueue's heap, and whatever a subclass makes of _put and
_get.

Strategy: one at a time is inside, which a test-and-set cell sees to (a lock that nobody ever waits for). Who finds
the cell taken leaves his wish (an item to store, a place in the getters' line, a question) and goes; who is inside
fulfils all wishes, and looks again after he has left. So a put never waits, and a comparison that itself puts, a
finaliser that comes in the middle of one, or an OS thread that is preempted there, holds nobody up for ever. The
alternative, a mutex, deadlocks in all three.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any, Protocol

from greenserve.hub.hub import TIMED_OUT, running
from greenserve.hub.line import AGAIN, Line, resume
from greenserve.hub.native import allocate_lock
from greenserve.hub.timers import Token


class Hooks(Protocol):
    """The standard library's hooks for queues."""

    def _qsize(self) -> int: ...

    def _put(self, item: Any) -> None: ...

    def _get(self) -> Any: ...


class HookedStore:
    """What a queue sees of its hooks: append, pop, len, and `serve` in the place of its own matching.

    getters: the line of those who wait for an item. made_room: called after one was given to a getter.
    """

    __slots__ = ("_askers", "_cell", "_getters", "_hooks", "_inbox", "_made_room")

    def __init__(self, hooks: Hooks, getters: Line, made_room: Callable[[], None]) -> None:
        self._hooks = hooks
        self._getters = getters
        self._made_room = made_room
        self._inbox: collections.deque[Any] = collections.deque()
        self._askers = Line()
        self._cell = allocate_lock()

    def __len__(self) -> int:
        return self._hooks._qsize() + len(self._inbox)

    def append(self, item: Any) -> None:
        """Store an item, now or as soon as who is inside has left."""
        if self._inbox or not self._cell.acquire(False):
            self._inbox.append(item)
        else:
            try:
                self._hooks._put(item)
            finally:
                self._cell.release()
        if self._getters or self._inbox or self._askers:
            self.serve()

    def pop(self) -> Any:
        """Take an item. Raises IndexError when there is none, or when somebody is inside: then wait in the line, or
        `ask`.
        """
        if not self._cell.acquire(False):
            raise IndexError
        try:
            if self._inbox:
                self._store_inbox()
            if not self._hooks._qsize():
                raise IndexError
            return self._hooks._get()
        finally:
            self._cell.release()
            if self._getters or self._inbox or self._askers:
                self.serve()

    def ask(self) -> Any:
        """Take an item without waiting for one, but for whoever is inside. Returns TIMED_OUT when there is none."""
        greenlet = running()
        while True:
            token: Token = [greenlet]
            self._askers.append(token)
            self.serve()
            outcome = self._askers.park(greenlet, token, None)
            if outcome is not AGAIN:
                return outcome

    def serve(self) -> None:
        """Fulfil what wishes there are, unless somebody is inside who will."""
        failed: BaseException | None = None
        while self._wishes() and self._cell.acquire(False):
            try:
                if self._inbox:
                    self._store_inbox()
                if self._askers:
                    self._give(self._askers, TIMED_OUT)
                if self._getters and self._hooks._qsize():
                    self._give(self._getters, AGAIN)
            except BaseException as error:
                failed = error
            finally:
                self._cell.release()
        if failed is not None:
            raise failed

    def _wishes(self) -> bool:
        return bool(self._inbox or self._askers or (self._getters and self._hooks._qsize()))

    def _store_inbox(self) -> None:
        while self._inbox:
            self._hooks._put(self._inbox.popleft())

    def _give(self, line: Line, otherwise: Any) -> None:
        """Give an item to the first in the line. He who was claimed gets `otherwise` when there is none."""
        receiver = line.claim_first()
        if receiver is None:
            return
        outcome, made_room = otherwise, False
        try:
            if self._hooks._qsize():
                outcome = self._hooks._get()
                made_room = True
        finally:
            resume(receiver, outcome)
            if made_room:
                self._made_room()
