"""One connection's wire: what moves bytes between its socket and the request in progress, and waits where it must.

Laws. Readiness is edge-triggered: whoever waits has asked first and was told that there is nothing. A wait ends at the
connection's deadline, which the host's sweep compares once a second. A client as quick as we are never makes us wait:
so whoever moves much gives way to others when the hub's look at its descriptors is due.
"""

from __future__ import annotations

import logging
from enum import Enum
from typing import Any, Protocol

from greenlet import getcurrent

from greenserve.errors import ClientDisconnected, ProtocolError
from greenserve.http.head import RequestHead
from greenserve.http.request import CLOSED, Data, EndOfMessage, Inbound
from greenserve.http.response import CONTINUE
from greenserve.hub.hub import Descriptor, Hub
from greenserve.server.tail import SEND_SIZE, BytesTail, FileTail, Tail
from greenserve.server.workers import PoolJob

logger = logging.getLogger("greenserve.server")

BODY_READ = 262144  # bytes: fewer system calls for an upload
SKIP_LIMIT = 65536  # bytes of a body nobody read that are worth skipping to keep the connection
TAILS_LIMIT = 64 << 20  # bytes that all clients together have still to take after their applications have ended
NEVER = float("inf")


class Phase(Enum):
    """What a connection is doing, and so what its deadline means."""

    IDLE = "idle"  # parked between requests; at its deadline closed silently
    HEAD = "head"  # parked, new or with part of a head; at its deadline 408
    BUSY = "busy"  # a worker has it, or it waits for one
    BODY = "body"  # its worker waits for bytes of the request's body; at its deadline 408
    WRITE = "write"  # its worker waits for the client to take bytes; at its deadline cut off
    FLUSH = "flush"  # parked: the application has ended, the client has not taken all; at its deadline cut off
    HIJACKED = "hijacked"  # the application has the socket
    LINGER = "linger"  # the last response is sent and our side shut; what still comes is thrown away
    CLOSED = "closed"


class Body(Enum):
    """How far the request's body has come."""

    ENDED = "ended"  # all read, or there is none
    EXPECTED = "expected"  # the client waits for 100 Continue (RFC 9110 §10.1.1)
    WITHHELD = "withheld"  # it waited, and has got the response instead: it may send the body now, or may not
    OPEN = "open"  # on its way
    TAKEN = "taken"  # the application has the socket, and with it what is left of the body


# Looking a member up in its Enum costs as much as a comparison of two; these are compared for every request.
_BUSY, _CLOSED, _ENDED = Phase.BUSY, Phase.CLOSED, Body.ENDED


class Host(Protocol):
    """What a wire needs of its server."""

    hub: Hub
    body_timeout: float
    write_timeout: float
    tails: int  # bytes that are left to send after their applications have ended


class Wire(PoolJob):
    """Socket, received bytes and request of one connection: the I/O part of wsgi.transport.Transport."""

    __slots__ = ("_body", "_descriptor", "_drained", "_inbound", "_tail", "_unread", "deadline", "phase", "socket")

    host: Any  # a Host, and what connection.py wants of it besides
    socket: Any  # a _socket.socket, or what stands for it once it is given away
    request: RequestHead | None
    phase: Phase
    deadline: float
    _inbound: Inbound
    _descriptor: Descriptor
    _body: Body
    _drained: bool  # the last receive took all that there was
    _unread: int  # bytes of a body of known length that have not been read
    _tail: Tail | None  # of the response, when the client has not taken it

    @property
    def request_line(self) -> str:
        """The request in progress, or the last one, for messages."""
        request = self.request
        return f"{request.method} {request.target} HTTP/{request.http_version}" if request else "no request"

    @property
    def trailing_data(self) -> bytes:
        """What was received and not consumed."""
        return self._inbound.trailing_data

    # -- to the client

    def send(self, data: bytes) -> None:
        """Send all of `data`, waiting for the client at most write_timeout seconds at a time."""
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise _gone(error) from None
        if sent != len(data):
            self._send_rest(memoryview(data)[sent:])
        self.give_way()

    def finish(self, data: bytes) -> None:
        """Send the end of a response. What the client does not take at once is left to the time after the
        application.
        """
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise _gone(error) from None
        if sent != len(data):
            self._leave(memoryview(data)[sent:])

    def finish_large(self, head: bytes, body: bytes) -> None:
        """`finish` a whole response whose body is not worth a copy."""
        view = memoryview(body)
        try:
            sent = self.socket.sendmsg((head, view[:SEND_SIZE]))
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise _gone(error) from None
        if sent < len(head):
            self.send(head[sent:])
            sent = len(head)
        if sent != len(head) + len(body):
            self._leave(view[sent - len(head) :])

    def finish_file(self, fd: int, offset: int, count: int) -> None:
        """`finish` with a regular file, by sendfile(2): from the file to the socket within the kernel."""
        if self.phase is Phase.HIJACKED:  # as all of HTTP's answer then: there is no descriptor to send it to
            return
        tail = FileTail(fd, offset, count)
        while tail.left:
            try:
                tail.send(self.socket)
            except BlockingIOError:
                try:
                    tail.keep()
                except OSError:  # out of descriptors: then this worker waits
                    self._wait(Phase.WRITE, self.host.write_timeout)
                    continue
                self._tail = tail
                return
            except OSError as error:
                raise _gone(error) from None
            self.give_way()

    def _leave(self, rest: memoryview) -> None:
        host = self.host
        if host.tails + len(rest) > TAILS_LIMIT:  # workers are the bound on memory that remains
            self._send_rest(rest)
        else:
            host.tails += len(rest)
            self._tail = BytesTail(rest)

    def _send_rest(self, data: memoryview) -> None:
        sock = self.socket
        while data:
            try:
                data = data[sock.send(data[:SEND_SIZE]) :]
            except BlockingIOError:
                self._wait(Phase.WRITE, self.host.write_timeout)
            except OSError as error:
                raise _gone(error) from None
            self.give_way()

    # -- from the client

    def _receive(self, size: int) -> bool:
        """Take what has come. Returns whether there was anything, the end included. Raises ClientDisconnected."""
        try:
            data = self.socket.recv(size)
        except BlockingIOError:
            self._drained = True
            self._descriptor.hangup = False  # an urgent byte or the like: there was no end to read
            return False
        except OSError as error:
            raise _gone(error) from None
        self._drained = len(data) < size
        self._inbound.receive_data(data)
        return True

    def read_body(self) -> bytes:
        """The next piece of the request's body; b"" at its end. Raises ProtocolError, ClientDisconnected."""
        if self._body is _ENDED:
            return b""
        if self._body is Body.TAKEN:
            raise ClientDisconnected("the application has taken the connection, and with it the request's body")
        while True:
            self.give_way()  # at every event: there may be thousands in what has come
            event = self._inbound.next_event()
            if type(event) is Data:
                self._body = Body.OPEN
                self._unread -= len(event.payload)
                return event.payload
            if type(event) is EndOfMessage:
                self._body = _ENDED
                return b""
            if event is CLOSED:
                raise ClientDisconnected("the client closed the connection within the request's body")
            if self._body is Body.EXPECTED:
                self._body = Body.OPEN
                self.send(CONTINUE)
            while not self._receive(self._body_read_size()):
                self._wait(Phase.BODY, self.host.body_timeout)

    def _body_read_size(self) -> int:
        """How many bytes to ask for. For many, memory has to come from the kernel each time: so no more than are due;
        and one byte more, for a shorter answer says that nothing else has come.
        """
        due = self._unread  # of a chunked body nobody knows; that makes it negative
        return min(due + 1, BODY_READ) if due > 0 else BODY_READ

    def settle_body(self) -> bool:
        """The response begins: say whether what is left of the request's body can be skipped.

        Not when the client waits for 100 Continue: it may send the body after the final response, or may not. From
        now on it gets no 100 any more, which would be taken for a part of the response.
        """
        if self._body is Body.EXPECTED:
            self._body = Body.WITHHELD
        return self._body is _ENDED or (self._body is Body.OPEN and self._unread <= SKIP_LIMIT)

    def _skip_body(self) -> bool:
        """Skip what the application left of the body. Returns whether its end was found."""
        if self._body is not Body.OPEN:
            return self._body is _ENDED
        left = SKIP_LIMIT
        try:
            while left >= 0:
                piece = self.read_body()
                if not piece:
                    return True
                left -= len(piece)
        except ProtocolError as error:  # the response is out: all that is left to do is to hang up
            logger.info("%s: after the response: %s", self.request_line, error)
        return False

    # -- waiting

    def _wait(self, phase: Phase, timeout: float) -> None:
        """Park this worker until the socket is ready again; the sweep sees to the deadline."""
        if self.phase is _CLOSED:
            raise ClientDisconnected("the connection is closed")
        host = self.host
        self.phase = phase
        self.deadline = host.hub.clock() + timeout
        try:
            if phase is Phase.WRITE:
                host.hub.wait_write(self._descriptor)
            else:
                host.hub.wait_read(self._descriptor)
        finally:
            if self.phase is phase:
                self.phase = _BUSY
            self.deadline = NEVER

    def give_way(self) -> None:
        """Let others run when this turn is over."""
        hub = self.host.hub
        if hub.turn_is_over():
            worker = self.worker
            if worker is not None and getcurrent() is worker:  # an application may write in a green thread of its own
                hub.pause(worker)


def _gone(error: OSError) -> ClientDisconnected:
    return ClientDisconnected(f"the client went away: {error}")
