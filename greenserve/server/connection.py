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
import socket
import struct
from collections.abc import Sequence
from enum import Enum
from typing import Any, Protocol

from greenlet import GreenletExit

from greenserve.errors import BadRequest, ClientDisconnected, InvalidResponse, ProtocolError, RequestTimeout
from greenserve.http.head import RequestHead
from greenserve.http.request import CLOSED, Inbound
from greenserve.http.response import error_response
from greenserve.hub.poller import READ, WRITE
from greenserve.server import wire
from greenserve.server.hijack import SURRENDERED, ConnectionSocket, Owner
from greenserve.server.wire import NEVER, Body, Phase, Wire
from greenserve.server.workers import Workers
from greenserve.wsgi.environ import EnvironTemplate
from greenserve.wsgi.gateway import Application, Exchange, Stage
from greenserve.wsgi.input import EMPTY, Input

logger = logging.getLogger("greenserve.server")

HEAD_READ = 16384  # bytes: several times a browser's head, and malloc serves it without asking the kernel
PIPELINE_BURST = 16  # requests served from the buffer before others have their turn
FLUSH_BURST = 4  # pieces of a tail sent before others have their turn
LINGER_SECONDS = 2.0  # RFC 9112 §9.6: read on after the last response, or a reset may destroy it on its way
LINGER_LIMIT = 1 << 20  # bytes thrown away at the most
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close sends a reset
CLIENT_CLOSED = "499"  # in the access log: the client left before it was answered. nginx's number; it is never sent


class Entry(Enum):
    """Where a worker goes on with a connection."""

    RECEIVE = "something has come"
    BUFFERED = "requests are in the buffer"
    FLUSHED = "the client has taken the tail of a response: its request is to be completed"


# Looking a member up in its Enum costs as much as a comparison of two; these are compared for every request.
_IDLE, _HEAD, _BUSY, _FLUSH = Phase.IDLE, Phase.HEAD, Phase.BUSY, Phase.FLUSH
_HIJACKED, _LINGER, _CLOSED = Phase.HIJACKED, Phase.LINGER, Phase.CLOSED
_ENDED, _RECEIVE = Body.ENDED, Entry.RECEIVE


class Host(wire.Host, Protocol):
    """What a connection needs of its server."""

    application: Application
    upgradable: Application  # the same for requests that ask for an upgrade
    date: bytes
    draining: bool
    each_is_last: bool  # no request is followed by another one on its connection
    restarting: bool
    now: float  # of the hub's clock, at the last sweep: fine enough for who is idle for a minute
    header_timeout: float
    keepalive_timeout: float
    access_log: Any
    workers: Workers

    def forget(self, connection: Connection) -> None:
        """It is closed."""


class Connection(Wire):
    """A client's connection; also the job that a worker runs, and the call that the hub makes when it becomes
    readable, or writable in FLUSH.
    """

    __slots__ = (
        "_entry",
        "_proxy",
        "host",
        "keep_alive",
        "owner",
        "peer_address",
        "peer_port",
        "request",
        "template",
    )

    def __init__(
        self, host: Host, sock: _socket.socket, peer: tuple[str, str], template: EnvironTemplate, inbound: Inbound
    ) -> None:
        self.host = host
        self.socket = sock
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
        self._entry = _RECEIVE
        self._tail = None
        self._unread = 0
        self._drained = True
        self._inbound = inbound
        self._descriptor = host.hub.register(sock.fileno())
        self._descriptor.reader = self

    def __repr__(self) -> str:
        return f"<Connection from {self.peer} ({self.phase.value}): {self.request_line}>"

    @property
    def peer(self) -> str:
        """Who the client is, for messages."""
        return f"{self.peer_address}:{self.peer_port}" if self.peer_address else "a Unix socket's client"

    # -- called in the hub's greenlet

    def begin(self) -> bool:
        """There is something to read, or room to write. Returns whether a worker is needed for it."""
        phase = self.phase
        if phase is _IDLE:
            self.deadline = NEVER  # from here on it is the head's time that counts
        elif phase is _LINGER:
            self._discard()
            return False
        elif phase is _FLUSH:
            if not self._flush():
                return False
            self._entry = Entry.FLUSHED
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
            self._refuse_slow_head()
        elif phase is _IDLE or phase is _HEAD:
            self.retire()
        elif phase is _LINGER:
            self.close()
        elif phase is Phase.BODY:
            self._interrupt(self._descriptor.reader, RequestTimeout("the request body did not come in time"))
        elif phase is Phase.WRITE:
            self._interrupt(self._descriptor.writer, ClientDisconnected(_TAKES_NOTHING))
        elif phase is _FLUSH:
            logger.info("%s: %s", self.request_line, _TAKES_NOTHING)
            self._abort()

    def drain(self) -> None:
        """The server is stopping: close when idle; a request in progress will be the last."""
        self.keep_alive = False
        if self.owner is not None:
            self.owner.drain(restarting=self.host.restarting)
        elif self.phase is _IDLE or (self.phase is _HEAD and self._inbound.idle):
            self.retire()

    def retire(self) -> None:
        """Close an idle connection; but a request that is here already, and only not looked at, is served."""
        try:
            waiting = self.socket.recv(1, socket.MSG_PEEK)
        except OSError:
            waiting = b""
        if not waiting:
            self.close()

    def _refuse_slow_head(self) -> None:
        self._log_refusal(408)
        with contextlib.suppress(OSError):  # one send, and no waiting: this client may not even read
            self.socket.send(error_response(408, "the request head did not come in time", date=self.host.date))
        self._linger()

    def _flush(self) -> bool:
        """Send what the client takes of the tail now. Returns whether that was all; if not, parks, or closes."""
        tail = self._tail
        assert tail is not None
        try:
            for _ in range(FLUSH_BURST):
                tail.send(self.socket)
                if not tail.left:
                    self._drop_tail()
                    return True
        except BlockingIOError:
            self.phase = _FLUSH
            self.deadline = self.host.hub.clock() + self.host.write_timeout
            self._descriptor.writer = self
            self.host.hub.poller.arm(self._descriptor.fd, WRITE)
        except OSError as error:
            logger.info("%s: the client went away: %s", self.request_line, error)
            self.close()
        except InvalidResponse as error:
            logger.error("%s: %s", self.request_line, error)
            self._abort()
        else:
            self.phase = _FLUSH
            self.host.hub.ready.append(self)  # others first
        return False

    def _drop_tail(self) -> None:
        """The tail is sent, or given up."""
        tail, self._tail = self._tail, None
        assert tail is not None
        self.host.tails -= tail.held
        tail.close()
        if tail.exchange is not None:
            tail.exchange.sent -= min(tail.left, tail.exchange.sent)
            self._log_access(tail.exchange, tail.started)

    def _interrupt(self, waiter: Any, error: BaseException) -> None:
        if waiter:
            self.host.hub.throw(waiter[0], error)

    # -- called in a worker

    def run(self) -> None:
        """Serve what has come, then park or close: a worker's whole job."""
        try:
            self._serve()
        except ProtocolError as error:
            self._refuse(error)
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
        inbound, hub = self._inbound, self.host.hub
        if self._entry is _RECEIVE:
            asked = hub.rounds
            self._receive(HEAD_READ)
        elif self._go_on():
            asked = -1
        else:
            return
        for _ in range(PIPELINE_BURST):
            event = inbound.next_event()
            if type(event) is RequestHead:
                if not self._handle(event):
                    return
                if not inbound.idle:
                    continue
            elif event is CLOSED:
                self.close()
                return
            # What has become readable while we were not parked is an event that nobody has heard: ask again.
            if not self._drained or self._descriptor.hangup or asked != hub.rounds:
                asked = hub.rounds
                if self._receive(HEAD_READ):
                    continue
            self._park()
            return
        self._entry = Entry.BUFFERED
        hub.ready.append(self)  # others first; `switch` brings us back

    def _go_on(self) -> bool:
        """Enter elsewhere than at RECEIVE. Returns whether another request may follow on this connection."""
        entry, self._entry = self._entry, _RECEIVE
        return entry is Entry.BUFFERED or self._complete()

    def _park(self) -> None:
        host = self.host
        if not self._inbound.idle:
            if self.deadline == NEVER:  # the first bytes of a head: from here it counts, and bytes do not prolong it
                self.deadline = host.hub.clock() + host.header_timeout
            self.phase = _HEAD
        elif host.draining:
            self.retire()
            if self.phase is _CLOSED:
                return
            self.phase = _HEAD  # and what waits there will be the last
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
        self.keep_alive = request.keep_alive and not host.each_is_last
        exchange = Exchange(self, request)
        body = EMPTY
        if request.content_length or request.chunked:
            self._unread = request.content_length
            self._body = Body.EXPECTED if request.fields.expect_continue else Body.OPEN
            body = Input(self, self.give_way)
        environ = self.template.build(request, self.peer_address, self.peer_port, body)
        proxy = self._proxy
        if proxy is None:
            proxy = self._proxy = ConnectionSocket(self)
        environ["greenserve.socket"] = environ["gunicorn.socket"] = environ["eventlet.input"] = proxy
        if host.access_log is None:
            self._answer(exchange, environ)
        else:
            self._answer_and_log(exchange, environ)
        if body is not EMPTY:
            self._end_body(body)
        if self._tail is not None and not self._flush():
            return False
        if self.keep_alive and self._body is _ENDED:  # so it is not closed
            return True
        return self._complete()

    def _complete(self) -> bool:
        """The response has left. Returns whether another request may follow on this connection."""
        if self.phase is _CLOSED:
            return False
        if self.phase is _HIJACKED:
            self._release(failed=False)
            return False
        if self.keep_alive and self._skip_body():
            return True  # and `_body` is ENDED
        self._end()
        return False

    def _end_body(self, body: Input) -> None:
        """The request is over: what the application still does with its body must not touch the next one."""
        body.release()
        if self._descriptor.reader is not None:  # a green thread of the application's waits for it
            self.close()

    def _answer_and_log(self, exchange: Exchange, environ: dict[str, Any]) -> None:
        started = self.host.hub.clock()
        try:
            self._answer(exchange, environ)
        finally:
            if self._tail is None:
                self._log_access(exchange, started)
            else:
                self._tail.exchange, self._tail.started = exchange, started

    def _log_access(self, exchange: Exchange, started: float) -> None:
        if exchange.stage is Stage.NOTHING or exchange.stage is Stage.HEAD_KNOWN:
            exchange.status = CLIENT_CLOSED
        answer = exchange if self.owner is None else self.owner
        self.host.access_log.write(self, answer, self.host.hub.clock() - started)

    def _log_refusal(self, status: int) -> None:
        if self.host.access_log is not None:
            self.host.access_log.write_refusal(self, status)

    def _answer(self, exchange: Exchange, environ: dict[str, Any]) -> None:
        host = self.host
        upgrade = self.request.fields.upgrade  # type: ignore[union-attr]  # there is a request
        try:
            exchange.run(host.upgradable if upgrade else host.application, environ)
        except (GreenletExit, KeyboardInterrupt):
            self._abort()
            raise
        except BaseException as error:  # a request must not be able to stop the server: SystemExit is an error like any
            if self.phase is _HIJACKED:
                self._fail_hijacked(error)
            else:
                self._answer_error(exchange, error)

    def _answer_error(self, exchange: Exchange, error: BaseException) -> None:
        """Answer what came up through the application; the peer's mistakes, in its body or the handshake, do too."""
        if isinstance(error, ClientDisconnected):
            logger.info("%s: %s", self.request_line, error)
            if isinstance(error, ProtocolError):  # it has closed its sending side only, perhaps
                self._fail(exchange, error.status, str(error))
            else:
                self._abort()
        elif isinstance(error, ProtocolError):
            self._fail(exchange, error.status, str(error), error.headers)
        elif isinstance(error, InvalidResponse):
            logger.error("%s: the application's response breaks the rules: %s", self.request_line, error)
            self._fail(exchange, 500, _BREAKS_THE_RULES)
        else:
            self._log_failure()
            self._fail(exchange, 500, "the application failed; the server's log says why")

    def _fail_hijacked(self, error: BaseException) -> None:
        """What ended an application that has the socket: no response was due, and a client may leave."""
        if isinstance(error, InvalidResponse) or self.owner is None or self.owner.is_end(error):
            return
        self._log_failure()
        self._release(failed=True)

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
        try:
            answer = error_response(status, why, method=method, date=self.host.date, headers=headers)
        except InvalidResponse as error:
            logger.error("%s: the application's refusal breaks the rules: %s", self.request_line, error)
            answer = error_response(500, _BREAKS_THE_RULES, method=method, date=self.host.date)
        exchange.status, exchange.stage = answer[9:].partition(b"\r\n")[0].decode("latin-1"), Stage.DONE
        try:
            self.send(answer)
        except ClientDisconnected:
            self.close()

    def _refuse(self, error: ProtocolError) -> None:
        """The head was wrong: say so and hang up, since nobody knows where the next message would begin."""
        logger.info("refused a request from %s with %d: %s", self.peer, error.status, error)
        self._log_refusal(error.status)
        self.keep_alive = False
        try:
            self.send(error_response(error.status, str(error), date=self.host.date))
        except (ClientDisconnected, GreenletExit):
            self.close()
        else:
            self._linger()

    # -- giving it away

    def surrender(self) -> tuple[_socket.socket, bytes]:
        """Leave the socket to somebody else, until the application returns; see hijack.py. Who that is becomes `owner`.

        Returns it, and what was received and not consumed. Raises ClientDisconnected when it is closed; BadRequest
        when an upgrade is asked for and the request's body has not been read.
        """
        if self.phase is _CLOSED or self.phase is _HIJACKED:
            raise ClientDisconnected("the connection is closed, or was given away before")
        if self.worker is None:
            raise ClientDisconnected("the request is over; its connection belongs to the next one")
        request = self.request
        assert request is not None
        # RFC 9110 §7.8: not before the request is complete, or the body would be read as the other protocol's bytes.
        if request.fields.upgrade and self._body is not _ENDED and (self._unread or request.chunked):
            raise BadRequest("the connection changes its protocol behind the request, and its body was not read")
        self.phase = _HIJACKED
        self.keep_alive = False
        self._body = Body.TAKEN
        self.host.workers.detach(self)
        self.host.hub.unregister(self._descriptor)
        sock, self.socket = self.socket, SURRENDERED
        return sock, self._inbound.trailing_data

    def take_back(self, sock: _socket.socket) -> None:
        """Close a surrendered socket, by way of `_linger`: the client's last bytes may still be on their way."""
        sock.setblocking(False)  # its owner may have had it otherwise
        self.socket = sock
        self.owner = self._proxy = None
        self._descriptor = self.host.hub.register(sock.fileno())
        self._linger()

    def _release(self, failed: bool) -> None:
        """The application has returned, and whoever has the socket should end."""
        if self.owner is not None:
            self.owner.finish(failed)
        if self.owner is not None:
            self.owner.when_closed(self._released)
        elif self.phase is _HIJACKED:  # nobody took it after all
            self.close()

    def _released(self, _: object) -> None:
        self.close()

    # -- the end

    def _end(self) -> None:
        """After the last response: close, by way of `_linger` when the client may still be sending."""
        promised = self.request is not None and not self.request.keep_alive  # that nothing would follow
        if self._body is not _ENDED or not promised or self._inbound.trailing_data or not self._drained:
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
        """Throw away what has come. The socket may be one that an application has made blocking; this never blocks."""
        hub = self.host.hub
        while self._unread > 0:
            try:
                data = self.socket.recv(HEAD_READ, socket.MSG_DONTWAIT)
            except BlockingIOError:
                self._descriptor.reader = self
                hub.poller.arm(self._descriptor.fd, READ)
                return
            except OSError:
                break
            if not data:
                break
            self._unread -= len(data)
            if hub.turn_is_over():
                hub.ready.append(self)  # others first
                return
        self.close()

    def _abort(self) -> None:
        """Close with a reset: an orderly end would pass for the end of the response."""
        if self.phase is not _CLOSED and self.phase is not _HIJACKED:
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
        if self._tail is not None:
            self._drop_tail()
        owner, self.owner, self._proxy = self.owner, None, None
        if owner is not None:
            owner.abort()
        else:
            self.host.hub.unregister(self._descriptor)
            self.socket.close()
        self.host.forget(self)


_BREAKS_THE_RULES = "the application's response breaks the rules; the server's log says which"
_TAKES_NOTHING = "the client took no bytes in time"
