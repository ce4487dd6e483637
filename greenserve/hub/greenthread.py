"""Green threads: spawn, kill, wait, link.

A `GreenThread` is what the user holds; the carrier greenlet that runs it (hub.py) is lent to it until it is done. So it
is not a greenlet itself, and its end frees everything that it used at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextvars import Context
from enum import Enum
from types import CodeType, FrameType
from typing import Any, Generic, ParamSpec, TypeAlias, TypeVar, cast

from greenlet import GreenletExit
from greenlet import getcurrent as _getcurrent

from greenserve.errors import HubError
from greenserve.hub.core import originals as _thread
from greenserve.hub.core import report
from greenserve.hub.core.busy_wait import relax
from greenserve.hub.core.greenlets import Visitor
from greenserve.hub.core.hub import Hub, raise_pending, running, wake
from greenserve.hub.core.timers import Timer, Token

Link: TypeAlias = tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]]

P = ParamSpec("P")
T = TypeVar("T")

_numbers = itertools.count(1)


class State(Enum):
    """Where a green thread is in its life."""

    NEW = "new"
    STARTED = "started"
    DONE = "done"


_NO_KWARGS: dict[str, Any] = {}
_NEW, _STARTED, _DONE = State  # looking a member up in its Enum costs as much as all the rest of a comparison


class GreenThread(Generic[T]):
    """A function running on its own; made by `spawn`.

    It goes on whether or not this object is kept, as an OS thread would: one that waits for what nothing else
    refers to is not collected, but stays, and is named in a deadlock's report. A hub that is closed, as it is with its
    OS thread, kills those that are left; the interpreter's exit does not, and runs none of their `finally` blocks.

    >>> thread = greenserve.spawn(greenserve.sleep, 60)
    >>> thread.dead
    False
    >>> thread.kill()
    >>> thread.dead
    True
    """

    __slots__ = (
        "__weakref__",
        "_args",
        "_birth_code",
        "_birth_instruction",
        "_carrier",
        "_ends",
        "_error",
        "_function",
        "_kwargs",
        "_name",
        "_number",
        "_result",
        "_state",
        "_timer",
        "hub",
        "locals",
        "quiet",
    )

    def __init__(
        self,
        hub: Hub,
        function: Callable[..., T],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        birthplace: FrameType | None = None,
    ) -> None:
        self.hub = hub
        self.quiet = False  # the owner of the error (a task group) sets this, and no traceback is printed
        self.locals: dict[Any, Any] | None = None  # what greenserve.local keeps for this thread
        self._function: Callable[..., T] | None = function
        self._args = args
        self._kwargs = kwargs or _NO_KWARGS  # each call makes a dict of its own, and there may be a million of us
        self._state = _NEW
        self._result: Any = None  # once it has ended by an error: the traceback with which that came
        self._error: BaseException | None = None  # what ended it; before the end, what it is being killed with
        self._carrier: Any = None
        self._timer: Timer | None = None
        # What is called at the end. Made at once, because two OS threads could both find that there is none yet.
        self._ends: list[Token | Link] = []
        self._name: str | None = None
        self._number = next(_numbers)
        if birthplace is None:
            self._birth_code: CodeType | None = None
        else:
            self._birth_code = birthplace.f_code
            self._birth_instruction = birthplace.f_lasti

    def __repr__(self) -> str:
        return f"<GreenThread {self.name} ({self._state.value}), spawned at {self.birthplace}>"

    @property
    def name(self) -> str:
        """The name in tracebacks and reports; by default the function's, with a number. May be set."""
        if self._name is None:
            # One that has ended without being asked for its name has forgotten its function.
            label: object = self._function or GreenThread
            self._name = f"{getattr(label, '__qualname__', type(label).__name__)}-{self._number}"
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._name = name

    @property
    def birthplace(self) -> str:
        """Where it was spawned: "file:line", or "?" for a thread that the hub did not spawn."""
        code = self._birth_code
        if code is None:
            return "?"
        instruction = self._birth_instruction
        line = next((line for start, end, line in code.co_lines() if start <= instruction < end), code.co_firstlineno)
        return f"{code.co_filename}:{line}"

    @property
    def dead(self) -> bool:
        """Whether it has ended: returned, raised or been killed."""
        return self._state is _DONE or (relax() and self._state is _DONE)

    ready = dead

    @property
    def started(self) -> bool:
        """Whether it has begun to run, and perhaps ended."""
        return self._state is not _NEW or (relax() and self._state is not _NEW)

    @property
    def error(self) -> BaseException | None:
        """What ended it, if that was an exception."""
        return self._error if self.dead else None

    def wait(self, timeout: float | None = None) -> T:
        """Wait for the end. Returns what the function returned; raises what it raised (GreenletExit when it was
        killed).

        timeout: seconds. Raises TimeoutError when they pass first.
        """
        if self._state is not _DONE and not self._park_until_end(timeout):
            raise TimeoutError(f"{self.name} did not end within {timeout} seconds")
        if self._error is not None:
            try:
                raise self._error.with_traceback(self._result)  # the same each time: not longer by each waiter
            finally:
                del self  # the traceback refers to this frame, and would keep itself alive through us
        return cast("T", self._result)

    get = wait

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end, however it comes. Returns whether it has come within `timeout` seconds."""
        return self._state is _DONE or self._park_until_end(timeout)

    def _park_until_end(self, timeout: float | None) -> bool:
        greenlet: Any = _getcurrent()
        try:  # `running`, without a call's cost
            hub = greenlet.hub
        except AttributeError:
            hub = running().hub
        if greenlet is self._carrier:
            raise HubError("a green thread cannot wait for its own end")
        token: Token = [greenlet]
        self._ends.append(token)
        # Its end may have come, in another OS thread, between the question and the entry.
        if self._state is _DONE:
            wake(token)
        try:
            if timeout is None:
                hub.park(greenlet, token)
            else:
                hub.park_until(greenlet, token, hub.clock() + timeout)
        except BaseException:
            self._forget(token)
            raise
        if self._state is _DONE:
            return True
        self._forget(token)
        return False

    def link(self, callback: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        """Call `callback(thread, *args, **kwargs)` at the end, in the ending thread; at once if it has ended."""
        link = (callback, args, kwargs)
        if self._state is not _DONE:
            self._ends.append(link)
            if self._state is not _DONE or not self._forget(link):  # in another OS thread it may just have ended
                return
        callback(self, *args, **kwargs)

    def unlink(self, callback: Callable[..., object], *args: Any, **kwargs: Any) -> bool:
        """Forget a link. Returns whether there was one."""
        return self._forget((callback, args, kwargs))

    def _forget(self, end: Token | Link) -> bool:
        """Take out a link; or a token, which is empty: another's that is empty too may go in its place."""
        try:
            self._ends.remove(end)
        except ValueError:
            return False
        return True

    def cancel(self, *throw_args: Any) -> None:
        """Kill it if it has not begun to run; otherwise do nothing."""
        if self._state is _NEW:
            self.kill(*throw_args, block=False)

    def kill(self, *throw_args: Any, block: bool = True) -> None:
        """End it, by raising GreenletExit where it waits; or what is given: an exception, or its class and arguments.

        It ends quietly: nothing is printed, and nothing raised in the killer. One that has not begun never runs. With
        `block` the others run once before this returns, so that it has seen the exception. Killing oneself raises at
        once. In another OS thread it takes effect when that one's hub comes to it.
        """
        if self._state is _DONE:
            return
        error = error_of(throw_args)
        hub = self.hub
        if _thread.get_ident() != hub.thread_id:
            hub.call_soon_threadsafe(self._kill, error)
            return
        greenlet: Any = _getcurrent()
        if greenlet is self._carrier:
            raise error
        begun = self._state is _STARTED
        self._kill(error)
        if begun and block and greenlet is not hub.loop:
            # Not a park on this thread's end: it may catch the exception and go on.
            hub.pause(running())

    def _kill(self, error: BaseException) -> None:
        if self._state is _NEW:
            self._finish(error)
        elif self._state is _STARTED:
            self._error = error
            self.hub.throw(self._carrier, error)

    def run(self) -> None:
        """Called by the carrier."""
        if self._state is _DONE:  # killed before it began
            return
        self._state = _STARTED
        function = self._function
        assert function is not None
        error: BaseException | None = None
        try:
            if self._args or self._kwargs:
                self._result = function(*self._args, **self._kwargs)
            else:  # CPython 3.11 calls this without a frame in C, and all that is in C is copied at each switch
                self._result = function()
        except GreenletExit as exit_:
            error = exit_
            # What was killed has nothing to explain, and its frames' sockets and locks must not live as long as we.
            exit_.__traceback__ = exit_.__context__ = None
        except (SystemExit, KeyboardInterrupt) as for_main:
            error = for_main
            self._tell_main(for_main)
        except BaseException as uncaught:  # a thread's last catch: the error is kept for `wait`
            error = uncaught
            if not self.quiet and uncaught is not self._error:
                report.print_error(f"uncaught in green thread {self.name}, spawned at {self.birthplace}", uncaught)
        self._finish(error)
        error = None  # its traceback refers to this frame,
        del self  # and we to the error

    def fail(self, error: BaseException) -> None:
        """Called by the hub: end by `error`, because it could not be begun, or to make good an interrupted end."""
        self._finish(self._error if self._state is _DONE else error)

    def _finish(self, error: BaseException | None) -> None:
        """The end. Interrupted by an exception it can be called again, and goes on."""
        self._error = error
        if error is not None:
            self._result = error.__traceback__
        self._state = _DONE
        self._carrier = self._function = self.locals = None
        self._args, self._kwargs = (), _NO_KWARGS
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        ends = self._ends
        while ends:
            try:
                end = ends[0]
                if type(end) is list:
                    wake(end)
                    ends.remove(end)
                    continue
                ends.remove(end)
            except (IndexError, ValueError):  # another OS thread has just taken it back
                continue
            callback, args, kwargs = end
            try:
                callback(self, *args, **kwargs)
            except (SystemExit, KeyboardInterrupt) as for_main:
                self._tell_main(for_main)
            except BaseException as failed:  # one link's error must not keep the others from theirs
                report.print_error(f"a link of green thread {self.name} raised", failed)

    def _tell_main(self, error: Any) -> None:
        """Raise SystemExit or KeyboardInterrupt in main; once, although a task group raises in its owner what a child
        has raised. Where this is main itself, in a child that it has forked, it was told, and ends by that now.
        """
        if not getattr(error, "_told_main", False) or self._carrier is self.hub.main:
            error._told_main = True
            self.hub.throw_into_main(error)

    def _take_carrier(self, context: Context | None) -> Any:
        carrier: Any = self.hub.take_carrier(self)
        carrier.gr_context = context
        carrier.thread = self
        self._carrier = carrier
        return carrier

    def _start(self, context: Context | None = None) -> None:
        self._timer = None
        self.hub.make_ready(self._take_carrier(context))


class AdoptedThread(GreenThread[None]):
    """Stands for what runs under the hub and was not spawned: an OS thread's root greenlet, a server's job."""

    __slots__ = ()

    def __init__(self, hub: Any, greenlet: Any, name: str) -> None:
        super().__init__(hub, _adopted, (), {})
        self._state = _STARTED
        self._carrier = greenlet
        self._name = name

    def end(self) -> None:
        """What it stands for is over, though its greenlet goes on with something else: a kill no longer reaches it."""
        self._finish(None)


def _adopted() -> None:
    """The function of a thread that was not spawned."""


def sleep(seconds: float = 0) -> None:
    """Let others run, for `seconds` at least; with 0, all that are ready run once.

    >>> order = []
    >>> thread = greenserve.spawn(order.append, "other")
    >>> greenserve.sleep(0)
    >>> order
    ['other']
    """
    greenlet: Any = _getcurrent()
    try:  # `running`, without a call's cost
        hub = greenlet.hub
    except AttributeError:
        hub = running().hub
    if seconds <= 0:
        hub.pause(greenlet)
        return
    token: Token = [greenlet]
    clock = hub.clock
    hub.timers.add(clock() + seconds, token)
    try:
        hub.park(greenlet, token)
    except BaseException:
        hub.timers.forget(token)
        raise
    if greenlet.pending is not None:  # a sleeper is handed nothing that could be lost, so an exception need not wait
        raise_pending(greenlet)


def getcurrent() -> GreenThread[Any]:
    """The running green thread. For an OS thread's own code, and for a server's jobs, one that stands for it.

    >>> thread = greenserve.spawn(greenserve.getcurrent)
    >>> thread.wait() is thread
    True
    """
    greenlet = running()
    thread = greenlet.thread
    if thread is None:
        main = greenlet.hub.main
        if isinstance(greenlet, Visitor):
            greenlet = main
        name = "main" if greenlet is main else repr(greenlet.job or greenlet)
        thread = greenlet.thread = AdoptedThread(greenlet.hub, greenlet, name)
    return thread  # type: ignore[no-any-return]


def get_ident() -> int:
    """A number that no other living green thread has, in any OS thread.

    >>> greenserve.get_ident() != greenserve.spawn(greenserve.get_ident).wait()
    True
    """
    return id(getcurrent())


def kill(thread: GreenThread[Any], *throw_args: Any) -> None:
    """`thread.kill(*throw_args)`.

    >>> thread = greenserve.spawn(greenserve.sleep, 60)
    >>> greenserve.kill(thread)
    >>> thread.dead
    True
    """
    thread.kill(*throw_args)


def error_of(throw_args: tuple[Any, ...]) -> BaseException:
    """The exception meant by the arguments of a throw: nothing; an exception; a class, perhaps with its value."""
    if not throw_args:
        return GreenletExit()
    first = throw_args[0]
    if isinstance(first, BaseException):
        return first
    value = throw_args[1] if len(throw_args) > 1 else None
    if isinstance(value, BaseException):
        return value
    error: BaseException = first() if value is None else first(value)
    return error
