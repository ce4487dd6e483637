"""What a green thread carries: states that C keeps for each OS thread, and that each green thread must have for itself.

Strategy. Whatever sets such a state says so here, by `note` (the setters are in green/sys.py and
patching/adapters/asyncio.py). As long as any green thread of an OS thread has one, the greenlet library calls
`Carried.switched` after each switch: it puts aside what belongs to the green thread that was left, and puts back what
belongs to the one that runs now. While no green thread has any, nothing is called: only programs with a running event
loop pay for it.

`RUNNING_LOOP`, `ASYNCGEN_HOOKS` and `ORIGIN_TRACKING` are all that must be carried by us. The rest needs nothing:

* context variables (hence the decimal context), the exception being handled and the depth of recursion: each greenlet
  has its own;
* asyncio's current task: there is one for each loop, and a loop runs in one green thread at a time;
* the current thread with its name, and `threading.local`: they go by the number that green/_thread.py gives;
* the functions of `sys.settrace` and `sys.setprofile` stay the OS thread's on purpose: a debugger, a profiler and a
  measurement of coverage are to see all its green threads.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import greenlet as _greenlet
from greenlet import getcurrent as _getcurrent

from greenserve.hub.core import originals as _thread
from greenserve.hub.core.greenlets import Carrier, Loop


@dataclass(eq=False, slots=True)
class Kind:
    """One kind of state. put: sets it for the OS thread; neutral: the value of those that have none."""

    put: Callable[[Any], object]
    neutral: Any


_set_asyncgen_hooks = sys.set_asyncgen_hooks

RUNNING_LOOP = Kind(lambda _: None, None)  # `put` is asyncio's, once that is imported
ASYNCGEN_HOOKS = Kind(lambda hooks: _set_asyncgen_hooks(*hooks), (None, None))
ORIGIN_TRACKING = Kind(sys.set_coroutine_origin_tracking_depth, 0)


class Carried:
    """The states of one OS thread's green threads."""

    def __init__(self) -> None:
        self._watching = False
        self._others: Any = None  # what the greenlet library has called before us, and still is to call
        self._owner: Any = None  # whose state is in C now: a carrier, main, or the hub's own greenlet
        self._state: dict[Kind, Any] = {}  # what is in C now, as far as it is not neutral
        self._aside: dict[Any, dict[Kind, Any]] = {}  # by owner

    def note(self, kind: Kind, value: Any) -> None:
        """The running green thread has just set its state of this kind."""
        if value == kind.neutral:
            self._state.pop(kind, None)
            return
        if not self._watching:
            self._owner = _owner(_getcurrent())
            self._others = _greenlet.settrace(self.switched)
            self._watching = True
        self._state[kind] = value

    def switched(self, event: str, between: tuple[Any, Any]) -> None:
        """Called by the greenlet library in the greenlet that runs now."""
        if self._others is not None:
            self._others(event, between)
        owner = _owner(between[1])
        if owner is self._owner:
            return
        left, self._owner = self._owner, owner
        state, self._state = self._state, self._aside.pop(owner, {})
        for kind in state:
            if kind not in self._state:
                kind.put(kind.neutral)
        for kind, value in self._state.items():
            kind.put(value)
        if state and not _has_ended(left):
            self._aside[left] = state
        elif not self._state and not self._aside and _greenlet.gettrace() == self.switched:
            _greenlet.settrace(self._others)
            self._watching = False

    def drop(self) -> None:
        """The running green thread goes on as another one: a server's, with its next request."""
        for kind in self._state:
            kind.put(kind.neutral)
        self._state = {}

    def begin_afresh(self) -> None:
        """In a forked child, where only the running green thread is left, and no loop runs (asyncio sees to that)."""
        self._aside.clear()
        self._state.pop(RUNNING_LOOP, None)


def _owner(greenlet: Any) -> Any:
    """Whose state it is. A raw greenlet that a green thread has made (SQLAlchemy's) runs on behalf of its maker."""
    while type(greenlet) is not Carrier and type(greenlet) is not Loop and greenlet.parent is not None:
        greenlet = greenlet.parent
    return greenlet


def _has_ended(owner: Any) -> bool:
    return bool(owner.dead) or (type(owner) is Carrier and owner.job is None)


class _Here(_thread._local):
    carried: Carried

    def __init__(self) -> None:
        self.carried = Carried()


_here = _Here()


def note(kind: Kind, value: Any) -> None:
    """The running green thread has just set its state of this kind to `value`."""
    _here.carried.note(kind, value)


def drop() -> None:
    """Forget all that the running green thread has set."""
    _here.carried.drop()


def _after_fork_in_child() -> None:
    _here.carried.begin_afresh()


os.register_at_fork(after_in_child=_after_fork_in_child)
