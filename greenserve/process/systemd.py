"""What a service manager is told of this process: the messages of sd_notify(3), and the socket to which they go.

Strategy: no library, since a message is one datagram of NAME=value lines. Nothing here may end or delay the server: a
socket that is missing, dead or full costs one warning, and a wait of at most SEND_SECONDS.
"""

from __future__ import annotations

import os
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, socket  # never patched
from collections.abc import MutableMapping
from contextlib import closing
from typing import Self

SEND_SECONDS = 0.5  # systemd reads at once; its queue is full for moments at most
MICROSECONDS = 1_000_000


class ServiceManager:
    """systemd, or another manager of services that speaks its protocol; or none, which is told nothing.

    address: of its socket, as in NOTIFY_SOCKET: an absolute path, or `@` and an abstract name. watchdog: seconds within
    which it wants to hear a WATCHDOG=1, again and again; 0 for never.
    """

    def __init__(self, address: str = "", watchdog: float = 0.0) -> None:
        self.address = address
        self.watchdog = watchdog
        self._is_silent = False  # about what cannot be told

    @classmethod
    def take(cls, environ: MutableMapping[str, str]) -> Self:
        """The one that the variables name. They are removed: children would take them for their own.

        Those of the watchdog count if WATCHDOG_PID names this process, or is missing (sd_watchdog_enabled(3)).
        """
        address = environ.pop("NOTIFY_SOCKET", "")
        interval, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        is_watched = bool(address) and interval.isdecimal() and pid in ("", str(os.getpid()))
        if address.startswith("vsock"):  # for virtual machines: their host is told by their own systemd
            address, is_watched = "", False
        return cls(address, int(interval) / MICROSECONDS if is_watched else 0.0)

    def tell(self, **fields: object) -> str:
        """Send one message, of the fields in order, such as READY=1. Returns a warning, the first time it fails."""
        if not self.address:
            return ""
        try:
            self._send(message(fields))
        except OSError as error:
            if not self._is_silent:
                self._is_silent = True
                return f"the service manager at NOTIFY_SOCKET={self.address} cannot be told: {error}"
        return ""

    def _send(self, data: bytes) -> None:
        if not self.address.startswith(("/", "@")):
            raise OSError("neither an absolute path nor @ and a name")
        path = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        with closing(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)) as sock:
            sock.settimeout(SEND_SECONDS)
            sock.connect(path)  # so that waiting for room means the receiver's (unix(7))
            sock.send(data)


def message(fields: dict[str, object]) -> bytes:
    """The datagram: a line for each field; a value has no line of its own to break."""
    lines = (f"{name}={' '.join(str(value).split())}" for name, value in fields.items())
    return "\n".join(lines).encode("utf-8", "backslashreplace")
