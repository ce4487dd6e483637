"""The access log: one line for each request, and where the lines go; access_format.py makes them.

Lines are written by an OS thread (hub/core/log_writer.py): neither a full disk nor a reader that is stuck holds up a
request. What could not be written is counted, and said in the server's own log.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from greenserve.errors import ConfigurationError
from greenserve.hub.core.log_writer import LIMIT, LogWriter
from greenserve.net.syslog import SyslogWriter
from greenserve.server.access_format import Subject, make_format
from greenserve.settings import Settings
from greenserve.settings.log_format import DEFAULT_FIELDS
from greenserve.settings.syslog import Syslog

logger = logging.getLogger("greenserve.access")


class AccessLog:
    """Makes a line of each request, and gives it to `_write`. style, fields: see `make_format`.

    measures: whether that needs what is known of a MeasuredCycle alone.
    """

    def __init__(self, style: str = "combined", fields: tuple[str, ...] = DEFAULT_FIELDS) -> None:
        self._format, self.measures = make_format(style, fields)

    def write(self, subject: Subject, status: str, sent: int, seconds: float) -> None:
        """Log a request. status: of the response, with or without its phrase. sent: bytes of the body, or of all that a
        WebSocket was sent. seconds: from the call of the application to the end.
        """
        self._write(self._format(subject, status[:3], sent, seconds))

    def check(self) -> None:
        """Called once a second."""

    def reopen(self) -> None:
        """The file may have been renamed: called when SIGUSR1 says so."""

    def close(self) -> None:
        """The server has stopped."""

    def _write(self, line: str) -> None:
        raise NotImplementedError


class CallLog(AccessLog):
    """Gives each line, which ends with a newline, to a function of the program's; that must not block."""

    def __init__(
        self, call: Callable[[str], object], style: str = "combined", fields: tuple[str, ...] = DEFAULT_FIELDS
    ) -> None:
        super().__init__(style, fields)
        self._call = call
        self._failed = False

    def _write(self, line: str) -> None:
        try:
            self._call(line)
        except Exception:  # no log is worth a client's connection
            if not self._failed:
                logger.exception("the access log's function raised; requests are still served")
            self._failed = True


class FileLog(AccessLog):
    """Writes to standard output (`-`), appends to a file, or sends to a system log. Raises ConfigurationError when that
    cannot be opened.

    limit: bytes of lines that may wait for the disk, or for a reader.
    """

    def __init__(
        self, target: str | Syslog, style: str, limit: int = LIMIT, fields: tuple[str, ...] = DEFAULT_FIELDS
    ) -> None:
        super().__init__(style, fields)
        self._failed = False
        self._dropped = 0  # lines, as far as it was said
        try:
            self._writer = _writer(target, limit)
        except OSError as error:
            where = "there is no standard output" if target == "-" else f"{error.strerror}"
            advice = "name a daemon that runs" if isinstance(target, Syslog) else "name a file in a writable directory"
            raise ConfigurationError(f"access_log = {str(target)!r}: {where}; {advice}") from error

    def check(self) -> None:
        """Say what has gone wrong with the log since the last time."""
        error, dropped = self._writer.error, self._writer.dropped
        if error is not None and not self._failed:
            logger.error("the access log cannot be written: %s; requests are still served", error)
        elif error is None and self._failed:
            logger.warning("the access log can be written again")
        self._failed = error is not None
        if dropped > self._dropped:
            logger.warning(
                "the access log lacks %d lines: they could not be written fast enough, and log_buffer was full",
                dropped - self._dropped,
            )
        self._dropped = dropped

    def reopen(self) -> None:
        """Open the file again if it was renamed or removed, without waiting for the next line."""
        self._writer.reopen()

    def close(self) -> None:
        """Write what waits, which a stuck reader cannot prolong beyond a second, and close the file."""
        self._writer.close()
        self.check()

    def _write(self, line: str) -> None:
        self._writer.put(line.encode("utf-8", "backslashreplace"))


def _writer(target: str | Syslog, limit: int) -> LogWriter:
    if isinstance(target, Syslog):
        return SyslogWriter(target, limit)
    # A descriptor of our own: should the program close number 1, it may be a client's connection next.
    return LogWriter(os.dup(1) if target == "-" else target, limit)


def check_access_log(settings: Settings) -> None:
    """Raise ConfigurationError if its settings contradict each other."""
    fields = settings.access_log_fields
    if fields != DEFAULT_FIELDS and settings.access_log_format != "json":
        raise ConfigurationError(
            "access_log_fields are those of JSON: set access_log_format to json, or write a format such as "
            f"'%h %t \"%r\" %s %{{{fields[-1]}}}x'"
        )


def open_access_log(settings: Settings) -> AccessLog | None:
    """The log that the settings name, if they name one. Raises ConfigurationError when it cannot be opened."""
    check_access_log(settings)
    target = settings.access_log
    if target is None:
        return None
    return FileLog(target, settings.access_log_format, settings.log_buffer, settings.access_log_fields)
