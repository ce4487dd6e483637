"""One connection's wire: what moves bytes between its socket and the request in progress, and waits where it must.

Invariants. Readiness is edge-triggered: a waiter has asked first and was told that there is nothing. Reading and
writing are two waits with a deadline each, which the host's sweep compares once a second: a request may read its body
in one green thread and write in another. A client as quick as we are never makes us wait: so a thread that moves much
gives way to others when the hub's look at its descriptors is due.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol

from greenlet import getcurrent

from greenserve.errors import ClientDisconnected
from greenserve.http.head import RequestHead
from greenserve.http.request import Inbound
from greenserve.hub.greenthread import call_in
from greenserve.hub.hub import Carrier, Descriptor, Hub
from greenserve.hub.native import get_ident
from greenserve.server.body import RequestBody
from greenserve.server.tail import SEND_SIZE, BytesTail, FileTail, Tail
from greenserve.server.workers import PoolJob

logger = logging.getLogger("greenserve.server")

TAILS_LIMIT = 64 << 20  # bytes that all clients together have still to take after their applications have ended
NEVER = float("inf")
# The open file may be made to block behind our back: by an application that finds the descriptor, by a child of its.
MSG_DONTWAIT = socket.MSG_DONTWAIT


class Phase(Enum):
    """What a connection is doing, and so what its deadline means. NEXT (in connection.py) says what may follow."""

    IDLE = "idle"  # parked between requests; at its deadline closed silently
    HEAD = "head"  # parked, new or with part of a head; at its deadline 408
    RUN = "run"  # a worker has it, or it waits for one; at its deadline the wait for the request's body ends with 408
    SKIP_BODY = "skip body"  # parked: the response has left, the request's body has not come; at its deadline LINGER
    TAKE_IN = "take in"  # parked: a chunked body comes before its application is called; at its deadline 408
    FLUSH = "flush"  # parked: the application has ended, the client has not taken all
    UPGRADED = "upgraded"  # the application has the socket
    LINGER = "linger"  # the last response is sent and our side shut; what still comes is thrown away
    CLOSED = "closed"

    __hash__ = object.__hash__  # Enum's own is Python code, and a phase is looked up with every request


class Host(Protocol):
    """What a wire needs of its server."""

    hub: Hub
    body_timeout: float
    body_min_rate: int
    write_timeout: float
    tails: int  # bytes that are left to send after their applications have ended


class Wire(PoolJob):
    """Socket and received bytes of one connection: the I/O part of wsgi.transport.Transport."""

    __slots__ = ("body", "deadline", "descriptor", "drained", "inbound", "phase", "socket", "tail", "write_deadline")

    host: Any  # a Host, and what connection.py wants of it besides
    socket: Any  # a _socket.socket, or what stands for it once it is given away
    request: RequestHead | None
    phase: Phase
    deadline: float  # of the phase; in RUN, of the wait for the request's body
    write_deadline: float  # of the wait for the client to take bytes; then it is cut off
    inbound: Inbound
    descriptor: Descriptor
    drained: bool  # the last receive took all that there was
    body: RequestBody | None  # of the request in progress, if it has one
    tail: Tail | None  # of the response, when the client has not taken it

    @property
    def request_line(self) -> str:
        """The request in progress, or the last one, for messages."""
        request = self.request
        return f"{request.method} {request.target} HTTP/{request.http_version}" if request else "no request"

    @property
    def trailing_data(self) -> bytes:
        """What was received and not consumed."""
        return self.inbound.trailing_data

    # -- to the client

    def send(self, data: bytes) -> None:
        """Send all of `data`, waiting for the client at most write_timeout seconds at a time."""
        try:
            sent = self.socket.send(data, MSG_DONTWAIT)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise gone(error) from None
        if sent != len(data):
            self._send_rest(memoryview(data)[sent:])
        self.give_way()

    def finish(self, data: bytes) -> None:
        """Send the end of a response. What the client does not take at once the hub sends, whatever the application
        does meanwhile.
        """
        try:
            sent = self.socket.send(data, MSG_DONTWAIT)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise gone(error) from None
        if sent != len(data):
            self._leave_bytes(memoryview(data)[sent:])

    def finish_large(self, head: bytes, body: bytes) -> None:
        """`finish` a whole response whose body is not worth a copy."""
        view = memoryview(body)
        try:
            sent = self.socket.sendmsg((head, view[:SEND_SIZE]), (), MSG_DONTWAIT)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise gone(error) from None
        if sent < len(head):
            self.send(head[sent:])
            sent = len(head)
        if sent != len(head) + len(body):
            self._leave_bytes(view[sent - len(head) :])

    def finish_file(self, fd: int, offset: int, count: int) -> None:
        """`finish` with a regular file, by sendfile(2): from the file to the socket within the kernel."""
        if self.phase is Phase.UPGRADED:  # as all of HTTP's answer then: there is no descriptor to send it to
            return
        tail = FileTail(self, fd, offset, count)
        try:
            while tail.left:
                try:
                    tail.send(self.socket)
                except BlockingIOError:
                    if self._leave_file(tail):
                        return
                except OSError as error:
                    raise gone(error) from None
                self.give_way()
        except BaseException as error:
            if tail.left:
                self._interrupted(error)
            raise

    def _leave_file(self, tail: FileTail) -> bool:
        """Leave the rest to the hub. Returns False when the client takes more: we had to wait for it."""
        try:
            tail.keep()
        except OSError:  # out of descriptors: then this worker waits
            self._wait_write()
            return False
        self._leave(tail)
        return True

    def _leave_bytes(self, rest: memoryview) -> None:
        host = self.host
        if host.tails + len(rest) > TAILS_LIMIT:  # workers are the bound on memory that remains
            self._send_rest(rest)
        else:
            self._leave(BytesTail(self, rest))

    def _leave(self, tail: Tail) -> None:
        """Leave the end of the response to the hub, which begins at once."""
        hub = self.host.hub
        self.host.tails += tail.held
        self.tail = tail
        self.write_deadline = hub.clock() + self.host.write_timeout
        hub.ready.append(tail)
        if hub.sleeping:  # the application writes in another OS thread
            hub.wakeup.wake()

    def _send_rest(self, data: memoryview) -> None:
        sock = self.socket
        try:
            while data:
                try:
                    data = data[sock.send(data[:SEND_SIZE], MSG_DONTWAIT) :]
                except BlockingIOError:
                    self._wait_write()
                except OSError as error:
                    raise gone(error) from None
                self.give_way()
        except BaseException as error:
            if data:
                self._interrupted(error)
            raise

    def _interrupted(self, error: BaseException) -> None:
        """Only a part of what was to be sent is: a Timeout of the application's has come, say."""
        if not isinstance(error, ClientDisconnected):
            self.cut_short()

    def flush(self) -> None:
        """In the hub: send what the client takes of the tail."""
        raise NotImplementedError

    # -- from the client

    def receive(self, size: int) -> int:
        """Take what has come. Returns how many bytes, 0 for the end, -1 for nothing. Raises ClientDisconnected."""
        try:
            data = self.socket.recv(size, MSG_DONTWAIT)
        except BlockingIOError:
            self.drained = True
            self.descriptor.hangup = False  # an urgent byte or the like: there was no end to read
            return -1
        except OSError as error:
            raise gone(error) from None
        self.drained = len(data) < size
        self.inbound.receive_data(data)
        return len(data)

    def settle_body(self) -> bool:
        """The response begins: say whether what is left of the request's body can be skipped."""
        return self.body is None or self.body.settle()

    # -- waiting

    def wait_read(self, timeout: float) -> None:
        """Park until the socket is readable again. At the deadline the sweep raises RequestTimeout."""
        hub = self.host.hub
        if get_ident() != hub.thread_id:
            call_in(hub, self._ask_again, self.wait_read, timeout)
            return
        self._refuse_closed()
        self.deadline = hub.clock() + timeout
        try:
            hub.wait_read(self.descriptor)
        except OSError as error:
            raise gone(error) from None
        finally:
            self.deadline = NEVER

    def _wait_write(self) -> None:
        """Park until the client takes bytes again. At the deadline the sweep raises ClientDisconnected."""
        hub = self.host.hub
        if get_ident() != hub.thread_id:
            call_in(hub, self._ask_again, self._wait_write)
            return
        self._refuse_closed()
        self.write_deadline = hub.clock() + self.host.write_timeout
        try:
            hub.wait_write(self.descriptor)
        except OSError as error:
            raise gone(error) from None
        finally:
            self.write_deadline = NEVER

    def cut_short(self) -> None:
        """Nothing may follow what was sent."""
        raise NotImplementedError

    def _ask_again(self, wait: Callable[..., None], *args: float) -> None:
        """Wait for an application in another OS thread. What has happened since it asked had no waiter."""
        self._refuse_closed()
        self.host.hub.poller.rearm(self.descriptor.fd)
        wait(*args)

    def _refuse_closed(self) -> None:
        if self.phase is Phase.CLOSED:
            raise ClientDisconnected("the connection is closed")

    def give_way(self) -> None:
        """Let others run when this turn is over."""
        hub = self.host.hub
        if hub.turn_is_over():
            greenlet = getcurrent()  # a worker, or a green thread of the application's
            if isinstance(greenlet, Carrier) and greenlet.hub is hub:
                hub.pause(greenlet)


def gone(error: OSError) -> ClientDisconnected:
    """What an error of the client's socket means."""
    return error if isinstance(error, ClientDisconnected) else ClientDisconnected(f"the client went away: {error}")
