"""What every green thread is doing now: for a program that seems to hang.

Strategy: a parked greenlet keeps its frames, so looking costs those nothing who are looked at. The one that runs has
none to show; its frames are the OS thread's.
"""

from __future__ import annotations

import signal
import sys
import traceback
from types import FrameType
from typing import IO

from greenserve.hub.hub import Hub, all_hubs

__all__ = ["dump", "dump_on_signal", "format_dump"]


def format_dump() -> str:
    """Every green thread of every OS thread as text: its name, and its stack with the innermost call last."""
    running = sys._current_frames()
    lines = []
    for hub in sorted(all_hubs(), key=lambda hub: hub.thread_id):
        lines.append(f"OS thread {hub.thread_id}:\n")
        lines += _of_one(hub, running.get(hub.thread_id))
    return "".join(lines) or "no green threads: nothing has waited yet\n"


def _of_one(hub: Hub, running: FrameType | None) -> list[str]:
    lines = []
    for greenlet in [hub.main, *hub.carriers, *hub.adopted]:
        name = "main" if greenlet is hub.main else repr(greenlet.thread or greenlet.job or greenlet)
        if greenlet.gr_frame is not None:
            if greenlet is not hub.main and greenlet.job is None and greenlet not in hub.adopted:
                continue  # a carrier that waits for something to carry
            lines.append(f"  {name}\n")
            lines += [f"  {line}" for line in traceback.format_stack(greenlet.gr_frame)]
        elif greenlet:
            lines.append(f"  {name}, running\n")
            lines += [f"  {line}" for line in traceback.format_stack(running)]
        else:
            lines.append(f"  {name}, not begun\n")
    return lines


def dump(file: IO[str] | None = None) -> None:
    """Write `format_dump()` to `file`, by default to standard error."""
    stream = sys.stderr if file is None else file
    stream.write(format_dump())
    stream.flush()


def dump_on_signal(number: int = signal.SIGUSR1) -> None:
    """Have `dump()` called whenever the process gets this signal: `kill -USR1 PID`. Raises ValueError when this is not
    the main OS thread.
    """
    signal.signal(number, lambda *_: dump())
