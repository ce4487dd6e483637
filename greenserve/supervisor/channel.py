"""Messages between the supervisor and each of its processes: JSON objects, and descriptors beside them.

A channel is a pair of SOCK_SEQPACKET sockets: each message comes whole, and the end of a process is an end of file.
The sockets are the interpreter's own, which patching never replaces: a template has patched the standard library.
"""

from __future__ import annotations

import _socket
import array
import json
import os
from typing import Any, Final

MAX_MESSAGE: Final = 64 * 1024  # bytes; what is longer (a traceback) is cut by its sender
MAX_REASON: Final = 2000  # characters
MAX_DESCRIPTORS: Final = 16
_ENCODING: Final = "utf-8"
Message = dict[str, Any]


class Gone(Exception):
    """The process at the other end has ended, or is about to."""


class Channel:
    """One end. Not blocking unless it is made so."""

    __slots__ = ("_socket",)

    def __init__(self, sock: _socket.socket) -> None:
        self._socket = sock

    @property
    def fd(self) -> int:
        """The descriptor, to wait for."""
        return self._socket.fileno()

    def send(self, message: Message, *descriptors: int) -> None:
        """Raises Gone; also when the other end has not read for so long that the socket is full."""
        data = json.dumps(message).encode(_ENCODING)
        assert len(data) <= MAX_MESSAGE, "a message is short"
        beside = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        try:
            self._socket.sendmsg([data], beside, _socket.MSG_NOSIGNAL)
        except OSError as error:
            raise Gone(str(error)) from error

    def receive(self) -> tuple[Message, list[int]] | None:
        """A message and its descriptors, which are the caller's now; None: there is none. Raises Gone."""
        found = array.array("i")
        try:
            data, beside, _, _ = self._socket.recvmsg(MAX_MESSAGE, _socket.CMSG_LEN(MAX_DESCRIPTORS * found.itemsize))
        except BlockingIOError:
            return None
        except OSError as error:
            raise Gone(str(error)) from error
        for level, kind, content in beside:
            if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
                found.frombytes(content[: len(content) - len(content) % found.itemsize])
        for fd in found:  # programs that an application starts would keep the channel open
            os.set_inheritable(fd, False)
        if not data:
            raise Gone("it has closed its end")
        return json.loads(data), list(found)

    def send_failure(self, error: BaseException) -> None:
        """Say why this process ends, or cannot do what it is for; harmless when the other end has gone."""
        try:
            self.send({"failed": str(error)[-MAX_REASON:]})
        except Gone:
            pass

    def close(self) -> None:
        """The other end sees it."""
        self._socket.close()

    def detach(self) -> int:
        """The descriptor, which is the caller's now."""
        return self._socket.detach()


def channel_pair() -> tuple[Channel, Channel]:
    """Two ends, which do not block."""
    pair = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
    return Channel(pair[0]), Channel(pair[1])


def channel_of(fd: int, *, blocking: bool) -> Channel:
    """The end that was handed to this process."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, fd)
    sock.setblocking(blocking)
    return Channel(sock)
