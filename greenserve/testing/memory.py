"""The sockets of the network in memory: green sockets by their class, which never call the system."""

from __future__ import annotations

import errno
from typing import Any

from greenserve.green import socket
from greenserve.hub.core.busy_wait import relax
from greenserve.testing.stream import Stream, failure


class MemorySocket(socket.socket):
    """One end of a connection in memory, or a listener. What it has no way to do raises OSError (EOPNOTSUPP)."""

    def __init__(
        self,
        address: Any,
        peer: Any = None,
        incoming: Stream | None = None,
        outgoing: Stream | None = None,
        connection: Any = None,
    ) -> None:
        # Not the base's: that would open a descriptor. What the standard library's class keeps is set here.
        self._io_refs = 0
        self._closed = False
        self._descriptor = None
        self._elsewhere = None
        self._timeout: float | None = None
        self._address = address
        self._peer = peer
        self._options: dict[tuple[int, int], Any] = {}
        self._in = incoming
        self._out = outgoing
        self.connection = connection
        self.listening: Any = None
        self.network: Any = None

    def __repr__(self) -> str:
        state = "closed" if self._closed else "listening" if self.listening else f"to {self._peer}"
        return f"<MemorySocket {self._address}, {state}>"

    # -- its properties

    @property
    def family(self) -> Any:
        """AF_INET; AF_UNIX for a path."""
        return socket.AF_INET if isinstance(self._address, tuple) else socket.AF_UNIX

    type: Any = socket.SOCK_STREAM
    proto = 0

    def fileno(self) -> int:
        """-1: it has no descriptor."""
        return -1

    def getsockname(self) -> Any:
        """This end's address."""
        return self._address

    def getpeername(self) -> Any:
        """The other end's address. Raises OSError (ENOTCONN)."""
        if self.connection is None:
            raise failure(errno.ENOTCONN)
        return self._peer

    def setsockopt(self, level: int, name: int, value: Any, length: int | None = None) -> None:
        """Keep the option for `getsockopt`."""
        self._options[level, name] = value

    def getsockopt(self, level: int, name: int, length: int | None = None) -> Any:
        """The option's value, or 0."""
        return self._options.get((level, name), 0)

    # -- receiving

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """As a socket's; MSG_PEEK is the only flag that means something."""
        stream = self._end(self._in)
        deadline = self._deadline()
        while not stream.received and not stream.ended:
            if stream.error:
                raise failure(stream.error)
            self._wait_at(stream.readable, deadline)
        return stream.take(bufsize, peek=bool(flags & socket.MSG_PEEK))

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """As a socket's."""
        with memoryview(buffer) as view, view.cast("B") as octets:
            data = self.recv(nbytes or len(octets), flags)
            octets[: len(data)] = data
        return len(data)

    def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
        """As a stream socket's: the address is None."""
        return self.recv(bufsize, flags), None

    # -- sending

    def send(self, data: Any, flags: int = 0, /) -> int:
        """Send as much as there is room for, at least a byte."""
        with memoryview(data) as view:
            return self._send(view.cast("B").tobytes(), self._deadline())

    def _send(self, octets: bytes, deadline: float | None) -> int:
        stream = self._end(self._out)
        while True:
            if stream.error or stream.finished:
                raise failure(stream.error or errno.EPIPE)
            room = stream.room()
            if room or not octets:
                break
            self._wait_at(stream.writable, deadline)
        taken = octets[:room]
        allowed = self.connection.allow(len(taken))
        stream.send(taken[:allowed])
        if allowed < len(taken):
            self.connection.cut()
            raise failure(errno.ECONNRESET)
        return len(taken)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Send everything; the timeout is the whole call's."""
        with memoryview(data) as view:
            octets = view.cast("B").tobytes()
        deadline = self._deadline()
        while octets:
            octets = octets[self._send(octets, deadline) :]

    def sendmsg(self, buffers: Any, ancdata: Any = (), flags: int = 0, address: Any = None, /) -> int:
        """Send several buffers; descriptors cannot be sent along."""
        if tuple(ancdata):
            raise failure(errno.EOPNOTSUPP)
        return self.send(b"".join(bytes(buffer) for buffer in buffers), flags)

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """As a socket's; what is read of the file is sent."""
        sent: int = self._sendfile_use_send(file, offset, count)  # type: ignore[attr-defined]  # the standard library's
        return sent

    def shutdown(self, how: int, /) -> None:
        """End one direction, or both."""
        if how in (socket.SHUT_WR, socket.SHUT_RDWR):
            self._end(self._out).finish()
        if how in (socket.SHUT_RD, socket.SHUT_RDWR):
            incoming = self._end(self._in)
            incoming.ended = True
            incoming.readable.open()

    # -- listening

    def listen(self, backlog: int = 128, /) -> None:
        """Harmless for a listener; other sockets raise OSError (EOPNOTSUPP)."""
        if self.listening is None:
            raise failure(errno.EOPNOTSUPP)

    def accept(self) -> tuple[socket.socket, Any]:
        """(connection, peer's address)."""
        listening = self.listening
        if self._closed or listening is None:
            raise failure(errno.EBADF if self._closed else errno.EINVAL)
        deadline = self._deadline()
        while not listening.queue:
            self._wait_at(listening.arrived, deadline)
            if self._closed:
                raise failure(errno.EBADF)
        connection: tuple[MemorySocket, Any] = listening.queue.popleft()
        return connection

    # -- the end

    def _real_close(self, _ss: Any = None) -> None:
        if self.listening is not None:
            self.network.forget(self.listening)
        incoming, outgoing = self._in, self._out
        if incoming is None or outgoing is None:
            return
        incoming.closed = True
        incoming.readable.open()  # the waiter there finds it closed
        outgoing.writable.open()
        if incoming.received:  # as a system does: a reset tells the peer that not all was read
            outgoing.break_off(errno.ECONNRESET)
            incoming.writable.open()
        else:
            outgoing.finish()

    def _cannot(self, *_: Any, **__: Any) -> Any:
        raise failure(errno.EOPNOTSUPP)

    bind = connect = connect_ex = sendto = recvmsg = recvmsg_into = recvfrom_into = detach = dup = _cannot

    # -- waiting

    def _end(self, stream: Stream | None) -> Stream:
        if self._closed:
            raise failure(errno.EBADF)
        if stream is None:
            raise failure(errno.ENOTCONN)
        return stream

    def _wait_read(self, deadline: float | None) -> None:
        gate = self._end(self._in).readable if self.listening is None else self.listening.arrived
        gate.wait(deadline)

    def _wait_at(self, gate: Any, deadline: float | None) -> None:
        if self._timeout == 0.0:
            relax()
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        gate.wait(deadline)
        if self._closed:
            raise failure(errno.EBADF)
