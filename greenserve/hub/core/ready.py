"""What stands in a ready queue besides greenlets, and how a greenlet gets there: tokens, `wake`, calls that the hub
makes.

Invariant: a parked greenlet is resumed by the claimer of its *token*, the list [greenlet], by emptying it. That is
atomic, so of a release, a timer, a close and a kill, in whatever OS thread, exactly one wins; the losers find the list
empty and go on to the next waiter. Hence no wake-up is lost, none comes twice, and a resumption that hands something
over is never overtaken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from greenserve.hub.core import report

Token: TypeAlias = list[Any]
"""A one-shot claim: [greenlet], emptied by its resumer. In the timers' heap also [something with `expire`]."""

TIMED_OUT: Any = type("TimedOut", (), {"__repr__": lambda _: "TIMED_OUT", "__bool__": lambda _: False})()
"""The outcome of a park that its deadline ended."""

MARK: Any = None
"""Ends a round in the ready queue. None, because nothing is quicker found to be false, which a parking greenlet looks
at.
"""


class HubCall:
    """An entry of the ready queue that is not a greenlet: the hub calls its `switch`, which must not block."""

    __slots__ = ()

    def __bool__(self) -> bool:
        """False, which sends a parking greenlet through the hub instead of straight here."""
        return False

    def switch(self) -> None:
        """Do it."""
        raise NotImplementedError

    def unbegun(self) -> bool:
        """Whether `switch`, which an exception has ended, has yet to do it, and is to be called again."""
        return False


class Call(HubCall):
    """A function call that the hub makes once."""

    __slots__ = ("_args", "_callback")

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._callback: Callable[..., object] | None = callback
        self._args = args

    def switch(self) -> None:
        """Make the call."""
        callback = self._callback
        if callback is not None:
            self._callback = None
            call_guarded(callback, self._args)

    def unbegun(self) -> bool:
        """Whether the call has yet to be made."""
        return self._callback is not None


class Throw(HubCall):
    """Resumes a claimed greenlet by an exception."""

    __slots__ = ("_error", "_greenlet", "_job")

    def __init__(self, target: Any, error: BaseException) -> None:
        self._greenlet = target
        self._job = target.job
        self._error = error

    def concerns(self, target: Any, kind: type[BaseException]) -> bool:
        """Whether it will raise an error of `kind` in `target`."""
        return self._greenlet is target and isinstance(self._error, kind)

    def switch(self) -> None:
        """Throw it. The target's `park` sees by its outcome that it was resumed by us."""
        greenlet = self._greenlet
        if self._error is _NO_ERROR or greenlet.dead:  # thrown into a dead greenlet it would come up here
            return
        if greenlet.job is not self._job:  # another error has ended the job, and the carrier has the next one
            return
        greenlet.outcome = error = self._error
        self._error = _NO_ERROR  # the hub's frame keeps us while the target runs
        greenlet.throw(error)

    def unbegun(self) -> bool:
        """Whether it has yet to be thrown."""
        return self._error is not _NO_ERROR


_NO_ERROR = RuntimeError()


def call_guarded(callback: Callable[..., object], args: tuple[Any, ...]) -> None:
    """Make a callback's call; its error is printed, lest it stop the others.

    What is not an Exception passes: SystemExit, KeyboardInterrupt and a test runner's verdict are main's, and
    GreenletExit is what tells the hub's own greenlet to end.
    """
    try:
        callback(*args)
    except Exception as error:  # the callback's last catch
        report.print_error(f"the hub's callback {callback!r} raised", error)


def wake(token: Token, outcome: Any = None) -> bool:
    """Claim a parked greenlet and make it ready: its `park` returns `outcome`. Safe in any OS thread and in signal
    handlers.

    Returns False when it was claimed already (it timed out, was killed, was woken).
    """
    greenlet: Any = None
    try:
        greenlet = token[0]
        token.pop()  # the claim
        greenlet.outcome = outcome
        hub = greenlet.hub
        hub.ready.append(greenlet)
        if hub.sleeping:
            hub.wakeup.wake()
    except IndexError:
        return False
    except BaseException:
        if greenlet is not None and not token:  # it is claimed, so it must be resumed
            greenlet.outcome = outcome
            hub = greenlet.hub
            hub.ready += (greenlet,)
        raise
    return True
