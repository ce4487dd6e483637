"""Deadlocks: whether anything can still happen, and the error that says what waits and where.

Looked at only when the hub is about to sleep for ever: nothing here but `nothing_can_happen` is on a fast path.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, Protocol

from greenserve.errors import Deadlock
from greenserve.hub.core import log_writer
from greenserve.hub.core import originals as _thread

_PACKAGE = __name__.rpartition(".core.")[0] + "."


class Inspectable(Protocol):
    """What this file looks at in a hub."""

    external: int
    main: Any
    io: Any  # its `descriptors` are the registered ones

    @property
    def carriers(self) -> Iterable[Any]:
        """The greenlets that run jobs."""

    @property
    def adopted(self) -> Iterable[Any]:
        """The user's own greenlets that have parked here."""


class Bystanders:
    """Idle OS threads, ignored by deadlock detection: workers without work (those at work count in
    `hub.external`).
    """

    def __init__(self) -> None:
        self.count = 0


bystanders = Bystanders()


def nothing_can_happen(hub: Inspectable) -> bool:
    """Whether nothing but a signal can resume anything: called when no greenlet is ready and no timer is set.

    A descriptor with a waiter, an operation in an OS thread, or another OS thread at all (it may own what is waited
    for) may still do it.
    """
    if hub.external or _thread._count() > bystanders.count + log_writer.threads():
        return False
    for descriptor in hub.io.descriptors.values():  # not any(): a generator is slow
        if descriptor.reader is not None or descriptor.writer is not None:
            return False
    return True


def foreign_threads() -> bool:
    """Whether there are OS threads that Python has not started, such as an audio or a database library's: these may
    call back. Known on Linux alone.
    """
    try:
        threads = len(os.listdir("/proc/self/task"))  # noqa: PTH208 - names are all that is wanted
    except OSError:
        return False
    return threads > 1 + _thread._count()


def deadlock(hub: Inspectable) -> Deadlock:
    """The error, with every green thread and where it waits."""
    lines = [
        "nothing can ever run again: no green thread is ready, no timer is set, and none waits for a descriptor.",
        "Waiting for ever:",
        *(f"  {name}: {where(frame)}" for name, frame in green_threads(hub)),
    ]
    return Deadlock("\n".join(lines))


def green_threads(hub: Inspectable) -> Iterator[tuple[str, FrameType | None]]:
    """(what it is called, its innermost frame; None for the one that runs) for everything that runs under the hub."""
    yield "main", hub.main.gr_frame
    for greenlet in [*hub.carriers, *hub.adopted]:
        job = greenlet.thread or greenlet.job
        if greenlet in hub.adopted:
            yield repr(job or greenlet), greenlet.gr_frame
        elif job is not None:
            yield repr(job), greenlet.gr_frame


def where(frame: FrameType | None) -> str:
    """The innermost place of a parked greenlet that is not in the hub itself: file, line, function."""
    frames = list(_outwards(frame))
    if not frames:
        return "running"
    # Where all are the hub's own (spawn(lock.acquire)): the one that the carrier's `run`, and the job's, have called.
    found = next((each for each in frames if not in_hub(each)), frames[max(0, len(frames) - 3)])
    return f'File "{found.f_code.co_filename}", line {found.f_lineno}, in {found.f_code.co_name}'


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def in_hub(frame: FrameType) -> bool:
    """Whether it is one of our own frames."""
    return str(frame.f_globals.get("__name__", "")).startswith(_PACKAGE)
