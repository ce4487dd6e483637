"""`WaitQueue`: green threads that wait for one thing, in the order of their coming.

Strategy. What green threads and OS threads share is kept in things of which each single operation is atomic:
deque.append and popleft, list.pop, dict.setdefault, next() on an iterator written in C. There is no mutex, so
nothing here can be held up by an OS thread that was preempted in the middle, and neither by a finaliser or a
signal handler that comes in the middle and uses the same object.

Invariant, against lost wake-ups: a waiter enters the line, *then* looks again, then parks; a giver puts the thing
down, *then* looks at the line again. Whichever of the two comes second sees the other.

Law, against lost things: a waiter is claimed first, and what it gets is taken for it only then. A claimed waiter
is resumed for certain (hub.py), so what was taken for it arrives; one that was killed or timed out cannot be
claimed, and is skipped.

Every container in which green threads wait has one, with these exceptions. The ends of a green thread
(greenthread.py) and the common wait of `LightQueue.get` are written out, because a call more is 5 % of theirs; a
WebSocket's receivers are a list, because a deque takes 700 bytes and there is one for each connection; a waiter of an
RLock keeps its place through several parks; what is in a HookedStore's inbox is stored, whether or not its putter has
been killed meanwhile; a descriptor has room for one reader and one writer.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

from greenlet import getcurrent as _getcurrent

from greenserve.hub.core.hub import TIMED_OUT, Greenlet, Throw, running, wake
from greenserve.hub.core.timers import Token

AGAIN: Any = type("Again", (), {"__repr__": lambda _: "AGAIN"})()
"""The outcome of a waiter that was claimed for something which another had taken by then: it looks again, first in
the line.
"""


def resume(greenlet: Greenlet, outcome: Any = None) -> None:
    """Make ready a greenlet whose token the caller has claimed: the second half of `wake`."""
    greenlet.outcome = outcome
    hub = greenlet.hub
    hub.ready.append(greenlet)
    if hub.sleeping:
        hub.wakeup.wake()


def fail(greenlet: Greenlet, error: BaseException) -> None:
    """Raise `error` in a greenlet whose token the caller has claimed, where it is parked."""
    hub = greenlet.hub
    hub.ready.append(Throw(greenlet, error))
    if hub.sleeping:
        hub.wakeup.wake()


class Offer(list[Any]):
    """The token of a waiter that brings something along, for the one that claims it."""

    __slots__ = ("item",)

    def __init__(self, item: Any) -> None:
        self.item = item


class WaitQueue(collections.deque[Token]):
    """Waiters, first come, first served. In any OS threads."""

    __slots__ = ()

    def wait(
        self,
        timeout: float | None = None,
        *,
        deadline: float | None = None,
        unless: Callable[[], object] | None = None,
        offer: Offer | None = None,
        first: bool = False,
    ) -> Any:
        """Park the running green thread until it is woken: returns the outcome; TIMED_OUT after `timeout` seconds, or
        at the `deadline`.

        unless: looks again for what is waited for, once the waiter is in the line. If it returns something true, that
        is the outcome, and the wait is over; but if it has woken this waiter, what that was given is. offer: what the
        waiter brings along, a new one. first: enter as the first in the line.
        """
        greenlet: Any = _getcurrent()
        try:  # `running`, without a call's cost
            hub = greenlet.hub
        except AttributeError:
            hub = running().hub
        if timeout is not None:
            deadline = hub.clock() + timeout
        token: Token = [greenlet]
        if offer is not None:
            token = offer
            token.append(greenlet)
        if first:
            self.appendleft(token)
        else:
            self.append(token)
        try:
            if unless is not None:
                if (found := unless()) and self.leave(token):
                    return found
                del unless  # a method or a closure made for this wait: not another object for each of many waiters
            outcome = hub.park(greenlet, token) if deadline is None else hub.park_until(greenlet, token, deadline)
        except BaseException:
            self.leave(token)
            raise
        if outcome is TIMED_OUT:
            self.leave(token)
        return outcome

    def leave(self, token: Token) -> bool:
        """Wait no more. Returns False for a waiter that has been claimed."""
        try:
            token.pop()
            unclaimed = True
        except IndexError:
            unclaimed = False
        self._throw_away(token)
        return unclaimed

    def _throw_away(self, token: Token) -> None:
        """Take out a token that cannot be claimed any more.

        Claimed tokens are empty lists and compare equal. We may remove another waiter's; it will then remove ours.
        """
        try:
            self.remove(token)
        except ValueError:  # a waker came across it, and threw it away
            pass

    def claim(self) -> Greenlet | None:
        """Claim the first that still waits; the caller must `resume` it. Returns None when there is none."""
        while self:
            try:
                return self.popleft().pop()  # type: ignore[no-any-return]  # a token holds a greenlet
            except IndexError:  # a dead token, or the line is empty by now
                pass
        return None

    def wake(self, outcome: Any = None) -> bool:
        """Wake the first that still waits. Returns False when there is none."""
        while self:
            try:
                greenlet = self.popleft().pop()
            except IndexError:
                continue
            greenlet.outcome = outcome  # `resume`, without a call's cost
            hub = greenlet.hub
            hub.ready.append(greenlet)
            if hub.sleeping:
                hub.wakeup.wake()
            return True
        return False

    def wake_all(self, outcome: Any = None) -> bool:
        """Wake those that wait now, and none that comes while this is under way. Returns whether there were any."""
        woken = False
        for token in list(self):
            if wake(token, outcome):
                self._throw_away(token)
                woken = True
        return woken
