"""What the hub says when something is wrong: a deadlock, a callback's error, a green thread's.

Looked at only when the hub is about to sleep for ever, or has caught an error: nothing here is on a fast path.
"""

from __future__ import annotations

import _thread
import signal
import sys
import traceback
from collections.abc import Iterable, Mapping
from types import FrameType
from typing import Any, Protocol

from greenserve.errors import Deadlock


class Inspectable(Protocol):
    """What this file looks at in a hub."""

    external: int
    main: Any

    @property
    def descriptors(self) -> Mapping[int, Any]:
        """The registered descriptors."""

    @property
    def carriers(self) -> Iterable[Any]:
        """The greenlets that run jobs."""


def is_deadlock(hub: Inspectable) -> bool:
    """Whether nothing can resume anything: called when no greenlet is ready and no timer is set.

    A descriptor with a waiter, an operation in an OS thread, another OS thread at all (it may own what is waited for), or a
    signal handler of the program's own may still do it.
    """
    if hub.external or any(d.reader is not None or d.writer is not None for d in hub.descriptors.values()):
        return False
    if _thread._count() > 0 or not bool(hub.main.token):
        return False
    return not any(
        callable(handler) and handler not in (signal.default_int_handler, hub._on_sigint)
        for handler in map(signal.getsignal, signal.valid_signals())
    )


def deadlock(hub: Inspectable) -> Deadlock:
    """The error, with every green thread and where it waits."""
    lines = ["nothing can ever run again: no green thread is ready, no timer is set, and nobody waits for a descriptor."]
    lines.append("Waiting for ever:")
    lines += describe_all(hub)
    return Deadlock("\n".join(lines))


def describe_all(hub: Inspectable) -> list[str]:
    """One line for each parked green thread: its name, where it was born, where it waits."""
    lines = [f"  main: {where(hub.main.gr_frame)}"]
    for carrier in list(hub.carriers):
        if carrier.job is not None and carrier.gr_frame is not None:
            lines.append(f"  {carrier.thread or carrier.job!r}: {where(carrier.gr_frame)}")
    return lines


def where(frame: FrameType | None) -> str:
    """The innermost place of a parked greenlet that is not in the hub itself: file, line, function."""
    hidden = __name__.rpartition(".")[0] + "."
    while frame is not None and frame.f_back is not None and str(frame.f_globals.get("__name__", "")).startswith(hidden):
        frame = frame.f_back
    if frame is None:
        return "not started yet, or running"
    return f'File "{frame.f_code.co_filename}", line {frame.f_lineno}, in {frame.f_code.co_name}'


def print_error(what: str, error: BaseException) -> None:
    """One traceback on standard error, in one write, so that those of several OS threads do not mix."""
    stream: Any = sys.stderr
    if stream is not None:
        stream.write(f"greenserve: {what}\n" + "".join(traceback.format_exception(error)))
