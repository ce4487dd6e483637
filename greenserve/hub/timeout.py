"""Timeout: an exception that comes by itself when its time is over.

A BaseException, so that an `except Exception` in the code between does not swallow it; told apart by identity, so
nested ones catch their own. Nearly all are cancelled: so a timeout is itself what stands in the timers' heap, and makes
nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

from greenlet import getcurrent as _getcurrent

from greenserve.errors import HubError
from greenserve.hub.core.busy_wait import relax
from greenserve.hub.core.hub import Hub, running
from greenserve.hub.core.timers import Token

T = TypeVar("T")
_UNSET: Any = object()


class Timeout(BaseException):
    """Raises itself in the current green thread after `seconds`, unless cancelled before.

    seconds: None never fires. exception: what to raise instead of this object (an exception or its class); False makes
    the `with` form end silently when this very timeout fires. Starts at once; `cancel` stops it, `start` starts it
    again.

    >>> with greenserve.Timeout(0.01, False):
    ...     greenserve.sleep(60)
    >>> with greenserve.Timeout(0.01):
    ...     greenserve.sleep(60)
    Traceback (most recent call last):
    greenserve.hub.timeout.Timeout: 0.01 seconds
    """

    __slots__ = ("_error", "_greenlet", "_job", "_token", "exception", "seconds")

    def __init__(self, seconds: float | None = None, exception: Any = None) -> None:
        self.seconds = seconds
        self.exception = exception
        self._greenlet: Any = None  # where it is raised; None: not started, or cancelled
        self._token: Token
        self._error: BaseException | None
        if seconds is not None:
            self._begin(seconds)

    def start(self) -> None:
        """Begin to count, for the green thread that calls this. Raises HubError when it counts already."""
        if self._greenlet is not None:
            if self._token:
                raise HubError(f"{self!r} is already started; cancel it first to restart it")
            self.cancel()
        if self.seconds is not None:
            self._begin(self.seconds)

    def _begin(self, seconds: float) -> None:
        greenlet: Any = _getcurrent()
        try:
            hub = greenlet.hub
        except AttributeError:
            hub = running().hub  # which has adopted it
        token: Token = [self]
        clock = hub.clock
        hub.timers.add(clock() + seconds, token)
        self._token = token  # emptied when it fires
        self._job = greenlet.job
        self._error = None
        self._greenlet = greenlet

    @classmethod
    def start_new(cls, timeout: Timeout | float | None = None, exception: Any = None) -> Timeout:
        """A started timeout: `timeout` itself (started if it is not) when it is one already."""
        if isinstance(timeout, Timeout):
            if not timeout.pending:
                timeout.start()
            return timeout
        return cls(timeout, exception)

    @property
    def pending(self) -> bool:
        """Whether it is started, and has neither fired nor been cancelled."""
        relax()
        return self._greenlet is not None and bool(self._token)

    def cancel(self) -> None:
        """Stop. One that has fired while its thread was busy, and has not been raised yet, is taken back."""
        greenlet = self._greenlet
        if greenlet is None:
            return
        self._greenlet = None
        if self._token:
            self._token.clear()
            greenlet.hub.timers.forget(self._token)
        elif greenlet.pending is not None:
            greenlet.pending = [error for error in greenlet.pending if error is not self._error] or None
        self._error = None  # often ourselves: a circle, and with the traceback it would hold every frame that was hit

    close = cancel

    def expire(self, hub: Hub) -> None:
        """The time is over; called by the hub."""
        greenlet = self._greenlet
        if greenlet.job is not self._job:  # the thread that started it has ended; its carrier does something else
            return
        exception = self.exception
        if exception is None or isinstance(exception, bool):
            self._error = self
        elif isinstance(exception, BaseException):
            self._error = exception
        else:
            try:
                self._error = exception()
            except Exception as error:  # the class cannot be called so: its user should see that
                self._error = error
        hub.throw(greenlet, self._error)

    def _on_its_way(self) -> bool:
        """Whether it has fired, while its thread was busy, and will be raised at the next park."""
        return any(error is self._error for error in self._greenlet.pending or ())

    def __enter__(self) -> Self:
        if self._greenlet is None or not (self._token or self._on_its_way()):
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        self.cancel()
        return error is self and self.exception is False

    def __str__(self) -> str:
        if self.seconds is None:
            return ""
        return f"{self.seconds} second{'' if self.seconds == 1 else 's'}"

    def __repr__(self) -> str:
        state = "pending" if self.pending else "not started"
        return f"<Timeout of {self} ({state})>"


def with_timeout(
    seconds: float, function: Callable[..., T], *args: Any, timeout_value: Any = _UNSET, **kwargs: Any
) -> T:
    """Call `function` with a deadline of `seconds`. When it passes, return `timeout_value` if given, else raise
    Timeout.

    >>> greenserve.with_timeout(0.01, greenserve.sleep, 60, timeout_value="late")
    'late'
    """
    timeout = Timeout(seconds)
    try:
        return function(*args, **kwargs)
    except Timeout as error:
        if error is timeout and timeout_value is not _UNSET:
            return timeout_value  # type: ignore[no-any-return]
        raise
    finally:
        timeout.cancel()


def is_timeout(error: object) -> bool:
    """Whether an error says that time has run out: a Timeout, or a TimeoutError (as sockets raise).

    >>> try:
    ...     with greenserve.Timeout(0.01):
    ...         greenserve.sleep(60)
    ... except BaseException as error:
    ...     greenserve.is_timeout(error)
    True
    """
    return isinstance(error, Timeout | TimeoutError)
