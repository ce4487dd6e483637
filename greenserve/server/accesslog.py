"""The access log: one line for each request, combined or JSON.

Lines are written by an OS thread (hub/core/log_writer.py): neither a full disk nor a reader that is stuck holds up a
request. What could not be written is counted, and said in the server's own log.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol, TypeAlias

from greenserve.errors import ConfigurationError
from greenserve.http.head import RequestHead
from greenserve.hub.core.log_writer import LIMIT, LogWriter

logger = logging.getLogger("greenserve.access")


class Answer(Protocol):
    """What a client got."""

    @property
    def status(self) -> str:
        """Code and phrase."""

    @property
    def sent(self) -> int:
        """Bytes: of the body, or of all that a WebSocket was sent."""


class AccessLog:
    """Makes a line of each request, and gives it to `_write`."""

    def __init__(self, style: str = "combined") -> None:
        self._format = FORMATS[style]

    def write(self, address: str, request: RequestHead, answer: Answer, seconds: float) -> None:
        """Log a request that was answered. address: the client's."""
        self._write(self._format(address, request, answer.status[:3], answer.sent, seconds))

    def write_refusal(self, address: str, request: RequestHead | None, status: int) -> None:
        """Log a request that no application has seen. request: None if its head was wrong: then that is not known."""
        self._write(self._format(address, request, str(status), 0, 0.0))

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

    def __init__(self, call: Callable[[str], object], style: str = "combined") -> None:
        super().__init__(style)
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
    """Writes to standard output (`-`) or appends to a file. Raises ConfigurationError when that cannot be opened.

    limit: bytes of lines that may wait for the disk, or for a reader.
    """

    def __init__(self, target: str, style: str, limit: int = LIMIT) -> None:
        super().__init__(style)
        self._failed = False
        self._dropped = 0  # lines, as far as it was said
        try:
            # A descriptor of our own: should the program close number 1, it may be a client's connection next.
            self._writer = LogWriter(os.dup(1) if target == "-" else target, limit)
        except OSError as error:
            where = "there is no standard output" if target == "-" else f"{error.strerror}"
            raise ConfigurationError(
                f"access_log = {target!r}: {where}; name a file in a writable directory"
            ) from error

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


def _combined(address: str, request: RequestHead | None, status: str, sent: int, seconds: float) -> str:
    """The Apache combined format. What the client has sent is escaped, so that no request can forge a line."""
    if request is None:
        line = referer = agent = "-"
    else:
        line = f"{request.method} {request.target} HTTP/{request.http_version}"
        referer = request.fields.get("referer") or "-"
        agent = request.fields.get("user-agent") or "-"
    return (
        f'{address or "-"} - - [{_clf_time(int(time.time()))}] "{_escape(line)}" {status} {sent or "-"} '
        f'"{_escape(referer)}" "{_escape(agent)}"\n'
    )


def _json(address: str, request: RequestHead | None, status: str, sent: int, seconds: float) -> str:
    """One JSON object: time (RFC 3339, UTC), client, request, status, body bytes, duration in seconds.

    All in ASCII: what begins a new line in some reader (NEL, U+2028) or commands a terminal (C1, DEL) is escaped.
    """
    entry: dict[str, object] = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "remote_addr": address,
        "method": request.method if request else None,
        "path": request.path if request else None,
        "query": request.query if request else None,
        "protocol": f"HTTP/{request.http_version}" if request else None,
        "host": request.fields.host if request else None,
        "status": int(status),
        "bytes": sent,
        "duration": round(seconds, 6),
        "referer": request.fields.get("referer") if request else None,
        "user_agent": request.fields.get("user-agent") if request else None,
    }
    return json.dumps(entry).replace("\x7f", "\\u007f") + "\n"


Format: TypeAlias = Callable[[str, RequestHead | None, str, int, float], str]
FORMATS: dict[str, Format] = {"combined": _combined, "json": _json}

_MONTHS = ("", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_clf_cache = (0, "")


def _clf_time(now: int) -> str:
    """The time of a combined line, made once a second. English months whatever the locale, which strftime would
    follow.
    """
    global _clf_cache  # noqa: PLW0603 - a cache of one
    second, text = _clf_cache
    if second != now:
        moment = time.localtime(now)
        zone = time.strftime("%z", moment)
        text = (
            f"{moment.tm_mday:02d}/{_MONTHS[moment.tm_mon]}/{moment.tm_year}:{time.strftime('%H:%M:%S', moment)} {zone}"
        )
        _clf_cache = (now, text)
    return text


_UNSAFE = re.compile(r"[^ !#-\[\]-~]")  # a quote, a backslash, what is not printable ASCII


def _escape(text: str) -> str:
    return _UNSAFE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    return f"\\{character}" if character in '"\\' else f"\\x{ord(character):02x}"
