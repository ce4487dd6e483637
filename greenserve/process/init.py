"""Process 1 of a container where the server is one process: passes signals on, and reaps orphans.

The kernel makes process 1 the parent of each process whose own has ended, and has to wait for them; else they stay as
zombies. The server cannot do that: to wait for whatever ends would take from the application the exit statuses of the
children that it has started. So the server becomes a child, and process 1 becomes this file, by exec: an interpreter
with little more than its signals. (With several workers the supervisor is process 1, which has no children but its own
and orphans.)
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable

FIRST = 1  # the process that gets the orphans
_SIGNALLED = 128  # plus the signal: the exit status that shells give to a command that a signal has ended

# Not passed on: what tells of this process's own children and faults, and what the terminal stops it with.
_OWN = ("CHLD", "SEGV", "BUS", "FPE", "ILL", "TRAP", "SYS", "ABRT", "TTIN", "TTOU", "TSTP")
_PASSED_ON = signal.valid_signals() - {getattr(signal, f"SIG{name}") for name in _OWN}


def leave_to_child(arguments: Iterable[str]) -> None:
    """Fork. Returns in the child, which is to be the server; this process becomes its init.

    arguments: the command's, for people who look at the list of processes.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON | {signal.SIGCHLD, signal.SIGTTOU})
    server = os.fork()
    if server:  # what came meanwhile stays blocked, and waits for `main`
        here = os.path.abspath(__file__)  # noqa: PTH100 - pathlib weighs more than all the rest
        words = [sys.executable, "-S", "-E", here, str(server), "greenserve", *arguments]
        os.execv(sys.executable, words)  # noqa: S606 - the interpreter that runs this
    # A group of its own, which is the terminal's: else Ctrl-C reached it twice, from the terminal and from its init.
    os.setpgid(0, 0)
    try:
        os.tcsetpgrp(0, os.getpgrp())
    except OSError:  # no terminal
        pass
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def main(server: int) -> int:
    """Until the server (its process id) ends. Returns its exit status."""
    while True:
        number = signal.sigwait(_PASSED_ON | {signal.SIGCHLD})
        if number != signal.SIGCHLD:
            os.kill(server, number)  # it is not reaped yet, so the number is its own
            continue
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == server:
                code = os.waitstatus_to_exitcode(ended[1])
                return code if code >= 0 else _SIGNALLED - code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
