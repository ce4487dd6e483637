"""One connection: the only place where a protocol meets a socket.

Strategy. Between requests a connection is parked: this object, known to the poller, without a green thread. When bytes
arrive its host gives it a worker, which reads, parses, calls the application, sends, serves what is already buffered,
and parks the connection again. A head that is still incomplete parks it too: a slow sender costs no worker. Deadlines
are a number in the object, which the host's sweep compares once a second; a timer for each would cost more than the
request.

Laws. `Phase` says what a connection is doing; `close` is its one end. Readiness is edge-triggered: it parks only when
the last receive took all that there was, and the peer has not hung up.
"""

from __future__ import annotations

import _socket
import contextlib
import logging
import os
import socket
import struct
from collections.abc import Sequence
from enum import Enum
from typing import Any, Protocol

from greenlet import GreenletExit

from greenserve.errors import ClientDisconnected, InvalidResponse, ProtocolError, RequestTimeout
from greenserve.http.head import RequestHead
from greenserve.http.request import CLOSED, NEED_DATA, Data, EndOfMessage, Inbound
from greenserve.http.response import CONTINUE, error_response
from greenserve.hub.hub import Descriptor, Hub
from greenserve.hub.poller import READ
from greenserve.server.hijack import SURRENDERED, ConnectionSocket, Owner
from greenserve.server.workers import PoolJob, Workers
from greenserve.wsgi.environ import EnvironTemplate
from greenserve.wsgi.gateway import Application, Exchange, Stage
from greenserve.wsgi.input import EMPTY, Input

logger = logging.getLogger("greenserve.server")

HEAD_READ = 16384  # bytes: several times a browser's head, and malloc serves it without asking the kernel
BODY_READ = 262144  # bytes: fewer system calls for an upload
PIPELINE_BURST = 16  # requests served from the buffer before others have their turn
SKIP_LIMIT = 65536  # bytes of a body nobody read that are worth skipping to keep the connection
LINGER_SECONDS = 2.0  # RFC 9112 §9.6: read on after the last response, or a reset may destroy it on its way
LINGER_LIMIT = 1 << 20  # bytes thrown away at the most
NEVER = float("inf")
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close sends a reset


class Phase(Enum):
    """What a connection is doing, and so what its deadline means."""

    IDLE = "idle"  # parked between requests; at its deadline closed silently
    HEAD = "head"  # parked, new or with part of a head; at its deadline 408
    BUSY = "busy"  # a worker has it, or it waits for one
    BODY = "body"  # its worker waits for bytes of the request's body; at its deadline 408
    WRITE = "write"  # its worker waits for the client to take bytes; at its deadline cut off
    HIJACKED = "hijacked"  # the application has the socket
    LINGER = "linger"  # the last response is sent and our side shut; what still comes is thrown away
    CLOSED = "closed"


# Looking a member up in its Enum costs as much as a comparison of two; these are compared for every request.
_IDLE, _HEAD, _BUSY, _LINGER, _CLOSED = Phase.IDLE, Phase.HEAD, Phase.BUSY, Phase.LINGER, Phase.CLOSED
_HIJACKED = Phase.HIJACKED


class Body(Enum):
    """How far the request's body has come."""

    ENDED = "ended"  # all read, or there is none
    EXPECTED = "expected"  # the client waits for 100 Continue (RFC 9110 §10.1.1)
    OPEN = "open"  # on its way


_ENDED = Body.ENDED


class Host(Protocol):
    """What a connection needs of its server."""

    hub: Hub
    application: Application
    date: bytes
    draining: bool
    now: float  # of the hub's clock, at the last sweep: fine enough for who is idle for a minute
    header_timeout: float
    body_timeout: float
    keepalive_timeout: float
    write_timeout: float
    access_log: Any
    workers: Workers

    def forget(self, connection: Connection) -> None:
        """It is closed."""


class Connection(PoolJob):
    """A client's connection; also the job that a worker runs, and the call that the hub makes when it becomes
    readable.
    """

    __slots__ = (
        "_body",
        "_descriptor",
        "_drained",
        "_inbound",
        "_proxy",
        "_unread",
        "deadline",
        "host",
        "keep_alive",
        "owner",
        "peer_address",
        "peer_port",
        "phase",
        "request",
        "socket",
        "template",
    )

    def __init__(
        self, host: Host, sock: _socket.socket, peer: tuple[str, str], template: EnvironTemplate, inbound: Inbound
    ) -> None:
        self.host = host
        self.socket: Any = sock  # a _socket.socket, or what stands for it once it is given away
        self.worker = None
        self.detached = False
        self._proxy: ConnectionSocket | None = None
        self.owner: Owner | None = None
        self.peer_address, self.peer_port = peer
        self.template = template
        self.request: RequestHead | None = None
        self.keep_alive = True
        self.phase = _HEAD
        self.deadline = host.hub.clock() + host.header_timeout
        self._body = _ENDED
        self._unread = 0  # bytes of a body of known length that have not been read
        self._drained = True  # the last receive took all that there was
        self._inbound = inbound
        self._descriptor: Descriptor = host.hub.register(sock.fileno())
        self._descriptor.reader = self

    def __repr__(self) -> str:
        return f"<Connection from {self.peer} ({self.phase.value}): {self.request_line}>"

    @property
    def peer(self) -> str:
        """Who the client is, for messages."""
        return f"{self.peer_address}:{self.peer_port}" if self.peer_address else "a Unix socket's client"

    @property
    def request_line(self) -> str:
        """The request in progress, or the last one, for messages."""
        request = self.request
        return f"{request.method} {request.target} HTTP/{request.http_version}" if request else "no request"

    # -- called in the hub's greenlet

    def begin(self) -> bool:
        """There is something to read. Returns whether a worker is needed for it."""
        phase = self.phase
        if phase is _IDLE:
            self.deadline = NEVER  # from here on it is the head's time that counts
        elif phase is _LINGER:
            self._discard()
            return False
        elif phase is _CLOSED:
            return False
        self.phase = _BUSY
        return True

    def switch(self) -> None:
        """What the hub does with a ready connection."""
        if self.begin():
            self.host.workers.admit(self)

    def expire(self) -> None:
        """The deadline has passed; called by the host's sweep."""
        phase = self.phase
        self.deadline = NEVER
        if phase is _HEAD and not self._inbound.idle:
            with contextlib.suppress(OSError):  # one send, and no waiting: this client may not even read
                self.socket.send(error_response(408, "the request head did not come in time"))
            self.close()
        elif phase in (Phase.IDLE, Phase.HEAD, Phase.LINGER):
            self.close()
        elif phase is Phase.BODY:
            self._interrupt(self._descriptor.reader, RequestTimeout("the request body did not come in time"))
        elif phase is Phase.WRITE:
            self._interrupt(self._descriptor.writer, ClientDisconnected("the client took no bytes in time"))

    def drain(self) -> None:
        """The server is stopping: close when idle; a request in progress will be the last."""
        self.keep_alive = False
        if self.owner is not None:
            self.owner.drain()
        elif self.phase is _IDLE or (self.phase is _HEAD and self._inbound.idle):
            self.close()

    def _interrupt(self, waiter: Any, error: BaseException) -> None:
        if waiter:
            self.host.hub.throw(waiter[0], error)

    # -- called in a worker

    def run(self) -> None:
        """Serve what has come, then park or close: a worker's whole job."""
        try:
            self._serve()
        except (ClientDisconnected, GreenletExit):
            self.close()
        except OSError as error:
            logger.info("the connection from %s failed: %s", self.peer, error)
            self.close()
        except KeyboardInterrupt as error:
            self.close()
            self.host.hub.throw_into_main(error)
        except Exception:
            logger.exception("a defect of greenserve ended the connection from %s", self.peer)
            self.close()

    def _serve(self) -> None:
        inbound = self._inbound
        self._receive(HEAD_READ)
        served = 0
        while True:
            try:
                event = inbound.next_event()
            except ProtocolError as error:
                self._refuse(error)
                return
            if type(event) is RequestHead:
                if not self._handle(event):
                    return
                if inbound.idle and self._drained and not self._descriptor.hangup:
                    self._park()
                    return
                served += 1
                if served == PIPELINE_BURST:
                    self.host.hub.ready.append(self)  # others first; `switch` brings us back
                    return
            elif event is NEED_DATA:
                if self._drained and not self._descriptor.hangup:
                    self._park()
                    return
                self._receive(HEAD_READ)
            else:
                assert event is CLOSED
                self.close()
                return

    def _receive(self, size: int) -> bool:
        """Take what has come. Returns whether there was anything, the peer's end included."""
        try:
            data = self.socket.recv(size)
        except BlockingIOError:
            self._drained = True
            self._descriptor.hangup = False  # an urgent byte or the like: there was no end to read
            return False
        self._drained = len(data) < size
        self._inbound.receive_data(data)
        return True

    def _park(self) -> None:
        host = self.host
        if not self._inbound.idle:
            if self.deadline == NEVER:  # the first bytes of a head: from here it counts, and bytes do not prolong it
                self.deadline = host.hub.clock() + host.header_timeout
            self.phase = _HEAD
        elif host.draining:
            self.close()
            return
        else:
            self.phase = _IDLE
            self.deadline = host.now + host.keepalive_timeout
        self._descriptor.reader = self
        host.hub.poller.arm(self._descriptor.fd, READ)

    def _handle(self, request: RequestHead) -> bool:
        """Serve one request. Returns whether another may follow on this connection."""
        host = self.host
        self.request = request
        self.deadline = NEVER
        self.keep_alive = request.keep_alive and not host.draining
        exchange = Exchange(self, request)
        body = EMPTY
        if request.content_length or request.chunked:
            self._unread = request.content_length
            self._body = Body.EXPECTED if request.fields.expect_continue else Body.OPEN
            body = Input(self)
        environ = self.template.build(request, self.peer_address, self.peer_port, body)
        proxy = self._proxy
        if proxy is None:
            proxy = self._proxy = ConnectionSocket(self)
        environ["greenserve.socket"] = environ["gunicorn.socket"] = environ["eventlet.input"] = proxy
        if host.access_log is None:
            self._answer(exchange, environ)
        else:
            started = host.hub.clock()
            self._answer(exchange, environ)
            host.access_log.write(self, exchange, host.hub.clock() - started)
        if self.phase is _CLOSED:
            return False
        if self.phase is _HIJACKED:
            self.close()
            return False
        if self.keep_alive and (self._body is _ENDED or self._skip_body()):
            return True  # and `_body` is ENDED again
        self._end()
        return False

    def _answer(self, exchange: Exchange, environ: dict[str, Any]) -> None:
        try:
            exchange.run(self.host.application, environ)
        except (ConnectionError, StopIteration) as error:
            if self.phase is _HIJACKED:
                return  # how a WebSocket's handler ends, with one library or the other
            if not isinstance(error, ClientDisconnected):
                self._log_failure()
                self._fail(exchange, 500, "the application failed; the server's log says why")
                return
            logger.info("%s: %s", self.request_line, error)
            self.close()
        # the peer's mistake, in the body or the handshake, come up through the application
        except ProtocolError as error:
            self._fail(exchange, error.status, str(error), error.headers)
        except InvalidResponse as error:
            if self.phase is _HIJACKED:
                return  # no response was due
            logger.error("%s: the application's response breaks the rules: %s", self.request_line, error)
            self._fail(exchange, 500, "the application's response breaks the rules; the server's log says which")
        except (GreenletExit, KeyboardInterrupt):
            self._abort()
            raise
        except BaseException:  # a request must not be able to stop the server: SystemExit is an error like any other
            self._log_failure()
            self._fail(exchange, 500, "the application failed; the server's log says why")

    def _log_failure(self) -> None:
        logger.exception("%s: the application raised an error", self.request_line)

    def _fail(self, exchange: Exchange, status: int, why: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        """An error page where nothing has been sent yet; else cut off, lest the client take a part for the whole."""
        if exchange.stage is Stage.DONE or self.phase is _CLOSED or self.phase is _HIJACKED:
            return
        if exchange.stage is Stage.BODY:
            self._abort()
            return
        self.keep_alive = False
        method = self.request.method if self.request else "GET"
        answer = error_response(status, why, method=method, date=self.host.date, headers=headers)
        exchange.status, exchange.stage = answer[9:].partition(b"\r\n")[0].decode("latin-1"), Stage.DONE
        try:
            self.send(answer)
        except ClientDisconnected:
            self.close()

    def _refuse(self, error: ProtocolError) -> None:
        """The head was wrong: say so and hang up, since nobody knows where the next message would begin."""
        logger.info("refused a request from %s with %d: %s", self.peer, error.status, error)
        if self.host.access_log is not None:
            self.host.access_log.write_refusal(self, error.status)
        self.keep_alive = False
        self.send(error_response(error.status, str(error), date=self.host.date))
        self._linger()

    # -- what the WSGI layer asks for (wsgi.transport.Transport)

    def send(self, data: bytes) -> None:
        """Send all of `data`, waiting for the client at most write_timeout seconds at a time."""
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise ClientDisconnected(f"the client went away: {error}") from None
        if sent != len(data):
            self._send_rest(memoryview(data)[sent:])

    def _send_rest(self, data: memoryview) -> None:
        sock = self.socket
        while data:
            self._wait(Phase.WRITE, self.host.write_timeout)
            try:
                data = data[sock.send(data) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise ClientDisconnected(f"the client went away: {error}") from None

    def send_file(self, fd: int, offset: int, count: int) -> None:
        """sendfile(2): from the file to the socket within the kernel."""
        target = self.socket.fileno()
        while count:
            try:
                sent = os.sendfile(target, fd, offset, count)
            except BlockingIOError:
                self._wait(Phase.WRITE, self.host.write_timeout)
                continue
            except OSError as error:
                raise ClientDisconnected(f"the client went away: {error}") from None
            if not sent:
                raise InvalidResponse(f"the file was cut short while it was sent: {count} bytes are missing")
            offset += sent
            count -= sent

    def read_body(self) -> bytes:
        """The next piece of the request's body; b"" at its end."""
        if self._body is _ENDED:
            return b""
        while True:
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
            while not self._receive(BODY_READ):
                self._wait(Phase.BODY, self.host.body_timeout)

    def body_is_settled(self) -> bool:
        """Whether what is left of the body can be skipped.

        Not when the client waits for 100 Continue: it may send the body after the final response, or may not.
        """
        return self._body is _ENDED or (self._body is Body.OPEN and self._unread <= SKIP_LIMIT)

    def _skip_body(self) -> bool:
        """Skip what the application left of the body. Returns whether its end was found."""
        if self._body is Body.EXPECTED:
            return False
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

    # -- giving it away

    def surrender(self) -> tuple[int, bytes]:
        """Leave the socket to somebody else, until the application returns; see hijack.py. Who that is becomes `owner`.

        Returns the descriptor, and what was received and not consumed. Raises ClientDisconnected when it is closed.
        """
        if self.phase is _CLOSED or self.phase is _HIJACKED:
            raise ClientDisconnected("the connection is closed, or was given away before")
        self.phase = _HIJACKED
        self.keep_alive = False
        self.host.workers.detach(self)
        self.host.hub.unregister(self._descriptor)
        fd = self.socket.detach()
        self.socket = SURRENDERED
        return fd, self._inbound.trailing_data

    # -- the end

    def _end(self) -> None:
        """After the last response: close, by way of `_linger` when the client may still be sending."""
        if self._body is not _ENDED or self._inbound.trailing_data or not self._drained:
            self._linger()
        else:
            self.close()

    def _linger(self) -> None:
        """Shut our side, and throw away what comes until the client closes its own, for a while."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()
            return
        self.phase = _LINGER
        self.deadline = self.host.hub.clock() + LINGER_SECONDS
        self._unread = LINGER_LIMIT
        self._discard()

    def _discard(self) -> None:
        while self._unread > 0:
            try:
                data = self.socket.recv(HEAD_READ)
            except BlockingIOError:
                self._descriptor.reader = self
                self.host.hub.poller.arm(self._descriptor.fd, READ)
                return
            except OSError:
                break
            if not data:
                break
            self._unread -= len(data)
        self.close()

    def _abort(self) -> None:
        """Close with a reset: an orderly end would pass for the end of the response."""
        if self.phase is not _CLOSED:
            with contextlib.suppress(OSError):
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            self.close()

    def close(self) -> None:
        """The one end: mark closed, wake the waiters, close the descriptor. Harmless when it is closed."""
        if self.phase is _CLOSED:
            return
        self.phase = _CLOSED
        self.keep_alive = False
        self.deadline = NEVER
        owner, self.owner, self._proxy = self.owner, None, None
        if owner is not None:
            owner.close()
        else:
            self.host.hub.unregister(self._descriptor)
            self.socket.close()
        self.host.forget(self)
