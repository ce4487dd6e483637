"""Busy waiting: a loop that asks again and again for what only another green thread can bring about.

OS threads are preempted in such a loop, green threads are not. So every operation that may be such a question calls
`relax` when it has been asked in vain, and looks once more: its answer is then as fresh as without. An operation that
succeeds pays nothing.

Invariant: `relax` never gives way where a switch could break something: in the hub's own greenlet, in a finaliser, in
what interrupts the hub's own code (a signal handler, a hook of a queue), and for greenserve's own modules.
"""

from __future__ import annotations

import dis
import sys
from types import FrameType
from typing import Any

from greenlet import getcurrent as _getcurrent

from greenserve.errors import HubError
from greenserve.hub.core import signals
from greenserve.hub.core.hub import hub_here, running
from greenserve.hub.core.scheduler import Scheduler

_HUB = __name__.rpartition(".core.")[0] + "."
_PACKAGE = _HUB.partition(".")[0] + "."
_OPERATIONS = (_HUB, _PACKAGE + "green.", _PACKAGE + "patching.")  # the modules whose functions call `relax`
_CALLERS = frozenset({"GreenThread.run", "GreenThread._finish", "Call.run", "run_dag.<locals>.run"})
"""The hub's functions that call the user's, as function(*args, **kwargs). Elsewhere in them switching is not safe."""
_CALLERS_OF_CALLERS = frozenset({"Carrier.run", "ThreadPool._work"})
_SIGNAL_HANDLERS = Scheduler.run_interruptions.__code__
_CALL = dis.opmap["CALL_FUNCTION_EX"]


def relax() -> bool:
    """Let others run if the calling green thread, which has just asked in vain, has had the hub for a whole turn.

    Returns whether others have run, so that it is worth a second look. Raises what is pending for the green thread: a
    kill, a Timeout.
    """
    greenlet: Any
    try:
        greenlet = _getcurrent()
        hub = greenlet.hub
    except AttributeError:  # a greenlet that has never waited
        if hub_here() is None:
            return False
        greenlet = running()
        hub = greenlet.hub
    except (HubError, RuntimeError):  # the hub's own greenlet; a finaliser while the interpreter ends
        return False
    if hub.clock() < hub.poll_time or hub.closed or not may_switch(sys._getframe(1)):
        return False
    hub.pause(greenlet)
    return True


def may_switch(frame: FrameType | None) -> bool:
    """Whether nothing up the stack is in the middle of what a switch could break. frame: the operation's."""
    while frame is not None and _module(frame).startswith(_OPERATIONS) and frame.f_code.co_qualname not in _CALLERS:
        frame = frame.f_back
    if frame is None or (_module(frame).startswith(_PACKAGE) and frame.f_code.co_qualname not in _CALLERS):
        return False
    below = ""  # the module of the frame that this one has called
    while frame is not None:
        if frame.f_code is _SIGNAL_HANDLERS:  # which run where main may wait
            return True
        module = _module(frame)
        if frame.f_code.co_name == "__del__" or (module.startswith(_HUB) and not _is_calling(frame, below)):
            return False
        frame, below = frame.f_back, module
    return True


def _is_calling(frame: FrameType, callee: str) -> bool:
    code = frame.f_code
    if frame.f_globals is vars(signals):  # calls a signal handler
        return True
    if code.co_qualname in _CALLERS:
        return code.co_code[frame.f_lasti] == _CALL
    return code.co_qualname in _CALLERS_OF_CALLERS and callee.startswith(_PACKAGE)


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))
