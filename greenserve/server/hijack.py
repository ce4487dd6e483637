"""Giving a connection to the application: WSGI has no word for it, so libraries take the socket from the environ.

`ConnectionSocket` is what they find there, in every request: a stand-in for the connection's socket. Asking it who the
peer is, or setting a timeout, changes nothing; its first I/O takes the connection away from HTTP (that, not the
environ, is how it is noticed: middleware copies environs). From then on it is a green socket, which first gives the
bytes that came with the request, and works in other OS threads too.
"""

from __future__ import annotations

import _socket
from typing import Any, Protocol

from greenserve.errors import ClientDisconnected
from greenserve.green.socket import socket as GreenSocket


class Hijackable(Protocol):
    """A connection that can be given away."""

    socket: Any
    owner: Owner | None

    def surrender(self) -> tuple[int, bytes]:
        """Give up the descriptor and the bytes that were received and not consumed. Raises ClientDisconnected."""


class Owner(Protocol):
    """Who has a connection now. The server tells it two things."""

    def drain(self) -> None:
        """The server is stopping: end soon."""

    def close(self) -> None:
        """The application has returned, or is killed: end now. Harmless when it has ended."""


class ConnectionSocket:
    """A connection's socket, as WebSocket libraries for WSGI expect one in the environ."""

    __slots__ = ("__weakref__", "_connection", "_early", "_socket", "_timeout")

    def __init__(self, connection: Hijackable) -> None:
        self._connection = connection
        self._early = b""  # what came with the request
        self._socket: GreenSocket | None = None
        self._timeout: float | None = None

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
            if not flags & _socket.MSG_PEEK:
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
        self._taken().sendall(data, flags)
        return len(data)

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send all of it."""
        self._taken().sendall(data, flags)

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

    # -- no I/O: some applications ask these to notice that the client has gone

    def fileno(self) -> int:
        """The descriptor, or -1."""
        return int(self._any().fileno())

    def getpeername(self) -> Any:
        """The peer's address."""
        return self._any().getpeername()

    def getsockname(self) -> Any:
        """Our address."""
        return self._any().getsockname()

    def getsockopt(self, *args: Any) -> Any:
        """An option."""
        return self._any().getsockopt(*args)

    def setsockopt(self, *args: Any) -> None:
        """Set an option."""
        self._any().setsockopt(*args)

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

    @property
    def family(self) -> int:
        """The address family."""
        return int(self._any().family)

    @property
    def type(self) -> int:
        """SOCK_STREAM."""
        return int(self._any().type)

    def drain(self) -> None:
        """Nothing: what the application does with its socket, and how that ends in order, only it knows."""

    def _any(self) -> Any:
        return self._connection.socket if self._socket is None else self._socket

    def _taken(self) -> GreenSocket:
        if self._socket is None:
            fd, self._early = self._connection.surrender()
            self._connection.owner = self
            self._socket = GreenSocket(fileno=fd)
            self._socket.settimeout(self._timeout)
        return self._socket


class Surrendered:
    """Stands where a connection's socket was: HTTP's answer, if the application gives one after all, goes nowhere."""

    __slots__ = ()

    family = type = -1

    def send(self, data: bytes) -> int:
        """Swallow it."""
        return len(data)

    def fileno(self) -> int:
        """None."""
        return -1

    def close(self) -> None:
        """Nothing: the new owner closes."""


SURRENDERED = Surrendered()
