"""Waiters: a `WaitQueue`, of which one at a time is served, and a `Crowd`, which is woken all at once.

Strategy. What green threads and OS threads share is kept in things of which each single operation is atomic:
deque.append and popleft, list.pop, dict.setdefault, next() on an iterator written in C. There is no mutex, so
nothing here can be held up by an OS thread that was preempted in the middle, and neither by a finaliser or a
signal handler that comes in the middle and uses the same object.

Invariant, against lost wake-ups: a waiter enters the line, *then* looks again, then parks; a giver puts the thing
down, *then* looks at the line again. Whichever of the two comes second sees the other.

Law, against lost things: a waiter is claimed first, and what it gets is taken for it only then. A claimed waiter
is resumed for certain (hub.py), so what was taken for it arrives; one that was killed or timed out cannot be
claimed, and is skipped.
"""

from __future__ import annotations

import collections
import contextlib
from typing import Any

from greenserve.hub.core.hub import TIMED_OUT, Greenlet, Throw, wake
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


class WaitQueue(collections.deque[Token]):
    """Waiters in the order of their coming."""

    __slots__ = ()

    def park(self, greenlet: Greenlet, token: Token, timeout: float | None) -> Any:
        """Wait to be woken, having entered the line. Returns the outcome, or TIMED_OUT; a waiter not woken leaves the
        line.
        """
        hub = greenlet.hub
        try:
            if timeout is None:
                return hub.park(greenlet, token)
            outcome = hub.park_until(greenlet, token, hub.clock() + timeout)
        except BaseException:
            self.leave(token)
            raise
        if outcome is TIMED_OUT:
            self.leave(token)
        return outcome

    def leave(self, token: Token) -> None:
        """Take out a token that cannot be claimed any more.

        Claimed tokens are empty lists and compare equal. We may remove another waiter's; it will then remove ours.
        """
        token.clear()
        with contextlib.suppress(ValueError):  # a waker came across it, and threw it away
            self.remove(token)

    def claim_first(self) -> Greenlet | None:
        """Claim the first that still waits; the caller must `resume` it. Returns None when there is none."""
        while self:
            try:
                return self.popleft().pop()  # type: ignore[no-any-return]  # a token holds a greenlet
            except IndexError:  # a dead token, or the line is empty by now
                pass
        return None

    def wake_first(self, outcome: Any = None) -> bool:
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


class Crowd(dict[int, Token]):
    """Waiters for one thing that concerns them all."""

    __slots__ = ()

    def enter(self, greenlet: Greenlet) -> Token:
        """Begin to wait. To be followed by a look whether it has happened meanwhile (if so: `wake` the token), and
        `park`.
        """
        token: Token = [greenlet]
        self[id(token)] = token
        return token

    def park(self, greenlet: Greenlet, token: Token, timeout: float | None) -> Any:
        """Wait to be woken. Returns the outcome, or TIMED_OUT."""
        hub = greenlet.hub
        try:
            if timeout is None:
                return hub.park(greenlet, token)
            return hub.park_until(greenlet, token, hub.clock() + timeout)
        finally:
            token.clear()
            del self[id(token)]

    def wake_all(self, outcome: Any = None) -> None:
        """Wake those that wait now, and none that comes while this is under way."""
        for token in list(self.values()):
            wake(token, outcome)
