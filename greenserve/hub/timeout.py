"""Timeout: an exception that comes by itself when its time is over.

A BaseException, so that an `except Exception` in the code between does not swallow it; told apart by identity, so nested ones
catch their own.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

from greenserve.errors import HubError
from greenserve.hub.hub import running
from greenserve.hub.timers import Timer

T = TypeVar("T")
_UNSET: Any = object()


class Timeout(BaseException):
    """Raises itself in the current green thread after `seconds`, unless cancelled before.

    seconds: None never fires. exception: what to raise instead of this object (an exception or its class); False makes the
    `with` form end silently when this very timeout fires. Starts at once; `cancel` stops it, `start` starts it again::

        with greenserve.Timeout(5, False):
            data = sock.recv(100)
    """

    def __init__(self, seconds: float | None = None, exception: Any = None) -> None:
        self.seconds = seconds
        self.exception = exception
        self._timer: Timer | None = None
        self._target: Any = None
        self._error: BaseException = self
        self.start()

    def start(self) -> None:
        """Begin to count, for the green thread that calls this. Raises HubError when it counts already."""
        if self._timer is not None and self._timer.pending:
            raise HubError(f"{self!r} is already started; cancel it first to restart it")
        if self.seconds is not None:
            self._target = greenlet = running()
            self._timer = greenlet.hub.call_later(self.seconds, self._fire, greenlet, greenlet.job)

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
        return self._timer is not None and self._timer.pending

    def cancel(self) -> None:
        """Stop. One that has fired while its thread was busy, and has not been raised yet, is taken back."""
        timer = self._timer
        if timer is None:
            return
        if timer.pending:
            timer.cancel()
        else:
            pending = self._target.pending
            if pending and self._error in pending:
                self._target.pending = [error for error in pending if error is not self._error] or None
        self._timer = self._target = None

    close = cancel

    def _fire(self, greenlet: Any, job: Any) -> None:
        if greenlet.job is not job:  # the thread that started it has ended; its carrier does something else
            return
        exception = self.exception
        if exception is None or isinstance(exception, bool):
            self._error = self
        elif isinstance(exception, BaseException):
            self._error = exception
        else:
            self._error = exception()
        greenlet.hub.throw(greenlet, self._error)

    def __enter__(self) -> Self:
        if self._timer is None:
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


def with_timeout(seconds: float, function: Callable[..., T], *args: Any, timeout_value: Any = _UNSET, **kwargs: Any) -> T:
    """Call `function` with a deadline of `seconds`. When it passes, return `timeout_value` if given, else raise Timeout."""
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
    """Whether an error says that time has run out: a Timeout, or a TimeoutError (as sockets raise)."""
    return isinstance(error, Timeout | TimeoutError)
