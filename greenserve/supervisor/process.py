"""The supervisor's event loop: signals, channels, ends of processes, and the clock."""

from __future__ import annotations

import os
import select
import signal
import stat
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn

from greenserve.process.systemd import ServiceManager
from greenserve.supervisor.channel import Channel, Gone, channel_of, channel_pair
from greenserve.supervisor.ends import MemoryEvents, how_it_ended
from greenserve.supervisor.handed import TO_SUCCESSOR, TO_SUPERVISOR, TO_TEMPLATE, Handed, take
from greenserve.supervisor.lines import Lines
from greenserve.supervisor.members import Generation, Member, Policy
from greenserve.supervisor.supervisor import Supervisor
from greenserve.supervisor.table import Cell, Table
from greenserve.supervisor.watching import Watching
from greenserve.version import VERSION

TICK = 1.0  # seconds
CLOSE_SECONDS = 1.0
START_SECONDS = 10.0  # what a successor gets to show that it can start


class Machine:
    """The real `System`."""

    def __init__(self, handed: Handed, lines: Lines) -> None:
        self._handed = handed
        self.say = lines.say
        self.now = time.monotonic
        self.channel_pair = channel_pair
        self.channel_of = partial(channel_of, blocking=False)
        self.manager = ServiceManager(handed.notify, handed.watchdog)
        self.watching = Watching(handed.directory, lines.say)

    def watch(self, scope: dict[str, object]) -> None:
        """Have files watched."""
        self.watching.watch(scope)

    def watch_more(self, message: dict[str, object]) -> None:
        """And these."""
        self.watching.watch_more(message)

    def tell(self, **fields: object) -> None:
        """A message for the service manager."""
        warning = self.manager.tell(**fields)
        if warning:
            self.say("warning", warning)

    def close_listeners(self, templates: Sequence[Channel]) -> None:
        """Close them, and have these templates do the same; it waits for them for CLOSE_SECONDS at most."""
        done, open_there = os.pipe()
        for channel in templates:
            try:
                channel.send({"stop_listening": True}, open_there)
            except Gone:
                pass
        os.close(open_there)
        for fd, _ in self._handed.listeners:
            os.close(fd)
        self._handed = self._handed._replace(listeners=[])
        poll = select.poll()
        poll.register(done, 0)  # for its hang-up: all others have closed their ends
        poll.poll(CLOSE_SECONDS * 1000)
        os.close(done)

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
        told = Handed(
            *(theirs.fd, handed.table, handed.slots, handed.listeners, handed.command, handed.directory),
            private=handed.private,
        )
        try:
            pid = self._start(handed.command, told, TO_TEMPLATE)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        return pid, ours

    def why_not(self, program: Sequence[str], state: dict[str, Any]) -> str:
        """Why `program` cannot take the place of this process; "" if it can, as a process of its own has shown."""
        pid = self._start(program, self._handed._replace(state=state), TO_SUCCESSOR)
        by = self.now() + START_SECONDS
        while self.now() < by:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return f"{' '.join(program)} ends with {os.waitstatus_to_exitcode(status)}" if status else ""
            time.sleep(0.01)
        self.kill(pid, signal.SIGKILL)
        return f"{' '.join(program)} does not end within {START_SECONDS:g} s"

    def become(self, program: Sequence[str], state: dict[str, Any]) -> NoReturn:
        """Run `program` in this process. Raises OSError."""
        _run(program, self._handed._replace(state=state), TO_SUPERVISOR)

    def _start(self, program: Sequence[str], told: Handed, variable: str) -> int:
        """In a child. Returns its pid. Raises OSError when there can be none."""
        pid = os.fork()
        if pid:
            return pid
        try:
            os.chdir(told.directory)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            _run(program, told, variable)
        except OSError as error:
            self.say("error", f"cannot run {program[0]}: {error}")
        finally:
            os._exit(126)


class Process:
    """Reads what comes in, and tells the supervisor."""

    def __init__(self, handed: Handed) -> None:
        lines = Lines(handed.log_level)
        self._machine = Machine(handed, lines)
        self._memory = MemoryEvents()
        table = Table(handed.slots, handed.table)
        for fd in handed.descriptors():
            os.set_inheritable(fd, False)
        self._table = table
        if handed.state is None:
            first = Generation(1, handed.template, channel_of(handed.channel, blocking=False))
            self._supervisor = Supervisor(self._machine, table, first, Policy(0, load_timeout=handed.load_timeout))
        else:
            self._supervisor = Supervisor.resume(self._machine, table, handed.state)
        self._resumed = handed.state is not None
        self._machine.watching.changed = self._supervisor.changed
        self._signals, self._woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._actions: dict[int, Callable[[], None]] = {
            signal.SIGTERM: lambda: self._supervisor.stop("SIGTERM", delay=True),
            signal.SIGINT: lambda: self._supervisor.stop("SIGINT"),
            signal.SIGQUIT: lambda: self._supervisor.force("SIGQUIT came"),
            signal.SIGHUP: self._supervisor.reload,
            signal.SIGUSR2: self._supervisor.upgrade,
            signal.SIGUSR1: self._reopen_logs,
            signal.SIGTTIN: lambda: self._supervisor.change_workers(1),
            signal.SIGTTOU: lambda: self._supervisor.change_workers(-1),
            signal.SIGCHLD: self._reap,
        }

    def run(self) -> int:
        """Until the end. Returns the exit status."""
        self._table[0][Cell.PID] = os.getpid()
        for number in self._actions:
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._actions)  # blocked by the program that has become this one
        self._reap()  # what ended before
        if self._resumed:
            self._machine.say("info", f"upgraded: the supervisor is that of greenserve {VERSION}, in the same process")
            self._supervisor.watch_files()
        period = min(TICK, self._machine.manager.watchdog / 2 or TICK)
        tick = time.monotonic() + period
        while self._supervisor.exit_code is None:
            self._wait(max(0.0, tick - time.monotonic()))
            if self._supervisor.successor:
                self._give_way(self._supervisor.successor)
            if time.monotonic() >= tick:
                self._supervisor.tick()
                self._machine.watching.tick()
                self._show_life()
                tick = time.monotonic() + period
        return self._supervisor.exit_code

    def _give_way(self, program: Sequence[str]) -> None:
        """To the supervisor of the new code, which goes on in this process; returns if it cannot."""
        machine, supervisor = self._machine, self._supervisor
        why = machine.why_not(program, supervisor.state())
        if not why:
            signal.pthread_sigmask(signal.SIG_BLOCK, self._actions)  # one that comes now waits for the successor
            self._heed_signals()
            if supervisor.is_ending():
                why = "the server stops"
            else:
                try:
                    machine.become(program, supervisor.state())
                except OSError as error:
                    why = str(error)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self._actions)
        supervisor.stays(why)

    def _show_life(self) -> None:
        """To a service manager that watches, as long as hubs turn."""
        watchdog = self._machine.manager.watchdog
        if watchdog and self._supervisor.health.is_alive(self._supervisor.members, watchdog / 2):
            self._machine.tell(WATCHDOG=1)

    def _wait(self, seconds: float) -> None:
        poll = select.poll()
        poll.register(self._signals, select.POLLIN)
        heard = self._heard()
        for fd in heard:
            poll.register(fd, select.POLLIN)
        ready = [fd for fd, _ in poll.poll(seconds * 1000)]
        for fd in ready:
            if fd in heard:
                heard[fd]()
        if self._signals in ready:  # after the messages: a process may have said why it ends
            self._heed_signals()

    def _heed_signals(self) -> None:
        """Those that have come."""
        try:
            numbers = os.read(self._signals, 512)
        except BlockingIOError:
            return
        for number in sorted(numbers, key=lambda number: number != signal.SIGCHLD):
            self._actions.get(number, lambda: None)()

    def _heard(self) -> dict[int, Callable[[], None]]:
        """By descriptor, what to do when something comes from it."""
        supervisor, watching = self._supervisor, self._machine.watching
        heard: dict[int, Callable[[], None]] = {}
        for generation in supervisor.generations():
            if generation.channel is not None and not generation.deaf:
                heard[generation.channel.fd] = partial(self._hear_template, generation)
        for member in supervisor.members:
            if member.lost is None:
                heard[member.channel.fd] = partial(self._hear_worker, member)
        if watching.fd is not None:
            heard[watching.fd] = watching.hear
        return heard

    def _hear_template(self, generation: Generation) -> None:
        try:
            while generation.channel is not None and (found := generation.channel.receive()) is not None:
                self._supervisor.heard_template(generation, found[0])
        except Gone:
            self._supervisor.template_lost(generation)
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
    shown = take(TO_SUCCESSOR)
    if shown is not None:
        Process(shown)
        return 0
    handed = take(TO_SUPERVISOR)
    if handed is None:
        sys.stderr.write("greenserve: this file is run by `greenserve APP --workers N`, not by hand\n")
        return 2
    try:
        return Process(handed).run()
    finally:
        remove_paths(handed.paths)


def _run(program: Sequence[str], told: Handed, variable: str) -> NoReturn:
    """In this process, by exec. Raises OSError."""
    environ = dict(os.environ)
    told.write(variable, environ)
    for fd in told.descriptors():
        os.set_inheritable(fd, True)
    try:
        os.execve(program[0], list(program), environ)  # noqa: S606 - the command of this server
    finally:
        for fd in told.descriptors():
            os.set_inheritable(fd, False)


def remove_paths(paths: Sequence[tuple[str, int, int]]) -> None:
    """Remove what the server has made, unless it is another one's by now: sockets, files, and its directory."""
    for path, *made in paths:
        try:
            there = os.lstat(path)
            if [there.st_dev, there.st_ino] == made:
                if stat.S_ISDIR(there.st_mode):
                    remove_paths([(inner.path, *_identity(inner)) for inner in list(os.scandir(path))])
                    os.rmdir(path)
                else:
                    os.unlink(path)
        except OSError:
            pass


def _identity(entry: os.DirEntry[str]) -> tuple[int, int]:
    there = entry.stat(follow_symlinks=False)
    return there.st_dev, there.st_ino
