"""The supervisor's event loop: signals, channels, ends of processes, and the clock."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

from greenserve.process.systemd import ServiceManager
from greenserve.supervisor.channel import Channel, Gone, channel_of, channel_pair
from greenserve.supervisor.ends import MemoryEvents, how_it_ended
from greenserve.supervisor.handed import TO_SUPERVISOR, TO_TEMPLATE, Handed, take
from greenserve.supervisor.lines import Lines
from greenserve.supervisor.supervisor import Generation, Member, Supervisor
from greenserve.supervisor.table import Cell, Table

TICK = 1.0  # seconds
_SIGNALS = ("TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "TTIN", "TTOU", "CHLD")


class Machine:
    """The real `System`."""

    def __init__(self, handed: Handed, lines: Lines) -> None:
        self._handed = handed
        self.say = lines.say
        self.now = time.monotonic
        self.channel_pair = channel_pair
        self.manager = ServiceManager(handed.notify, handed.watchdog)

    def tell(self, **fields: object) -> None:
        """A message for the service manager."""
        warning = self.manager.tell(**fields)
        if warning:
            self.say("warning", warning)

    def kill(self, pid: int, signum: int) -> None:
        """Send a signal; harmless when the process is gone."""
        if pid:
            try:
                os.kill(pid, signum)
            except ProcessLookupError:
                pass

    def start_template(self) -> tuple[int, Channel]:
        """Run the command once more; by what it is handed it knows that it is a template."""
        ours, theirs = channel_pair()
        handed = self._handed
        environ = dict(os.environ)
        told = Handed(theirs.fd, handed.table, handed.slots, handed.listeners, handed.command, handed.directory)
        told.write(TO_TEMPLATE, environ)
        try:
            pid = os.fork()
        except OSError:
            ours.close()
            raise
        if pid:
            theirs.close()
            return pid, ours
        try:
            for fd in told.descriptors():
                os.set_inheritable(fd, True)
            os.chdir(handed.directory)
            os.execve(handed.command[0], handed.command, environ)  # noqa: S606 - the command of this server
        except OSError as error:
            self.say("error", f"cannot run {handed.command[0]}: {error}")
        finally:
            os._exit(126)


class Process:
    """Reads what comes in, and tells the supervisor."""

    def __init__(self, handed: Handed) -> None:
        lines = Lines(handed.log_level)
        self._machine = Machine(handed, lines)
        self._memory = MemoryEvents()
        table = Table(handed.slots, handed.table)
        table[0][Cell.PID] = os.getpid()
        first = Generation(1, handed.template, channel_of(handed.channel, blocking=False))
        self._supervisor = Supervisor(self._machine, table, first)
        self._signals, self._woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._actions: dict[int, Callable[[], None]] = {
            signal.SIGTERM: lambda: self._supervisor.stop("SIGTERM", delay=True),
            signal.SIGINT: lambda: self._supervisor.stop("SIGINT"),
            signal.SIGQUIT: lambda: self._supervisor.force("SIGQUIT came"),
            signal.SIGHUP: self._supervisor.reload,
            signal.SIGUSR1: self._reopen_logs,
            signal.SIGTTIN: lambda: self._supervisor.change_workers(1),
            signal.SIGTTOU: lambda: self._supervisor.change_workers(-1),
            signal.SIGCHLD: self._reap,
        }

    def run(self) -> int:
        """Until the end. Returns the exit status."""
        for name in _SIGNALS:
            signal.signal(getattr(signal, f"SIG{name}"), lambda *_: None)
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        self._reap()  # what ended before
        tick = time.monotonic() + TICK
        while self._supervisor.exit_code is None:
            self._wait(max(0.0, tick - time.monotonic()))
            if time.monotonic() >= tick:
                self._supervisor.tick()
                self._show_life()
                tick = time.monotonic() + TICK
        return self._supervisor.exit_code

    def _show_life(self) -> None:
        """To a service manager that watches, as long as hubs turn."""
        watchdog = self._machine.manager.watchdog
        if watchdog and self._supervisor.is_alive(time.monotonic(), watchdog):
            self._machine.tell(WATCHDOG=1)

    def _wait(self, seconds: float) -> None:
        supervisor = self._supervisor
        poll = select.poll()
        poll.register(self._signals, select.POLLIN)
        heard: dict[int, Callable[[], None]] = {}
        for generation in supervisor.generations():
            if generation.channel is not None:
                heard[generation.channel.fd] = partial(self._hear_template, generation)
        for member in supervisor.members:
            if member.lost is None:
                heard[member.channel.fd] = partial(self._hear_worker, member)
        for fd in heard:
            poll.register(fd, select.POLLIN)
        ready = [fd for fd, _ in poll.poll(seconds * 1000)]
        for fd in ready:
            if fd in heard:
                heard[fd]()
        if self._signals in ready:  # after the messages: a process may have said why it ends
            for number in sorted(os.read(self._signals, 512), key=lambda number: number != signal.SIGCHLD):
                self._actions.get(number, lambda: None)()

    def _hear_template(self, generation: Generation) -> None:
        try:
            while generation.channel is not None and (found := generation.channel.receive()) is not None:
                self._supervisor.heard_template(generation, found[0])
        except Gone:
            self._reap()

    def _hear_worker(self, member: Member) -> None:
        try:
            while member in self._supervisor.members and (found := member.channel.receive()) is not None:
                self._supervisor.heard_worker(member, found[0])
        except Gone:
            self._supervisor.lost(member)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            code = os.waitstatus_to_exitcode(status)
            self._supervisor.exited(pid, how_it_ended(code, self._memory), code if code >= 0 else None)

    def _reopen_logs(self) -> None:
        for member in self._supervisor.members:
            self._machine.kill(member.pid, signal.SIGUSR1)


def main() -> int:
    """What `__main__` runs."""
    handed = take(TO_SUPERVISOR)
    if handed is None:
        sys.stderr.write("greenserve: this file is run by `greenserve APP --workers N`, not by hand\n")
        return 2
    try:
        return Process(handed).run()
    finally:
        remove_paths(handed.paths)


def remove_paths(paths: Sequence[tuple[str, int, int]]) -> None:
    """Remove the paths of Unix sockets, unless they are another one's by now."""
    for path, *made in paths:
        try:
            there = os.lstat(path)
            if [there.st_dev, there.st_ino] == made:
                os.unlink(path)
        except OSError:
            pass
