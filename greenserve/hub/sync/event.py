"""Event, AsyncResult and Flag: things that happen once, or are so for a while.

`Event` is Eventlet's, a value or an error that is sent once and waited for by any number. `Flag` is what
`threading` calls Event: up or down. They are two classes because they are two things: what "wait" returns, and
what "again" means, are different in each. `AsyncResult` is an Event under gevent's names, whose `get` tells a
missing result from a result of None.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Generic, TypeVar

from greenserve.errors import AlreadySent
from greenserve.hub.core.busy_wait import relax
from greenserve.hub.core.hub import TIMED_OUT
from greenserve.hub.core.wait_queue import WaitQueue
from greenserve.hub.greenthread import GreenThread, error_of

T = TypeVar("T")


class _Outcome:
    """What was sent: a value, or an error with the traceback that it came with."""

    __slots__ = ("_traceback", "error", "value")

    def __init__(self, value: Any, error: BaseException | None) -> None:
        self.value = value
        self.error = error
        self._traceback: TracebackType | None = None if error is None else error.__traceback__

    def get(self) -> Any:
        """The value. Raises the error, with the same traceback each time: it must not grow by each waiter."""
        if self.error is not None:
            raise self.error.with_traceback(self._traceback)
        return self.value


class Event(Generic[T]):
    """A value or an error that one sends, once, and any number wait for. In any OS threads.

    >>> event = greenserve.Event()
    >>> waiting = greenserve.spawn(event.wait)
    >>> event.send("now")
    >>> waiting.wait(), event.ready()
    ('now', True)
    """

    __slots__ = ("__weakref__", "_outcomes", "_waiters")

    def __init__(self) -> None:
        self._outcomes: list[
            _Outcome
        ] = []  # the first counts: append and look, and of two senders one learns that it was late
        self._waiters = WaitQueue()

    def send(self, result: T | None = None, exc: Any = None) -> None:
        """Hand `result` to present and later waiters. exc: an error instead, as for `send_exception`; a tuple of its
        arguments.

        Raises AlreadySent the second time.
        """
        error = None if exc is None else error_of(exc if isinstance(exc, tuple) else (exc,))
        self._settle(_Outcome(result, error))

    def send_exception(self, *args: Any) -> None:
        """Raise in present and later waiters: an exception; or its class and its argument."""
        self._settle(_Outcome(None, error_of(args)))

    def _settle(self, outcome: _Outcome) -> None:
        outcomes = self._outcomes
        if not outcomes:
            outcomes.append(outcome)
            if outcomes[0] is outcome:
                self._waiters.wake_all(outcome)
                return
        raise AlreadySent(f"{type(self).__name__} was sent already; `reset` it first to send it again")

    def wait(self, timeout: float | None = None) -> T | None:
        """Wait until it is sent. Returns the value or raises the error; None after `timeout` seconds without either."""
        outcome = self._wait(timeout)
        return None if outcome is None else outcome.get()

    def _wait(self, timeout: float | None) -> _Outcome | None:
        outcomes = self._outcomes
        if outcomes:
            return outcomes[0]
        outcome = self._waiters.wait(timeout, unless=self._first)
        return None if outcome is TIMED_OUT else outcome

    def _first(self) -> _Outcome | None:
        outcomes = self._outcomes
        return outcomes[0] if outcomes else None

    def ready(self) -> bool:
        """Whether it was sent."""
        return bool(self._outcomes) or (relax() and bool(self._outcomes))

    def has_exception(self) -> bool:
        """Whether an error was sent."""
        return self.ready() and self._outcomes[0].error is not None

    def has_result(self) -> bool:
        """Whether a value was sent."""
        return self.ready() and self._outcomes[0].error is None

    def poll(self, notready: Any = None) -> Any:
        """What `wait` would give, without waiting: `notready` when nothing was sent yet."""
        return self._outcomes[0].get() if self.ready() else notready

    def poll_result(self, notready: Any = None) -> Any:
        """The value that was sent; `notready` when there is none."""
        return self._outcomes[0].value if self.has_result() else notready

    def poll_exception(self, notready: Any = None) -> Any:
        """The error that was sent; `notready` when there is none."""
        return self._outcomes[0].error if self.has_exception() else notready

    def reset(self) -> None:
        """Forget what was sent, so that it can be sent again. Threads that it has woken still get it."""
        self._outcomes = []

    def __repr__(self) -> str:
        state = "sent" if self._outcomes else f"{len(self._waiters)} waiting"
        return f"<greenserve.{type(self).__qualname__} at {id(self):#x}: {state}>"


class AsyncResult(Event[T]):
    """A result that will be there later: `Event` with gevent's names. `thread.link(result)` gives it a green thread's
    result.

    >>> result = greenserve.AsyncResult()
    >>> greenserve.spawn(pow, 2, 10).link(result)
    >>> result.get(timeout=5)
    1024
    """

    __slots__ = ()

    set = Event.send
    set_exception = Event.send_exception
    successful = Event.has_result

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        """Wait for the result and return it, or raise the error. Raises TimeoutError when neither comes in time."""
        outcome = self._wait(timeout) if block else next(iter(self._outcomes), None)
        if outcome is None:
            raise TimeoutError("no result yet" if not block else f"no result within {timeout} seconds")
        return outcome.get()  # type: ignore[no-any-return]  # a T, as it was sent

    def get_nowait(self) -> T:
        """`get` without waiting."""
        return self.get(block=False)

    @property
    def value(self) -> T | None:
        """The result; None when there is none."""
        return self.poll_result()  # type: ignore[no-any-return]  # a T, as it was sent

    @property
    def exception(self) -> BaseException | None:
        """The error; None when there is none."""
        return self.poll_exception()  # type: ignore[no-any-return]  # an error, as it was sent

    def __call__(self, source: GreenThread[T]) -> None:
        """Take over how a green thread ended; meant for its `link`."""
        self._settle(_Outcome(source.wait() if source.error is None else None, source.error))


class Flag:
    """Up or down: what `threading` calls Event, with its methods.

    >>> flag = greenserve.Flag()
    >>> flag.wait(timeout=0)
    False
    >>> flag.set()
    >>> flag.wait()
    True
    """

    __slots__ = ("__weakref__", "_up", "_waiters")

    def __init__(self) -> None:
        self._up = False
        self._waiters = WaitQueue()

    def is_set(self) -> bool:
        """Whether it is up."""
        relax()
        return self._up

    def set(self) -> None:
        """Set it, and wake all waiters. Safe in signal handlers."""
        self._up = True
        if self._waiters:
            self._waiters.wake_all(True)

    def clear(self) -> None:
        """Put it down."""
        self._up = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is up, at most `timeout` seconds. Returns whether it was put up."""
        if self._up:
            return True
        return self._waiters.wait(timeout, unless=lambda: self._up) is not TIMED_OUT

    def _at_fork_reinit(self) -> None:
        self._waiters = WaitQueue()

    def __repr__(self) -> str:
        return f"<greenserve.{type(self).__qualname__} at {id(self):#x}: {'set' if self._up else 'unset'}>"
