"""Waking a hub that sleeps in its poller, from other OS threads and from signals.

A pipe, not an eventfd: `signal.set_wakeup_fd` writes single bytes, which an eventfd refuses, and a signal that arrives between
the interpreter's last look and the system call can be noticed only through a descriptor (PEP 475 resumes the call).
"""

from __future__ import annotations

import contextlib
import os
import signal


class Wakeup:
    """A pipe whose read end the hub polls. `fd` is that end."""

    __slots__ = ("_signals", "_write_fd", "fd")

    def __init__(self) -> None:
        self.fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(os, "pipe2") else _pipe()
        self._signals = False

    def wake(self) -> None:
        """Make the poller return. Safe in any OS thread and in a signal handler; a full pipe wakes just as well."""
        with contextlib.suppress(OSError):
            os.write(self._write_fd, b"\0")

    def drain(self) -> None:
        """Empty the pipe."""
        with contextlib.suppress(OSError):
            while len(os.read(self.fd, 4096)) == 4096:
                pass

    def watch_signals(self) -> bool:
        """Let signals wake this hub too, when it is the main thread's and nobody else has claimed them; says whether."""
        try:
            previous = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        except ValueError:  # not the main thread: signals are not its business
            return False
        self._signals = previous == -1
        if not self._signals:
            signal.set_wakeup_fd(previous, warn_on_full_buffer=False)
        return self._signals

    def close(self) -> None:
        """Give both ends back."""
        if self._signals:
            self._signals = False
            with contextlib.suppress(ValueError):
                signal.set_wakeup_fd(-1)
        for fd in (self.fd, self._write_fd):
            with contextlib.suppress(OSError):
                os.close(fd)


def _pipe() -> tuple[int, int]:
    read_fd, write_fd = os.pipe()
    os.set_blocking(read_fd, False)
    os.set_blocking(write_fd, False)
    return read_fd, write_fd
