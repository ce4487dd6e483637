"""Lines for a system log daemon, one datagram each, sent by an OS thread: a daemon that is stuck holds up no request.

On this machine a line has the form that syslog(3) gives it; by UDP it has that of RFC 5424, since RFC 3164's time has
neither year nor zone.
"""

from __future__ import annotations

import contextlib
import os
import time
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, getaddrinfo, gethostname, socket  # never patched
from datetime import datetime
from typing import Any

from greenserve.hub.core.log_writer import LIMIT, LogWriter
from greenserve.settings.syslog import Syslog

LARGEST = 8192  # bytes of a line: what rsyslog takes by default; RFC 5424 §6.1 asks for 2048 at least
_MONTHS = ("", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class SyslogWriter(LogWriter):
    """Writes each line that is put to `target`. Raises OSError when there is no such daemon, or host.

    A daemon that is started again is found again.
    """

    def __init__(self, target: Syslog, limit: int = LIMIT) -> None:
        self._target = target
        super().__init__(_connect(target), limit)

    def put(self, data: bytes) -> None:
        """Send `data`, one line, soon; longer ones are cut."""
        super().put(self._header() + data.removesuffix(b"\n")[:LARGEST])

    def _header(self) -> bytes:
        target, now = self._target, time.time()
        if isinstance(target.address, str):
            at = time.localtime(now)
            stamp = f"{_MONTHS[at.tm_mon]} {at.tm_mday:2d} {at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d}"
            return f"<{target.priority}>{stamp} {target.tag}[{os.getpid()}]: ".encode()
        stamp = datetime.fromtimestamp(now).astimezone().isoformat(timespec="milliseconds")
        host = gethostname().encode("ascii", "replace").decode()[:255] or "-"
        return f"<{target.priority}>1 {stamp} {host} {target.tag} {os.getpid()} - - ".encode()

    # -- in the OS thread

    def _follow_rotation(self) -> None:
        """Connect again after an error, in the place of following a file that was renamed."""
        if self.error is None:
            return
        fresh = _connect(self._target)
        with self._lock:
            self._close_descriptor()
            self._fd = fresh

    def _take(self) -> bool:
        """One line at a time: each is a datagram."""
        if self._chunk and not self._written:
            return True
        with self._lock:
            self._chunk, self._written = self._pieces.popleft() if self._pieces else b"", 0
        return bool(self._chunk)


def _connect(target: Syslog) -> int:
    """A descriptor for which each write is a datagram; writes wait while a daemon of this machine is busy."""
    address: Any = target.address
    if isinstance(address, str):
        family = AF_UNIX
    else:
        family, _, _, _, address = getaddrinfo(address[0], address[1], type=SOCK_DGRAM)[0]
    with contextlib.closing(socket(family, SOCK_DGRAM | SOCK_CLOEXEC)) as sock:
        sock.connect(address)
        return sock.detach()
