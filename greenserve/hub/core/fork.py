"""What a forked child is left with.

Only the green thread that forked exists in the child, as with OS threads. The others' stacks are kept as they are,
since to free them would be to unwind them. Where it was not main that forked, the child ends, as a process does with
its last thread, when the green thread that forked has ended and nothing else can run; main's code after the fork is the
parent's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any, NoReturn

from greenlet import getcurrent

from greenserve.hub.core import log_writer, report, signals
from greenserve.hub.core import originals as _thread
from greenserve.hub.core.greenlets import Carrier
from greenserve.hub.core.wakeup import Wakeup

_frozen: list[Any] = []


def freeze(*things: Iterable[Any]) -> None:
    """Keep for ever what these contain."""
    _frozen.extend(map(list, things))


def alive(main: Any, loop: Any) -> Any:
    """What has forked: main, a carrier, or the hub's own greenlet (a callback); of a user's own greenlet, its ancestor
    among them.
    """
    greenlet: Any = getcurrent()
    while greenlet is not main and greenlet is not loop and not isinstance(greenlet, Carrier):
        greenlet = greenlet.parent
    return greenlet


def begin_afresh(hub: Any) -> None:
    """Have the parent's `Hub` begin anew: its green threads, timers and waits are not ours. What runs now is."""
    forked = alive(hub.main, hub.loop)
    # Their stacks must never unwind here: a `finally` would e.g. roll back a transaction on a socket shared with the
    # parent.
    freeze(hub.ready, hub.carriers, hub.idle_carriers, hub.adopted, hub.timers.heap, [hub.main])
    for greenlet in (hub.main, *hub.carriers, *hub.adopted):
        greenlet.token.clear()  # they cannot be resumed, neither through an Event that the child sets
    for descriptor in hub.io.descriptors.values():
        descriptor.reader = descriptor.writer = None
        descriptor.hangup = True
    hub.io.descriptors.clear()
    hub.forget_all()
    if forked is not hub.main:
        hub.heir = Heir(forked)
    if isinstance(forked, Carrier):
        hub.main = forked
        hub.carriers.add(forked)
    hub.external = 0
    hub.thread_id = _thread.get_ident()
    hub.abandon()
    hub.wakeup = Wakeup()
    hub.io.use(type(hub.io.poller)())
    signals.claim(hub)


class Heir:
    """What has forked, when it was not main."""

    def __init__(self, greenlet: Any) -> None:
        self._greenlet = greenlet
        self._job = getattr(greenlet, "job", None)

    def leave_if_done(self, error: BaseException | None = None) -> None:
        """End the process, if the green thread that forked has ended (or is about to, and `error` is its end)."""
        greenlet = self._greenlet
        if self._job is None or greenlet.dead or greenlet.job is not self._job or getcurrent() is greenlet:
            failed = error is None and getattr(self._job, "error", None) is not None
            leave(error or SystemExit(int(failed)))


def leave(error: BaseException) -> NoReturn:
    """End the process as the interpreter would, except for `atexit` and the like, which are the parent's."""
    code: Any = getattr(error, "code", None) if isinstance(error, SystemExit) else 1
    if not isinstance(error, SystemExit):
        report.print_error("the forked child ends by", error)
    elif code is not None and not isinstance(code, int):
        report.write(f"{code}\n")
        code = 1
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            try:
                stream.flush()
            except (OSError, ValueError):  # closed
                pass
    log_writer.flush_all()
    os._exit(0 if code is None else code & 0xFF)
