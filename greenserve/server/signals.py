"""The signals of a server that runs in the main thread: SIGTERM and SIGINT stop it, others say something to it."""

from __future__ import annotations

import faulthandler
import os
import signal
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any

from greenserve.hub.core import report, signals
from greenserve.hub.core.hub import current_hub

FORCED = 1  # exit status: some requests were killed
UNHEARD_SECONDS = 1.0  # after which a hub that has not noticed a signal is blocked


class SignalHandlers:
    """Handles signals while the server runs, in the hub; outside the main thread does nothing.

    stop: called with SIGTERM and SIGINT, and with SIGHUP where that says that the server's terminal was closed.
    note: with SIGHUP elsewhere, SIGUSR1 and SIGUSR2. These would end the process, and all requests with it; but a
    program's own handlers of them stay.
    """

    def __init__(self, stop: Callable[[int], None], note: Callable[[int], None]) -> None:
        self._stop = stop
        self._note = note
        self._before: dict[int, Any] = {}
        self._hub = current_hub()
        self._unheard: float | None = None  # when a signal came that the hub has not dealt with
        self._has_terminal = any(map(os.isatty, (0, 1, 2)))  # asked now: a closed terminal is none any more

    def __enter__(self) -> None:
        try:
            for signum in (signal.SIGTERM, signal.SIGINT):
                self._before[signum] = signals.set_handler(signum, self._received)
            for signum in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
                if signals.get_handler(signum) is signal.SIG_DFL:
                    self._before[signum] = signals.set_handler(signum, self._noted)
        except ValueError:  # not the main thread
            return

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._before.items():
            # Not where a request has put a handler of its own.
            if signals.get_handler(signum) in (self._received, self._noted):
                signals.set_handler(signum, handler if handler is not None else signal.SIG_DFL)

    def _noted(self, signum: int, frame: FrameType | None) -> None:
        call = self._stop if signum == signal.SIGHUP and self._has_terminal else self._note
        self._hub.call_soon_threadsafe(call, signum)

    def _received(self, signum: int, frame: FrameType | None) -> None:
        # A handler runs between any two instructions: only the hub may touch the connections.
        now = self._hub.clock()
        if self._unheard is None:
            self._unheard = now
        elif now - self._unheard >= UNHEARD_SECONDS:
            # The second signal kills what does not finish; here that is the hub itself, which some request blocks.
            text = f"greenserve: killed: for {now - self._unheard:.0f} s one request has blocked all others, here:\n"
            report.write(text + "".join(traceback.format_stack(frame)))
            os._exit(FORCED)
        self._hub.call_soon_threadsafe(self._heard, signum)

    def _heard(self, signum: int) -> None:
        self._unheard = None
        self._stop(signum)


class MemberSignals(SignalHandlers):
    """Of a worker, whose supervisor hears the terminal's signals and those for the server as a whole.

    show: returns what SIGUSR2 writes to standard error, at once, also while a request blocks the hub.
    """

    def __init__(self, stop: Callable[[int], None], note: Callable[[int], None], show: Callable[[], str]) -> None:
        super().__init__(stop, note)
        self._show = show

    def __enter__(self) -> None:
        super().__enter__()
        for signum in (signal.SIGINT, signal.SIGHUP):
            signals.set_handler(signum, _ignored)
        signals.set_handler(signal.SIGUSR2, self._shown)
        if not faulthandler.is_enabled():  # for SIGABRT, by which a worker ends that is stuck in a C function
            faulthandler.enable(file=2)

    def _shown(self, signum: int, frame: FrameType | None) -> None:
        report.write(self._show())


def _ignored(signum: int, frame: FrameType | None) -> None:
    """No SIG_IGN: programs that an application starts would inherit it."""
