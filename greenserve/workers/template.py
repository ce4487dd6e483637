"""The template: loads the application once, and forks workers of it, which share what they do not change.

It never runs a hub or an OS thread of its own: neither would be in a forked worker what it was. It does nothing but
wait for the supervisor, whose end is its own.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import threading
from pathlib import Path
from typing import Any

from greenserve.hub.core import log_writer
from greenserve.supervisor.channel import Channel, Gone, channel_of
from greenserve.supervisor.handed import Handed
from greenserve.supervisor.table import Slot, Table

logger = logging.getLogger("greenserve.workers")


class Template:
    """Forks workers."""

    def __init__(self, handed: Handed) -> None:
        self.table = Table(handed.slots, handed.table)
        self.listeners = handed.listeners
        self.channel = channel_of(handed.channel, blocking=True)
        # The terminal's Ctrl-C is the supervisor's to hear. No SIG_IGN: programs that are started would inherit it.
        signal.signal(signal.SIGINT, lambda *_: None)

    def fork_workers(self, loaded: dict[str, Any]) -> tuple[Slot, Channel] | None:
        """Until the supervisor has gone. Returns None then; in each worker, its slot and its way to the supervisor.

        loaded: what the supervisor is told when it may have workers.
        """
        _warn_of_threads()
        gc.collect()
        gc.freeze()  # else the first collection in a worker would write to each object, and copy its page
        try:
            self.channel.send(loaded)
            while True:
                found = self.channel.receive()
                if found is None:
                    continue
                message, (fd,) = found
                if self._fork():
                    self.channel.close()
                    return self.table[message["fork"]], channel_of(fd, blocking=False)
                os.close(fd)
        except Gone:
            return None

    def _fork(self) -> bool:
        """Fork a worker that is the supervisor's child. Returns whether this is the worker."""
        between = os.fork()
        if between:
            os.waitpid(between, 0)
            return False
        if os.fork():
            os._exit(0)
        return True


def _warn_of_threads() -> None:
    """OS threads do not get into a forked worker."""
    log_writer.flush_all()
    tasks = Path("/proc/self/task")
    count = len(list(tasks.iterdir())) if tasks.exists() else threading.active_count()
    if count > 1:
        names = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
        logger.warning(
            "the application has started OS threads at its import (%d%s), and no worker will have them: start them "
            "with the first request or in a post_fork hook, or let each worker import the application (--no-preload)",
            count - 1,
            f": {', '.join(names)}" if names else "",
        )
