"""Looking into a program that runs: every green thread with its stack, and whatever blocks a hub.

Nothing here costs anything until it is asked for; the watcher of `watch_blocking` samples a count that the hub keeps
anyway. All OS threads' hubs are looked at.
"""

from __future__ import annotations

import logging
import signal
import sys
import traceback
from collections.abc import Callable
from time import monotonic
from types import FrameType
from typing import TextIO

from greenserve.hub.core import deadlock, report, signals
from greenserve.hub.core import originals as _thread
from greenserve.hub.core.hub import Carrier, Hub, all_hubs

__all__ = ["BlockingWatcher", "dump", "dump_on_signal", "watch_blocking"]

logger = logging.getLogger("greenserve.hub")

SAMPLES = 4  # in the time of the limit: a report comes at most a quarter of it late


def dump(file: TextIO | None = None) -> str:
    """Every green thread of every OS thread with its stack, as text; also written to `file` if one is given.

    >>> thread = greenserve.spawn(greenserve.sleep, 60)
    >>> greenserve.sleep(0)
    >>> "in sleep" in greenserve.debug.dump()
    True
    >>> thread.kill()
    """
    running = sys._current_frames()
    sections = [_dump_hub(hub, running.get(hub.thread_id)) for hub in all_hubs()]
    text = "\n".join(sections) or "no hub, and so no green threads\n"
    if file is not None:
        file.write(text)
        file.flush()
    return text


def _dump_hub(hub: Hub, running: FrameType | None) -> str:
    lines = [
        f"hub of OS thread {hub.thread_id}: {'asleep' if hub.sleeping else 'awake'}, {len(hub.ready)} in the ready "
        f"queue, {len(hub.timers)} timers, {len(hub.io.descriptors)} descriptors\n"
    ]
    found: list[tuple[str, FrameType | None]] = list(deadlock.green_threads(hub))
    for name, frame in found:
        lines.append(f"{name}:\n")
        lines += _stack(running if frame is None else frame)
    if all(frame is not None for _, frame in found):
        lines.append("the hub itself runs:\n")
        lines += _stack(running)
    return "".join(lines)


def _stack(frame: FrameType | None) -> list[str]:
    if frame is None:
        return ["  (no Python frame)\n"]
    return traceback.format_list(traceback.StackSummary.extract(reversed(list(traceback.walk_stack(frame)))))


def dump_on_signal(signum: int | None = None) -> None:
    """Write `dump()` to standard error at each signal `signum` (SIGUSR1 by default). In the main OS thread only.

    Raises ValueError elsewhere. No handler interrupts a program that is stuck in a C function.

    >>> import signal
    >>> greenserve.debug.dump_on_signal(signal.SIGUSR2)  # and then, in a shell: kill -USR2 PID
    """
    signals.set_handler(signal.SIGUSR1 if signum is None else signum, _dump_handler)


def _dump_handler(signum: int, frame: FrameType | None) -> None:
    report.write(dump())


signals.ignore_for_deadlocks(_dump_handler)


class BlockingWatcher:
    """Reports hubs that are blocked; made by `watch_blocking`. `stop` ends it."""

    def __init__(self, limit: float, report: Callable[[str], object], interval: float | None = None) -> None:
        if not limit > 0:
            raise ValueError(f"the limit must be more than 0 seconds, not {limit}")
        self._limit = limit
        self._report = report
        self._interval = limit / SAMPLES if interval is None else interval
        self._seen: dict[int, tuple[object, float, bool]] = {}  # what ran in an OS thread, since when, whether reported
        self._stopped = _thread.allocate_lock()
        self._stopped.acquire()

    def start(self) -> None:
        """Begin to watch, from an OS thread that the interpreter's exit does not wait for."""
        # Counted before it runs: the hub must never see a thread that it does not know for a bystander.
        deadlock.bystanders.count += 1
        _thread.start_new_thread(self._watch, ())

    def stop(self) -> None:
        """Watch no more. Harmless when it is stopped already."""
        if self._stopped.locked():
            self._stopped.release()

    def _watch(self) -> None:
        try:
            while not self._stopped.acquire(timeout=self._interval):
                self.look(monotonic())
            self._stopped.release()
        finally:
            deadlock.bystanders.count -= 1

    def look(self, now: float) -> None:
        """Sample every hub once. A hub is blocked when the same job has run, in the same round, for the limit."""
        running = sys._current_frames()
        seen: dict[int, tuple[object, float, bool]] = {}
        for hub in all_hubs():
            frame = running.get(hub.thread_id)
            if hub.sleeping or frame is None:
                continue
            what = (hub.rounds, *_what_runs(frame))
            before, since, reported = self._seen.get(hub.thread_id, (None, now, False))
            if before != what:
                since, reported = now, False
            elif not reported and now - since >= self._limit:
                reported = True
                self._tell(hub, now - since, frame)
            seen[hub.thread_id] = (what, since, reported)
        self._seen = seen

    def _tell(self, hub: Hub, seconds: float, frame: FrameType) -> None:
        waiting = max(0, len(hub.ready) - 1)
        self._report(
            f"the hub of OS thread {hub.thread_id} has been blocked for {seconds:.3f} seconds, while {waiting} "
            f"were ready to run, by:\n{''.join(_stack(frame))}"
        )


def _what_runs(frame: FrameType) -> tuple[int, int]:
    """Tells apart what an OS thread runs: the greenlet, by the frame that it began with; and a carrier's job, of which
    it may do several in one round.
    """
    while frame.f_back is not None:
        frame = frame.f_back
    carrier = frame.f_locals.get("self") if frame.f_code is Carrier.run.__code__ else None
    return id(frame), id(getattr(carrier, "job", None))


def watch_blocking(limit: float = 0.1, report: Callable[[str], object] | None = None) -> BlockingWatcher:
    """Report whatever blocks a hub for longer than `limit` seconds, with its stack, once for each time.

    report: is called with the text, in an OS thread of its own; by default it is logged as a warning. Returns the
    watcher, whose `stop` ends it.

    >>> reports = []
    >>> watcher = greenserve.debug.watch_blocking(0.05, reports.append)
    >>> while not reports:  # computes, and lets no other thread run
    ...     pass
    >>> watcher.stop()
    >>> "has been blocked for" in reports[0]
    True
    """
    watcher = BlockingWatcher(limit, report or (lambda text: logger.warning("%s", text)))
    watcher.start()
    return watcher
