"""Waking a hub that sleeps in its poller, from other OS threads and from signals.

A pipe, not an eventfd: `signal.set_wakeup_fd` writes single bytes, which an eventfd refuses, and a signal that arrives
between the interpreter's last look and the system call can be noticed only through a descriptor (PEP 475 resumes the
call).

Invariant: nothing is written once the pipe is closed, because its number may be another file's by then. Hence the
lock; and it is reentrant, because a signal handler may come while its own OS thread holds it.
"""

from __future__ import annotations

import os
import signal
from _thread import RLock
from os import close, read, write  # captured: patching must not give the hub green twins


class Wakeup:
    """A pipe whose read end the hub polls. `fd` is that end."""

    __slots__ = ("_lock", "_signals", "_write_fd", "fd")

    def __init__(self) -> None:
        self.fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(os, "pipe2") else _pipe()
        self._signals = False
        self._lock = RLock()

    def wake(self) -> None:
        """Make the poller return. Safe in any OS thread and in a signal handler; a full pipe wakes just as well."""
        with self._lock:
            if self._write_fd >= 0:
                try:
                    write(self._write_fd, b"\0")
                except OSError:  # full
                    pass

    def drain(self) -> None:
        """Empty the pipe."""
        try:
            while len(read(self.fd, 4096)) == 4096:
                pass
        except OSError:  # empty
            pass

    def watch_signals(self) -> bool:
        """Let signals wake this hub too, unless other code has claimed them. False: not the main OS thread."""
        try:
            previous = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        except ValueError:  # signals are not its business
            return False
        self._signals = previous in (-1, self._write_fd)
        if not self._signals:
            signal.set_wakeup_fd(previous, warn_on_full_buffer=False)
        return True

    def is_written_to(self, fd: int) -> bool:
        """Whether `fd` is the end that is written to."""
        return fd >= 0 and fd == self._write_fd

    def close(self, lock: bool = True) -> None:
        """Give both ends back. lock: False in a forked child, where an OS thread that does not exist may hold it."""
        if lock:
            with self._lock:
                self.close(lock=False)
            return
        if self._signals:
            self._signals = False
            try:
                signal.set_wakeup_fd(-1)
            except ValueError:  # no longer the main thread: the interpreter is ending
                pass
        fds, self.fd, self._write_fd = (self.fd, self._write_fd), -1, -1
        for fd in fds:
            if fd >= 0:
                close(fd)


def _pipe() -> tuple[int, int]:
    read_fd, write_fd = os.pipe()
    os.set_blocking(read_fd, False)
    os.set_blocking(write_fd, False)
    return read_fd, write_fd
