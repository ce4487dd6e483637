"""TaskGroup: green threads that do not outlive the block that spawned them.

Strategy. A group is OPEN while its block runs; it is CLOSING when the block has ended and the children have not;
and DONE. It is cancelled at most once: by the first error of a child, by an error of the block, or by what arrives
from outside (a kill, a Timeout); then every child is killed, and the block too, if it still runs, by an exception
that only the group knows. Invariant: `__exit__` returns or raises only after the last child has ended.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import Enum
from functools import partial
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from greenlet import GreenletExit, getcurrent

from greenserve.errors import HubError
from greenserve.hub.core import report
from greenserve.hub.core.hub import Greenlet, running
from greenserve.hub.core.wait_queue import WaitQueue
from greenserve.hub.greenthread import GreenThread
from greenserve.hub.spawning import spawn_at

P = ParamSpec("P")
T = TypeVar("T")


class State(Enum):
    """Where a group is in its life."""

    NEW = "new"
    OPEN = "open"
    CLOSING = "closing"
    DONE = "done"


class _BlockCancelled(GreenletExit):
    """Ends the block of a group of which a child has failed. A GreenletExit, since code that lets that pass lets this
    pass.
    """


class TaskGroup:
    """A block whose end waits for all green threads that were spawned in it.

    When a child fails, or the block does, the others are killed, and when all have ended the errors are raised as
    one ExceptionGroup (a BaseExceptionGroup when one is not an Exception). A kill or a Timeout that arrives in the
    block kills the children, waits for them, and goes on as it is; an exception that kill or Timeout was told to
    raise instead counts, in the block, as the block's own. A child that was killed by other code has not
    failed. A child's SystemExit or KeyboardInterrupt ends the group too, and is raised as it is.

    >>> with greenserve.TaskGroup() as group:
    ...     square, cube = group.spawn(pow, 5, 2), group.spawn(pow, 5, 3)
    >>> square.wait(), cube.wait()
    (25, 125)
    >>> try:
    ...     with greenserve.TaskGroup() as group:
    ...         forever = group.spawn(greenserve.sleep, 3600)
    ...         failing = group.spawn(int, "five")
    ... except* ValueError:
    ...     forever.dead
    True
    """

    def __init__(self) -> None:
        self._state = State.NEW
        self._children: set[GreenThread[Any]] = set()
        self._errors: list[BaseException] = []
        self._cancelled = False
        self._owner: Greenlet | None = None
        self._cancellation: _BlockCancelled | None = None
        self._waiters = WaitQueue()

    def spawn(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> GreenThread[T]:
        """Run `function(*args, **kwargs)` in a green thread of this group. Raises HubError when the group has ended,
        or is being cancelled.
        """
        if self._cancelled or not self._accepts():
            raise HubError(f"cannot spawn in {self!r}")
        thread = spawn_at(sys._getframe(1), function, args, kwargs)
        thread.quiet = True
        self._children.add(thread)
        thread.link(self._ended)
        # In another OS thread it may have been cancelled, or ended, meanwhile.
        if self._cancelled or not self._accepts():
            thread.kill(block=False)
        return thread

    def _accepts(self) -> bool:
        return self._state in (State.OPEN, State.CLOSING)

    def cancel(self) -> None:
        """Kill the children, and end the block if it still runs; this is not an error, and `with` ends silently.

        A child that calls it is killed at its next wait.
        """
        if self._cancelled:
            return
        self._cancelled = True
        current = getattr(getcurrent(), "thread", None)
        for child in list(self._children):
            if child is current:  # a kill would raise here, at once
                child.hub.call_soon(partial(child.kill, block=False))
            else:
                child.kill(block=False)
        owner = self._owner
        if owner is not None:
            owner.hub.call_soon_threadsafe(self._cancel_block)

    def _cancel_block(self) -> None:
        """In the hub of the block's thread, where nothing can come between the look and the throw."""
        owner = self._owner
        if self._state is State.OPEN and owner is not None and self._cancellation is None:
            self._cancellation = _BlockCancelled()
            owner.hub.throw(owner, self._cancellation)

    def _ended(self, thread: GreenThread[Any]) -> None:
        error = thread.error
        if error is not None and not isinstance(error, GreenletExit):
            self._errors.append(error)
            self.cancel()
        self._children.discard(thread)
        if not self._children:
            self._waiters.wake_all()

    def __enter__(self) -> Self:
        if self._state is not State.NEW:
            raise HubError(f"{self!r} cannot be entered again")
        self._owner = running()
        self._state = State.OPEN
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        owner = self._owner
        assert owner is not None
        self._state = State.CLOSING
        self._owner = None
        self._take_back(owner)
        arrived = self._of_the_block(error)
        if error is not None:
            self.cancel()
        arrived = self._wait_for_children(owner, arrived)
        self._state = State.DONE
        return self._conclude(error, arrived)

    def _take_back(self, owner: Greenlet) -> None:
        """The block has ended by itself before its cancellation reached it."""
        if self._cancellation is not None and owner.pending:
            owner.pending = [error for error in owner.pending if error is not self._cancellation] or None

    def _of_the_block(self, error: BaseException | None) -> BaseException | None:
        """Sort the block's own error; returns what is to go on as it is."""
        if error is None or error is self._cancellation:
            return None
        if isinstance(error, Exception):
            self._errors.append(error)
            return None
        return error

    def _wait_for_children(self, owner: Greenlet, arrived: BaseException | None) -> BaseException | None:
        """Wait, whatever arrives meanwhile; returns the first that did, to be raised afterwards."""
        while self._children:
            try:
                self._waiters.wait(unless=lambda: not self._children)
            except HubError:  # a deadlock: nothing can be waited for
                raise
            except BaseException as error:
                arrived = arrived or error
                self.cancel()
        return arrived

    def _conclude(self, error: BaseException | None, arrived: BaseException | None) -> bool:
        errors, self._errors = self._errors, []
        ends = [each for each in errors if isinstance(each, SystemExit | KeyboardInterrupt)]  # main has been told
        if ends:
            arrived = arrived or ends[0]
            errors = [each for each in errors if each not in ends]
        if arrived is not None:
            for hidden in errors:
                report.print_error("a child failed in a task group that was ended from outside", hidden)
            if arrived is error:
                return False
            raise arrived
        if errors:
            raise BaseExceptionGroup("errors in a task group", errors) from None
        return error is not None  # the group's own cancellation

    def __repr__(self) -> str:
        state = f"{self._state.value}, cancelled" if self._cancelled else self._state.value
        return f"<TaskGroup at {id(self):#x}: {state}, {len(self._children)} children>"
