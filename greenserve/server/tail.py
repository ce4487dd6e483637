"""The end of a response that the client has not taken when the application is done with it.

It needs no worker: the hub sends it piece by piece, as the client takes it, from the moment on at which it is left. So
slow readers do not use up the places of the pool, an application's database connection is not held for a bad network,
and nothing is withheld from a client while the application tidies up.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Any, Protocol

from greenserve.errors import InvalidResponse
from greenserve.hub.calls import HubCall

SEND_SIZE = 1 << 20  # bytes given to the kernel at once: it copies them while no other thread runs
COPY_SIZE = 65536  # bytes, where sendfile does not work


class Flushing(Protocol):
    """The connection that a tail belongs to."""

    def flush(self) -> None:
        """Send what the client takes now."""


class Tail(HubCall):
    """What is left to send; the hub calls it when the client takes more. held: bytes of memory that it keeps; left:
    bytes that have still to go.
    """

    __slots__ = ("_connection", "held", "left")

    def __init__(self, connection: Flushing, held: int, left: int) -> None:
        self._connection = connection
        self.held = held
        self.left = left

    def switch(self) -> None:
        """The hub's call."""
        self._connection.flush()

    def send(self, sock: Any) -> None:
        """Send some of it. Raises BlockingIOError when the client takes nothing now, OSError when it is gone."""
        raise NotImplementedError

    def close(self) -> None:
        """Give back what it holds."""


class BytesTail(Tail):
    """The rest of a body in memory."""

    __slots__ = ("_data",)

    def __init__(self, connection: Flushing, data: memoryview) -> None:
        super().__init__(connection, len(data), len(data))
        self._data = data

    def send(self, sock: Any) -> None:
        """Send some of it."""
        sent = sock.send(self._data[:SEND_SIZE], socket.MSG_DONTWAIT)
        self._data = self._data[sent:]
        self.left -= sent


class FileTail(Tail):
    """The rest of a regular file, for sendfile(2)."""

    __slots__ = ("_fd", "_kept", "_offset")

    def __init__(self, connection: Flushing, fd: int, offset: int, count: int) -> None:
        super().__init__(connection, 0, count)
        self._fd = fd
        self._offset = offset
        self._kept = False

    def keep(self) -> None:
        """Take a descriptor of its own, since the application closes its file. Raises OSError: there is none left."""
        self._fd = os.dup(self._fd)
        self._kept = True

    def send(self, sock: Any) -> None:
        """Send some of it. Raises InvalidResponse when the file has become shorter."""
        sock.setblocking(False)  # sendfile has no MSG_DONTWAIT
        try:
            sent = os.sendfile(sock.fileno(), self._fd, self._offset, min(self.left, SEND_SIZE))
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS):
                raise
            sent = self._copy(sock)
        if not sent:
            raise InvalidResponse(f"the file was cut short while it was sent: {self.left} bytes are missing")
        self._offset += sent
        self.left -= sent

    def _copy(self, sock: Any) -> int:
        """Some file systems have no sendfile."""
        block = os.pread(self._fd, min(self.left, COPY_SIZE), self._offset)
        return int(sock.send(block, socket.MSG_DONTWAIT)) if block else 0

    def close(self) -> None:
        """Close the descriptor."""
        if self._kept:
            self._kept = False
            os.close(self._fd)
