"""From the command to a supervisor with its first template: this process becomes the one, its child is the other."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from greenserve.net.listener import ListeningSocket, made_path
from greenserve.process.pid_file import PidFile
from greenserve.process.systemd import ServiceManager
from greenserve.process.user import User
from greenserve.settings import MOST_WORKERS, Address
from greenserve.supervisor import handed
from greenserve.supervisor.channel import channel_pair
from greenserve.supervisor.handed import TO_SUPERVISOR, Handed
from greenserve.supervisor.table import Table
from greenserve.workers import private_directory

SLOTS = 2 * MOST_WORKERS + 1  # of the table: workers, a successor for each, and the supervisor's own
_HEARD = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2}
_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


@dataclass(frozen=True)
class Command:
    """How the server was started: what templates are started by again. environ: of the supervisor and of those."""

    arguments: list[str]
    environ: dict[str, str]
    log_level: str
    load_timeout: float


def begin(
    listeners: list[tuple[ListeningSocket, Address]],
    command: Command,
    pid_file: PidFile | None,
    manager: ServiceManager,
    user: User | None,
) -> Handed:
    """Fork. Returns in the child, which is the first template; this process becomes the supervisor.

    listeners: each with the address that it is bound to; the supervisor keeps them open. pid_file: is written.
    user: that workers become.
    """
    paths = [made for sock, address in listeners if (made := made_path(sock, address)) is not None]
    locks = []
    if pid_file is not None and (written := pid_file.written) is not None:
        paths.append(written[:3])
        locks.append(written[3])
    private = private_directory.make(user)
    if private is not None:
        paths.append(private)
    table = Table(SLOTS)
    ours, theirs = channel_pair()
    told = Handed(
        channel=theirs.fd,
        table=table.fd,
        slots=SLOTS,
        listeners=[(sock.detach(), str(address)) for sock, address in listeners],
        command=[sys.executable, *sys.orig_argv[1:]],
        directory=_directory(),
        log_level=command.log_level,
        load_timeout=command.load_timeout,
        paths=paths,
        locks=locks,
        notify=manager.address,
        watchdog=manager.watchdog,
        private="" if private is None else private[0],
    )
    _adopt_orphans()
    pid = os.fork()
    if pid:
        _become(told._replace(channel=ours.fd, template=pid), command)
    ours.close()
    theirs.detach()
    return told


def _become(told: Handed, command: Command) -> NoReturn:
    """Does not return."""
    environ = command.environ
    told.write(TO_SUPERVISOR, environ)
    for fd in told.descriptors():
        os.set_inheritable(fd, True)
    signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)  # until the supervisor can hear them
    os.execve(sys.executable, program(command.arguments), environ)  # noqa: S606 - the interpreter that runs this


def program(arguments: list[str]) -> list[str]:
    """The words by which a supervisor is run. arguments: of the command, for a list of processes to show."""
    file = Path(handed.__file__).with_name("__main__.py")
    return [sys.executable, "-S", "-E", str(file), "greenserve", *arguments]


def _directory() -> str:
    """Where the command was started, by the name that the shell has for it: a link there may be another one by the next
    reload, and is followed then.
    """
    here = Path.cwd()
    name = os.environ.get("PWD", "")
    try:
        return name if name and here.samefile(name) else str(here)
    except OSError:
        return str(here)


def _adopt_orphans() -> None:
    """Become the parent of workers whose template has ended, so that it is known how they end. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
