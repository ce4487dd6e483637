"""A pid file: the number of the process that serves, for scripts and for programs that watch over it.

Strategy. It is made under another name and renamed, so a reader finds a whole number or no file. The process holds a
lock on it (flock(2)) until it ends, however it ends: whether the process of a file still lives is asked of the lock,
because the number alone may be another process's by now.
Invariant: only a pid file without a living process is ever replaced, and at the end only our own is removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import tempfile
from pathlib import Path

from greenserve.errors import ConfigurationError

MODE = 0o644  # with any umask: the number may be known


class PidFile:
    """The pid file at `path`; a context manager that removes it, if it was written. Children of a fork close it."""

    def __init__(self, path: str) -> None:
        self.path = Path(path).absolute()  # the application may change the directory
        self._fd: int | None = None  # holds the lock
        self._pid = 0

    def check(self) -> None:
        """Raise ConfigurationError if it cannot be written: another process has it, or there is something else."""
        pid = living(self.path)
        if pid is not None:
            raise ConfigurationError(
                f"greenserve runs already, as process {pid}, says {self.path} (from pid_file): stop that one (kill "
                f"{pid}), or name another file for this one"
            )
        if self.path.name.isdigit():
            raise self._error("it is a number; a port to listen on is written --bind HOST:PORT")
        directory = self.path.parent
        if not directory.is_dir():
            raise self._error(f"there is no directory {directory}: make it, or name another path")

    def write(self) -> None:
        """Write this process's number. Harmless when it is written. Raises ConfigurationError."""
        if self._fd is not None:
            return
        self.check()
        temporary = None
        try:
            fd, temporary = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
            self._fd, self._pid = fd, os.getpid()
            with contextlib.suppress(OSError):  # a file system without locks; then the file always counts as stale
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(fd, b"%d\n" % self._pid)
            os.fchmod(fd, MODE)
            Path(temporary).replace(self.path)
        except OSError as error:
            self.close()
            if temporary is not None:
                Path(temporary).unlink(missing_ok=True)
            raise self._error(str(error.strerror)) from error

    @property
    def written(self) -> tuple[str, int, int, int] | None:
        """Path, device, inode, and the descriptor that holds the lock; None before it is written."""
        if self._fd is None:
            return None
        there = os.fstat(self._fd)
        return str(self.path), there.st_dev, there.st_ino, self._fd

    def close(self) -> None:
        """Give up the lock, and leave the file as it is."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def __enter__(self) -> PidFile:
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd is None:
            return
        # In a directory in which this user may not write (any more) the file stays: the next start replaces it.
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(self._fd), self.path.lstat()) and self._pid == os.getpid():
                self.path.unlink()
        self.close()

    def _error(self, why: str) -> ConfigurationError:
        return ConfigurationError(f"pid_file = {str(self.path)!r} cannot be written: {why}")


def living(path: Path) -> int | None:
    """The process that has written the file and still lives; None if there is none.

    Raises ConfigurationError where the file is not a pid file.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO would wait for its writer
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(f"pid_file = {str(path)!r} cannot be read: {error.strerror}") from error
    try:
        content = os.read(fd, 64) if stat.S_ISREG(os.fstat(fd).st_mode) else b"?"
        if not re.fullmatch(rb"\s*[0-9]{0,10}\s*", content):
            raise ConfigurationError(f"pid_file = {str(path)!r} is there, and is not a pid file: name another path")
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _if_alive(int(content or b"0"))
        except OSError:  # a file system without locks
            return None
        return None
    finally:
        os.close(fd)


def _if_alive(pid: int) -> int | None:
    """A child that was forked by the process, and has outlived it, may still hold the lock."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:  # another user's
        pass
    return pid
