"""A queue's store whose operations are not atomic: PriorityQueue's heap, and whatever a subclass makes of _put and
_get.

Strategy: one at a time is inside, which a test-and-set cell sees to (a lock that is never waited for). A thread that
finds the cell taken leaves a wish (an item to store, a place in the getters' line, a question); the one inside fulfils
all wishes, and looks again after it has left. So a comparison that itself puts, a finaliser that comes in the middle of
one, or an OS thread that is preempted there, holds up no thread forever. The alternative, a mutex, deadlocks in all
three.

Invariant: what a hook raises is raised in the green thread whose item it was about, and not in the one that happened to
be inside; that one's own kill or Timeout stays its own. A putter waits for its wish, to be told; where it cannot wait,
in a finaliser, inside a hook, in the hub's own greenlet, the error is printed.
"""

from __future__ import annotations

import collections
import contextlib
import sys
from collections.abc import Callable
from typing import Any, Protocol

from greenlet import getcurrent as _getcurrent

from greenserve.hub.core import report
from greenserve.hub.core.busy_wait import may_switch
from greenserve.hub.core.greenlets import Loop
from greenserve.hub.core.hub import TIMED_OUT, Greenlet, running
from greenserve.hub.core.originals import allocate_lock
from greenserve.hub.core.timers import Token
from greenserve.hub.core.wait_queue import AGAIN, WaitQueue, fail, resume


class Hooks(Protocol):
    """The standard library's hooks for queues."""

    def _qsize(self) -> int: ...

    def _put(self, item: Any) -> None: ...

    def _get(self) -> Any: ...


class NoItem(IndexError):
    """There is no item; an IndexError of a hook's own is something else."""


class _Wish:
    """An item to be stored, and the token of the putter that waits for it; None where none can."""

    __slots__ = ("item", "token")

    def __init__(self, item: Any, token: Token | None) -> None:
        self.item = item
        self.token = token


class HookedStore:
    """What a queue sees of its hooks: append, pop, len, and `serve` in the place of its own matching.

    getters: the line of those that wait for an item. made_room: called after one was given to a getter. refused: called
    when a hook has raised instead of storing an item.
    """

    __slots__ = ("_askers", "_cell", "_getters", "_hooks", "_inbox", "_inside", "_made_room", "_refused")

    def __init__(
        self, hooks: Hooks, getters: WaitQueue, made_room: Callable[[], None], refused: Callable[[], None]
    ) -> None:
        self._hooks = hooks
        self._getters = getters
        self._made_room = made_room
        self._refused = refused
        self._inbox: collections.deque[_Wish] = collections.deque()
        self._askers = WaitQueue()
        self._cell = allocate_lock()
        self._inside: Any = None  # the greenlet that has the cell

    def __len__(self) -> int:
        return self._hooks._qsize() + len(self._inbox)

    def _enter(self) -> bool:
        if not self._cell.acquire(False):
            return False
        self._inside = _getcurrent()
        return True

    def _leave(self) -> None:
        self._inside = None
        self._cell.release()

    # -- storing

    def append(self, item: Any) -> None:
        """Store an item, now or as soon as the thread inside has left. Raises what the hook does."""
        if self._inbox or not self._enter():
            self._append_later(item)
            return
        try:
            self._hooks._put(item)
        except BaseException:
            self._refused()
            raise
        finally:
            self._leave()
            if self._getters or self._inbox or self._askers:
                self.serve()

    def append_for(self, putter: Greenlet, item: Any) -> None:
        """Store the item of a putter whose token the caller has claimed; that is resumed, or told the hook's error."""
        self._inbox.append(_Wish(item, [putter]))
        self.serve()

    def _append_later(self, item: Any) -> None:
        greenlet: Any = _getcurrent()
        if greenlet is self._inside or isinstance(greenlet, Loop) or not may_switch(sys._getframe(1)):
            self._inbox.append(_Wish(item, None))
            self.serve()
            return
        greenlet = running()
        token: Token = [greenlet]
        wish = _Wish(item, token)
        self._inbox.append(wish)
        self.serve()
        try:
            greenlet.hub.park(greenlet, token)
        except BaseException:
            with contextlib.suppress(ValueError):  # it is being stored, or was refused
                self._inbox.remove(wish)
                self._refused()
            raise

    def _store_inbox(self) -> None:
        while self._inbox:
            wish = self._inbox.popleft()
            try:
                self._hooks._put(wish.item)
            except Exception as error:
                self._refused()
                self._answer(wish, error)
            except BaseException:  # meant for us, whose item it is not
                self._inbox.appendleft(wish)
                raise
            else:
                self._answer(wish, None)

    def _answer(self, wish: _Wish, error: Exception | None) -> None:
        try:
            putter = None if wish.token is None else wish.token.pop()
        except IndexError:  # killed meanwhile
            putter = None
        if putter is None:
            if error is not None:
                report.print_error(f"an item that was put could not be stored in {self._hooks!r}", error)
        elif error is None:
            resume(putter)
        else:
            fail(putter, error)

    # -- taking

    def pop(self) -> Any:
        """Take an item. Raises NoItem when there is none, or another thread is inside: then wait in the line, or `ask`;
        and what the hook raises.
        """
        if not self._enter():
            raise NoItem
        try:
            if self._inbox:
                self._store_inbox()
            if not self._hooks._qsize():
                raise NoItem
            return self._hooks._get()
        finally:
            self._leave()
            if self._getters or self._inbox or self._askers:
                self.serve()

    def ask(self) -> Any:
        """Take an item if there is one, waiting only for the thread inside. Returns TIMED_OUT when there is none."""
        outcome = AGAIN
        while outcome is AGAIN:
            outcome = self._askers.wait(unless=self.serve)
        return outcome

    # -- others' wishes

    def serve(self) -> None:
        """Fulfil what wishes there are, unless a thread inside will."""
        failed: BaseException | None = None
        while self._wishes() and self._enter():
            try:
                if self._inbox:
                    self._store_inbox()
                if self._askers:
                    self._give(self._askers, TIMED_OUT)
                if self._getters and self._may_have_items():
                    self._give(self._getters, AGAIN)
            except BaseException as error:
                failed = error
            finally:
                self._leave()
        if failed is not None:
            raise failed

    def _wishes(self) -> bool:
        return bool(self._inbox or self._askers or (self._getters and self._may_have_items()))

    def _may_have_items(self) -> bool:
        try:
            return bool(self._hooks._qsize())
        except Exception:
            return True  # the getter is to be told

    def _give(self, line: WaitQueue, otherwise: Any) -> None:
        """Give an item to the first in the line, or what the hook raises. When there is none, it gets `otherwise`."""
        receiver = line.claim()
        if receiver is None:
            return
        outcome, made_room, failed = otherwise, False, None
        try:
            if self._hooks._qsize():
                outcome = self._hooks._get()
                made_room = True
        except Exception as error:
            failed = error
        finally:  # also when we are killed inside
            if failed is None:
                resume(receiver, outcome)
            else:
                fail(receiver, failed)
            if made_room:
                self._made_room()
