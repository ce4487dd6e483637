"""The template: loads the application once, and forks workers of it, which share what they do not change.

It never runs a hub or an OS thread of its own: neither would be in a forked worker what it was. It does nothing but
wait for the supervisor, whose end is its own.
"""

from __future__ import annotations

import ctypes
import errno
import faulthandler
import gc
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, NamedTuple

from greenserve.hub import debug
from greenserve.hub.core import log_writer, report
from greenserve.hub.core.hub import all_hubs
from greenserve.supervisor.channel import Channel, Gone, channel_of
from greenserve.supervisor.handed import Handed
from greenserve.supervisor.table import Cell, Slot, Table
from greenserve.workers.hooks import HookedWorker, Hooks

logger = logging.getLogger("greenserve.workers")

_PR_SET_PDEATHSIG = 1  # prctl(2)


class Forked(NamedTuple):
    """A worker that has just been forked, in its own process. channel: its way to the supervisor. trouble: why
    it cannot load the application, if that is known (--reload).
    """

    slot: Slot
    channel: Channel
    hooked: HookedWorker
    trouble: str


class Template:
    """Forks workers."""

    def __init__(self, handed: Handed) -> None:
        self.table = Table(handed.slots, handed.table)
        self.listeners = handed.listeners
        self.channel = channel_of(handed.channel, blocking=True)
        for fd in (handed.channel, handed.table):  # the application's programs are none of the server's processes
            os.set_inheritable(fd, False)
        signal.signal(signal.SIGUSR2, lambda *_: report.write(debug.dump()))
        if not faulthandler.is_enabled():  # for SIGABRT, by which a template ends that loads for too long
            faulthandler.enable(file=2)
        if sys.platform == "linux":  # the supervisor's end is also that of a template which loads, and hears nothing
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        self._workers: dict[int, HookedWorker] = {}  # those that it has forked, by age
        # The terminal's Ctrl-C is the supervisor's to hear. No SIG_IGN: programs that are started would inherit it.
        signal.signal(signal.SIGINT, lambda *_: None)

    def fork_workers(self, loaded: dict[str, Any], hooks: Hooks) -> Forked | None:
        """Until the supervisor has gone. Returns None then; in each worker, what it has of its own.

        loaded: what the supervisor is told when it may have workers.
        """
        _warn_of_threads()
        # systemd sends it to all processes of a unit: then hooks still have to hear of the workers' ends.
        signal.signal(signal.SIGTERM, lambda *_: None)
        gc.collect()
        gc.freeze()  # else the first collection in a worker would write to each object, and copy its page
        try:
            self.channel.send(loaded)
            while True:
                found = self.channel.receive()
                if found is None:
                    continue
                message, descriptors = found
                if "stop_listening" in message:
                    self._stop_listening()  # and with the descriptor the supervisor is told
                elif "fork" not in message:
                    self._call_hook(message, hooks)
                elif self._fork_worker(self.table[message["fork"]], hooks, descriptors):
                    self.channel.close()
                    signal.signal(signal.SIGTERM, signal.SIG_DFL)
                    slot = self.table[message["fork"]]
                    return Forked(
                        slot,
                        channel_of(descriptors[0], blocking=False),
                        self._workers[slot[Cell.AGE]],
                        message["trouble"],
                    )
                for fd in descriptors:
                    os.close(fd)
        except Gone:
            return None

    def _stop_listening(self) -> None:
        """No worker is forked any more. The descriptors stay taken, as the objects around them believe."""
        for fd, _ in self.listeners:
            os.dup2(self.channel.fd, fd, inheritable=False)

    def _fork_worker(self, slot: Slot, hooks: Hooks, descriptors: list[int]) -> bool:
        """Returns whether this is the worker. descriptors: its way to the supervisor; none if there was no room."""
        age = slot[Cell.AGE]
        self._workers[age] = hooks.make_worker(slot.index, age)
        try:
            if not descriptors:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return self._fork()
        except OSError as error:
            del self._workers[age]
            self.channel.send({"unforked": slot.index, "why": str(error)})
            return False

    def _call_hook(self, message: dict[str, Any], hooks: Hooks) -> None:
        if "child_exit" in message:
            pid, number, age = message["child_exit"]
            # A worker of before the last reload was another template's child.
            worker = self._workers.pop(age, None) or HookedWorker(number, age, hooks.server)
            worker.pid = pid
            hooks.attempt("child_exit", worker=worker)
        elif "nworkers_changed" in message:
            new, old = message["nworkers_changed"]
            hooks.server.num_workers = new
            hooks.attempt("nworkers_changed", new_value=new, old_value=old)
        else:
            (name,) = message
            hooks.attempt(name)

    def _fork(self) -> bool:
        """Fork a worker that is the supervisor's child. Returns whether this is the worker. Raises OSError."""
        between = os.fork()
        if between:
            status = _status_of(between)
            if status:
                raise OSError(status, os.strerror(status))
            return False
        try:
            if os.fork():
                os._exit(0)
        except OSError as error:
            os._exit(error.errno or errno.EAGAIN)
        return True


def _status_of(pid: int) -> int:
    """The exit status of a child, or the number of its signal."""
    try:
        return abs(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    except ChildProcessError:  # the application ignores SIGCHLD, so no status is kept
        return 0


def _warn_of_threads() -> None:
    """Neither OS threads nor green threads get into a forked worker."""
    log_writer.flush_all()
    tasks = Path("/proc/self/task")
    count = len(list(tasks.iterdir())) if tasks.exists() else threading.active_count()
    names = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    green = [carrier.thread.name for hub in all_hubs() for carrier in hub.carriers if carrier.thread is not None]
    if count > 1 or green:
        names += [name for name in green if name not in names]
        logger.warning(
            "the application has started threads at its import (%d%s), and no worker will have them: start them "
            "with the first request or in a post_fork hook, or let each worker import the application (--no-preload)",
            max(count - 1 + len(green), len(names)),
            f": {', '.join(names)}" if names else "",
        )
