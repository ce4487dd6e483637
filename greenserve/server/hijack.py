"""Giving a connection to the application: WSGI has no word for it, so libraries take the socket from the environ.

`ConnectionSocket` is what they find there, in every request: a stand-in for the connection's socket. Asking it for its
peer, or setting a timeout, changes nothing; its first I/O takes the connection away from HTTP (that, not the
environ, is how it is noticed: middleware copies environs). From then on it is a green socket, which first gives the
bytes that came with the request, and works in other OS threads too.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import Any, Protocol

from greenserve.errors import ClientDisconnected
from greenserve.green import socket
from greenserve.net.green_socket import cut, to_green

_QUESTIONS = frozenset({"family", "fileno", "getpeername", "getsockname", "getsockopt", "setsockopt", "type"})
_STATUS = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9])\b")


class Hijackable(Protocol):
    """A connection that can be given away."""

    stream: Any
    owner: Owner | None

    def surrender(self) -> tuple[Any, bytes]:
        """Give up the transport and the bytes that were received and not consumed. Raises ClientDisconnected."""

    def take_back(self, sock: socket.socket) -> None:
        """The socket is to be closed in order."""


class Owner(Protocol):
    """The owner of a connection, and what the server tells and asks it."""

    @property
    def status(self) -> str:
        """What the client was answered, as in "101 Switching Protocols"."""

    @property
    def sent(self) -> int:
        """How many bytes the client was sent."""

    def drain(self, *, restarting: bool) -> None:
        """The server is stopping: end soon. restarting: another one takes its place at once."""

    def finish(self, failed: bool) -> None:
        """The application has returned; failed: by an error. End in order. Harmless when it has ended."""

    def abort(self) -> None:
        """End now. Harmless when it has ended."""

    def when_closed(self, callback: Callable[[Any], object]) -> None:
        """Call `callback(owner)` once the socket is closed; at once if it is."""

    def is_end(self, error: BaseException) -> bool:
        """Whether an error that came up through the application only says that the client has gone."""


class ConnectionSocket:
    """A connection's socket, as WebSocket libraries for WSGI expect one in the environ."""

    __slots__ = ("__weakref__", "_connection", "_early", "_socket", "_timeout", "sent", "status")

    def __init__(self, connection: Hijackable) -> None:
        self._connection = connection
        self._early = b""  # what came with the request
        self._socket: socket.socket | None = None
        self._timeout: float | None = None
        self.status = "101"  # what the first bytes that were sent say
        self.sent = 0

    def get_socket(self) -> ConnectionSocket:
        """Itself: what `environ["eventlet.input"]` is asked for."""
        return self

    @property
    def connection(self) -> Hijackable:
        """The connection, for greenserve's own WebSocket."""
        return self._connection

    # -- I/O: the first of these takes the connection

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """Receive, the early bytes first."""
        sock = self._taken()
        if self._early and bufsize > 0:
            data, rest = self._early[:bufsize], self._early[bufsize:]
            if not flags & socket.MSG_PEEK:
                self._early = rest
            return data
        return sock.recv(bufsize, flags)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Receive into a buffer."""
        view = memoryview(buffer).cast("B")
        data = self.recv(nbytes or len(view), flags)
        view[: len(data)] = data
        return len(data)

    def send(self, data: Any, flags: int = 0) -> int:
        """Send all of it: simple-websocket calls this once and never looks at the result."""
        self.sendall(data, flags)
        return len(data)

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send all of it."""
        sock = self._taken()
        if not self.sent:
            match = _STATUS.match(data)
            if match:
                self.status = match[1].decode("ascii")
        self.sent += len(data)
        sock.sendall(data, flags)

    def shutdown(self, how: int) -> None:
        """Shut one side or both."""
        self._taken().shutdown(how)

    def close(self) -> None:
        """Close it, if it was taken; what was never used stays the server's."""
        if self._socket is not None:
            self._socket.close()

    def makefile(self, *args: Any, **kwargs: Any) -> Any:
        """A file on it. Raises ClientDisconnected when early bytes would be lost to it."""
        sock = self._taken()
        if self._early:
            raise ClientDisconnected("the client has sent before the upgrade was answered; use recv, not makefile")
        return sock.makefile(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        """What is not I/O: some applications ask it to notice that the client has gone."""
        if name not in _QUESTIONS:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self._connection.stream.socket if self._socket is None else self._socket, name)

    def settimeout(self, timeout: float | None) -> None:
        """Seconds for each recv and send; None for ever."""
        self._timeout = timeout
        if self._socket is not None:
            self._socket.settimeout(timeout)

    def gettimeout(self) -> float | None:
        """The seconds of `settimeout`."""
        return self._timeout

    def setblocking(self, flag: bool) -> None:
        """As of a socket."""
        self.settimeout(None if flag else 0.0)

    # -- what the server tells it (Owner)

    def drain(self, *, restarting: bool) -> None:
        """Let the application see its peer leave: a frame of ours could fall into the middle of one of its own."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RD)

    def finish(self, failed: bool) -> None:
        """Close what the application has left open, by way of the connection, which lingers."""
        sock = self._socket
        if sock is not None and sock.fileno() >= 0:
            self._connection.take_back(sock)

    def abort(self) -> None:
        """Close it; its waiters get EBADF."""
        if self._socket is not None:
            with contextlib.suppress(OSError):  # a child that the application has forked has it too
                cut(self._socket)
            self._socket.close()

    def when_closed(self, callback: Callable[[Any], object]) -> None:
        """At once: what is left to do is the connection's own business."""
        if self._socket is None or self._socket.fileno() < 0:
            callback(self)

    @staticmethod
    def is_end(error: BaseException) -> bool:
        """StopIteration is how libraries leave Gunicorn; a connection that was open can be broken, not refused."""
        return isinstance(error, StopIteration | ConnectionError) and not isinstance(error, ConnectionRefusedError)

    def _taken(self) -> socket.socket:
        if self._socket is None:
            transport, self._early = self._connection.surrender()
            self._connection.owner = self
            self._socket = to_green(transport)
            self._socket.settimeout(self._timeout)
        return self._socket
