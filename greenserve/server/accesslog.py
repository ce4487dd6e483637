"""The access log: one line for each request, combined or JSON.

Each line is one write(2) to a descriptor opened for appending: lines of several processes do not mix, and none is lost
in a buffer when the process dies. `check` (once a second, by the server's sweep) reopens the file when it was renamed
or removed, so log rotation needs no signal.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, TypeAlias

from greenserve.errors import ConfigurationError
from greenserve.http.head import RequestHead

logger = logging.getLogger("greenserve.access")


class Client(Protocol):
    """Whose request it was."""

    peer_address: str
    request: RequestHead | None


class Answer(Protocol):
    """What it got."""

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

    def write(self, client: Client, answer: Answer, seconds: float) -> None:
        """Log a request that was answered."""
        request = client.request
        assert request is not None
        self._write(self._format(client.peer_address, request, answer.status[:3], answer.sent, seconds))

    def write_refusal(self, client: Client, status: int) -> None:
        """Log a request whose head was wrong: what it asked for is not known."""
        self._write(self._format(client.peer_address, None, str(status), 0, 0.0))

    def check(self) -> None:
        """Called once a second."""

    def close(self) -> None:
        """The server has stopped."""

    def _write(self, line: str) -> None:
        raise NotImplementedError


class CallLog(AccessLog):
    """Gives each line, which ends with a newline, to a function of the program's; that must not block."""

    def __init__(self, call: Callable[[str], object], style: str = "combined") -> None:
        super().__init__(style)
        self._call = call

    def _write(self, line: str) -> None:
        self._call(line)


class FileLog(AccessLog):
    """Writes to standard output (`-`) or appends to a file. Raises ConfigurationError when that cannot be opened."""

    def __init__(self, target: str, style: str) -> None:
        super().__init__(style)
        self._path = None if target == "-" else target
        self._failed = False
        try:
            self._fd = 1 if self._path is None else _open(self._path)
        except OSError as error:
            raise ConfigurationError(
                f"access_log = {target!r}: {error.strerror}; name a file in a writable directory"
            ) from error

    def check(self) -> None:
        """Reopen the file if its path means another one by now."""
        if self._path is None:
            return
        with contextlib.suppress(OSError):
            ours = os.fstat(self._fd)
            try:
                there = Path(self._path).stat()
            except FileNotFoundError:
                there = None
            if there is None or (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino):
                fresh = _open(self._path)
                os.close(self._fd)
                self._fd = fresh

    def close(self) -> None:
        """Close the file."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                os.close(self._fd)

    def _write(self, line: str) -> None:
        try:
            os.write(self._fd, line.encode("utf-8", "backslashreplace"))
            self._failed = False
        except OSError as error:
            if not self._failed:  # a full disk must not stop the service, nor fill the error log
                logger.error("the access log cannot be written: %s; requests are served on", error)
            self._failed = True


def _open(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)


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
    """One JSON object: time (RFC 3339, UTC), client, request, status, body bytes, duration in seconds."""
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
    return json.dumps(entry, ensure_ascii=False) + "\n"


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


def _escape(text: str) -> str:
    if text.isprintable() and '"' not in text and "\\" not in text and text.isascii():
        return text
    return "".join(
        character
        if " " <= character <= "~" and character not in '"\\'
        else f"\\{character}"
        if character in '"\\'
        else f"\\x{ord(character):02x}"
        for character in text
    )
