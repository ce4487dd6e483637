"""What systemd is told of the server's life: that it listens, that its hub turns, and how long its end may take."""

from __future__ import annotations

import logging
import os
import time

from greenserve.hub.core.hub import current_hub
from greenserve.process.systemd import MICROSECONDS, ServiceManager
from greenserve.server.worker_state import WorkerState
from greenserve.settings import Settings

logger = logging.getLogger("greenserve.systemd")

# Seconds beyond the grace: for killed requests, for what the application does at exit, and for the interpreter's end.
END_SECONDS = 10.0


class Service:
    """The server as a service of `manager`. All is called in the server's hub."""

    def __init__(self, manager: ServiceManager, settings: Settings) -> None:
        self._manager = manager
        self._main = os.getpid()  # also where this process leaves the server to a child, see process/init.py
        self._grace = settings.graceful_timeout
        self._delay = settings.drain_delay

    def ready(self, urls: list[str]) -> None:
        """Connections are accepted, at `urls`."""
        self._tell(READY=1, STATUS=f"listening on {', '.join(urls)}", MAINPID=self._main)
        if self._manager.watchdog:
            self._show_life()

    def on_state(self, state: WorkerState) -> None:
        """The worker goes on to `state`."""
        if state is WorkerState.LAME_DUCK:
            self._stopping(self._delay + self._grace, f"answering for {self._delay:g} s before it stops")
        elif state is WorkerState.DRAINING:
            self._stopping(self._grace, f"stopping; requests in progress have {self._grace:g} s")

    def on_hangup(self) -> None:
        """SIGHUP was obeyed, by which Type=notify-reload asks for a reload: it waits for the two messages."""
        self._tell(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)
        self._tell(READY=1)

    def _stopping(self, seconds: float, status: str) -> None:
        # Said once it is enough: the manager waits until then, whatever its TimeoutStopSec; it never waits less.
        extension = int((seconds + END_SECONDS) * MICROSECONDS)
        self._tell(STOPPING=1, STATUS=status, EXTEND_TIMEOUT_USEC=extension)

    def _tell(self, **fields: object) -> None:
        warning = self._manager.tell(**fields)
        if warning:
            logger.warning("%s", warning)

    def _show_life(self) -> None:
        """By the hub's own timer, and in its greenlet: a hub that is blocked says nothing, and systemd starts another
        process.
        """
        self._tell(WATCHDOG=1)
        current_hub().call_later(self._manager.watchdog / 2, self._show_life)
