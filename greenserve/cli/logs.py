"""Where the server's own log lines go: to standard error, through the logger `greenserve` alone.

The root logger stays the application's: if both configured it, every line would be printed twice.

What the application prints and logs goes the same way as the server's lines: a terminal that is stopped, or a pipe that
is not read, would otherwise hold up every request with the first `print`.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import logging
import os
import re
import sys
from typing import Any, TextIO

from greenserve.hub.core.log_writer import LogWriter, dropped_notice, standard_error
from greenserve.process import role

FORMAT = "%(asctime)s %(levelname)-7s %(message)s"
_ROOT = "greenserve"


def configure_logging(level: str) -> None:
    """Send what is at least as severe as `level`, a name such as info, to standard error. Twice is harmless."""
    logger = logging.getLogger(_ROOT)
    logger.setLevel(level.upper())
    if logger.propagate:  # not configured yet
        handler = logging.StreamHandler()
        handler.setFormatter(_Formatter(FORMAT))
        logger.addHandler(handler)
        logger.propagate = False  # else an application that configures the root logger gets every line twice


# Control characters but tab and newline (C0, DEL, C1 with NEL), the other line separators, and what reorders a line.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


class _Formatter(logging.Formatter):
    """Lets no text that came from a client command a terminal, or look like a line of the server's."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line; should it be several, the further ones are indented."""
        if role.label:  # where there are several processes
            record.message = f"{role.label}: {record.message}"
        return _escape(super().formatMessage(record)).replace("\n", "\n    ")

    def formatException(self, ei: Any) -> str:
        """The traceback."""
        return _escape(super().formatException(ei))


def _escape(text: str) -> str:
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def enable_loggers() -> None:
    """Undo an application's `logging.config.dictConfig`: it disables every logger that exists unless told not to."""
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if (name == _ROOT or name.startswith(_ROOT + ".")) and isinstance(logger, logging.Logger):
            logger.disabled = False


class _RawStream(io.RawIOBase):
    """A standard stream whose bytes a LogWriter writes."""

    mode = "wb"

    def __init__(self, writer: LogWriter, fd: int, name: str) -> None:
        self.name = name
        self._writer = writer
        self._fd = fd

    def fileno(self) -> int:
        """The stream's descriptor."""
        return self._fd

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return os.isatty(self._fd)

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, data: Any, /) -> int:
        """Takes all, and never waits."""
        size = memoryview(data).nbytes
        self._writer.put_at_once(bytes(data))
        return size


def detach_streams(limit: int) -> None:
    """Let nothing that is written to sys.stdout and sys.stderr wait; what finds `limit` bytes waiting is dropped.

    Only where they are the process's own: a program that has replaced them has its reasons.
    """
    for fd in (0, 1, 2):  # closed by the parent process: otherwise a client's connection would get the number
        with contextlib.suppress(OSError):
            os.fstat(fd)
            continue
        os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free
    standard_error.limit = limit
    output = LogWriter(1, limit, lambda lines: standard_error.put_at_once(dropped_notice(lines, "standard output")))
    if sys.stdout is sys.__stdout__:
        sys.stdout = _stream(_RawStream(output, 1, "<stdout>"), sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _stream(_RawStream(standard_error, 2, "<stderr>"), sys.stderr)
    atexit.register(_flush_streams)  # before the writers' own end


def _stream(raw: Any, like: TextIO | None) -> TextIO:
    # No BufferedWriter between: it refuses the `print` of a signal handler that has interrupted another one.
    return io.TextIOWrapper(
        raw,
        encoding=like.encoding if like else "utf-8",
        errors=(like.errors if like else None) or "backslashreplace",
        line_buffering=getattr(like, "line_buffering", True),
        write_through=getattr(like, "write_through", False),
    )


def _flush_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # closed
            stream.flush()
