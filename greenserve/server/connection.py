"""One connection: the only place where a protocol meets a socket.

Strategy. Between requests a connection is parked: this object, known to the poller, without a green thread. When bytes
arrive its worker gives it a green thread, which reads, parses, serves each request (cycle.py), and parks the connection
again. A head that is still incomplete parks it too, and so do a response that the client takes slowly, and a body that
the application has not read: a slow client costs no green thread. What ends a wait that its client does not end is in
deadlines.py, how a connection is given away in handover.py.

Invariants. `Phase` says what a connection is doing, NEXT what may follow; `close` is its one end. Readiness is
edge-triggered: it parks only when the last receive took all that there was, and the peer has not hung up. What belongs
to one request is in its cycle (cycle.py), which is here from the complete head until the response has left and the
body is read, and never here otherwise.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from greenlet import GreenletExit

from greenserve.errors import ClientDisconnected, InvalidResponse, ProtocolError
from greenserve.http.head import RequestHead
from greenserve.http.parser import CLOSED, NEED_DATA
from greenserve.net import lingering
from greenserve.net.green_socket import to_transport
from greenserve.net.listener import peer_name
from greenserve.net.tls import TlsSocket
from greenserve.net.transport import Transport
from greenserve.server import handover
from greenserve.server.access_format import Refusal
from greenserve.server.body import BodyState, Progress, RequestBody
from greenserve.server.cycle import RequestCycle
from greenserve.server.hijack import ConnectionSocket, Owner
from greenserve.server.phases import NEXT, Phase
from greenserve.server.pool import RETRY_LATER, PoolJob
from greenserve.server.stream import NEVER, Stream, gone
from greenserve.wsgi.environ import EnvironTemplate

logger = logging.getLogger("greenserve.server")

# bytes: a head and a body of 64 KiB, most forms and calls of an API. From 128 KiB on malloc asks the kernel each time.
HEAD_READ = 65536 + 4096

# Looking a member up in its Enum costs as much as a comparison of two; these are compared for every request.
_, _, _IDLE, _HEAD, _RUN, _SKIP_BODY, _TAKE_IN, _FLUSH, _UPGRADED, _LINGER, _CLOSED = Phase
_ENDED = BodyState.ENDED


class Connection(PoolJob):
    """A client's connection; also the pool's job, and the hub's call, when something has come."""

    __slots__ = (
        "_ask_first",
        "cycle",
        "deadline",
        "extra",
        "owner",
        "peer_address",
        "peer_port",
        "phase",
        "proxy",
        "requests",
        "stream",
        "template",
        "worker",
        "write_deadline",
    )

    cycle_class = RequestCycle
    low_water = 0  # a green thread that writes goes on when all of it has left

    def __init__(
        self,
        worker: Any,
        stream: Stream,
        peer: tuple[str, str],
        template: EnvironTemplate,
        extra: dict[str, Any] | None = None,
    ) -> None:
        self.worker = worker
        self.greenlet = None
        self.detached = False
        self.proxy: ConnectionSocket | None = None  # what its requests' applications find in their environs
        self.owner: Owner | None = None
        self.peer_address, self.peer_port = peer
        self.template = template
        self.extra = extra  # what the environ of each request has of this connection: TLS's part
        self.cycle: RequestCycle | None = None  # the request in progress
        self.requests = 0  # so far, where max_requests_per_connection says how many it may be
        self.phase = _HEAD
        self.deadline: float = worker.hub.clock() + worker.header_timeout  # of the phase; in RUN, for a body
        self.write_deadline = NEVER  # of the wait for the client to take bytes; then it is cut off
        self._ask_first = True  # the socket, before the buffer
        self.stream: Any = stream  # or what stands for it once it is given away
        stream.belong_to(self)

    def __repr__(self) -> str:
        return f"<Connection from {self.peer} ({self.phase.value}): {self.request_line}>"

    @property
    def peer(self) -> str:
        """The client's name, for messages."""
        peer = peer_name((self.peer_address, self.peer_port))
        client = self.client_address
        return peer if client == self.peer_address else f"{client or 'an unknown client'} by way of {peer}"

    @property
    def client_address(self) -> str:
        """That of the client whose request is in progress; the peer's, if there is none."""
        return self.peer_address if self.cycle is None else self.cycle.client_address

    @property
    def request_line(self) -> str:
        """The request in progress, for messages."""
        return self.cycle.request_line if self.cycle is not None else "no request"

    @property
    def request(self) -> RequestHead:
        """The head of the request in progress. Raises ClientDisconnected when there is none."""
        if self.cycle is None:
            raise ClientDisconnected("the request is over")
        return self.cycle.request

    def enter(self, phase: Phase, deadline: float = NEVER) -> None:
        """Go on to the next phase."""
        assert phase in NEXT[self.phase], f"{self.phase} is not followed by {phase}"
        self.phase = phase
        self.deadline = deadline

    # -- called in the hub's greenlet

    def begin(self) -> bool:
        """There is something to read, or this connection's turn has come. Returns whether it needs a green thread."""
        phase = self.phase
        if phase is _IDLE:  # so often that the call of `enter` would be felt
            self.phase = _RUN
            self.deadline = NEVER  # from here on it is the head's time that counts
            return True
        if phase is _RUN:  # it has given way
            return True
        if phase is _HEAD and self.stream.parser.idle:
            self.enter(_RUN, self.deadline)
            return True
        # A further piece of a head, or of a body without a reader: thousands that send in drops hold up no other one.
        self.worker.hub.background.add(self._go_on)
        return False

    def _go_on(self) -> None:
        """Look at what has come of a message that holds no green thread. The background's call."""
        phase = self.phase
        try:
            if (
                (phase is _HEAD and self._read_head())
                or (phase is _SKIP_BODY and self._skip_body())
                or (phase is _TAKE_IN and self._take_in())
            ):
                self._run_on()
                self.worker.pool.admit(self)
        except Exception:
            self.fail_alone()

    def _read_head(self) -> bool:
        """Look at a further piece of a head. Returns whether it is complete; if not, parks, or ends."""
        stream = self.stream
        try:
            data = stream.receive(HEAD_READ)
            if data is not None:
                stream.parser.receive_data(data)
            event = stream.parser.next_event()
        except ProtocolError as error:
            self.refuse_request(error)
            return False
        except OSError:
            event = CLOSED
        if type(event) is RequestHead:
            self.cycle = self.cycle_class(self, event)
            return True
        if event is CLOSED:
            self.close()
        elif stream.drained:
            stream.on_readable(self)
        else:
            self.worker.hub.background.add(self._go_on)
        return False

    def fail_alone(self) -> None:
        """Log the error that is being handled, a defect of ours, and close: it must not end the server."""
        self.close()
        try:
            logger.exception("a defect of greenserve ended the connection from %s", self.peer)
        except BaseException:  # noqa: S110 - a handler of the program's has failed, or memory has run out
            pass

    def switch(self) -> None:
        """What the hub does with a ready connection."""
        if self.begin():
            self.worker.pool.admit(self)

    def retire(self) -> None:
        """Close an idle connection; but a request that is here already, and only not looked at, is served."""
        if not self.stream.has_data():
            self.close()

    def refuse_request(self, error: ProtocolError) -> None:
        """Say what is wrong and hang up, since it is unknown where the next message would begin."""
        if error.request is not None:
            self.cycle = self.cycle_class(self, error.request)
        logger.info("refused a request from %s with %d: %s", self.peer, error.status, error)
        self._refuse_with(error.status, str(error), error.headers)

    def _refuse_with(self, status: int, why: str, headers: Sequence[tuple[str, str]]) -> None:
        """Answer in the place of the application, and hang up; the access log has a line of it."""
        worker, cycle = self.worker, self.cycle
        request = cycle.request if cycle is not None else None  # else its head is wrong, or not complete
        answer = worker.error_response(status, why, request, headers)
        if worker.access_log is not None:
            sent = len(answer.partition(b"\r\n\r\n")[2])
            worker.access_log.write(cycle or Refusal(self), str(status), sent, 0.0)
        if cycle is not None and cycle.body is not None:
            cycle.body.close()
        self._say_last(answer)

    def _say_last(self, answer: bytes) -> None:
        """Send `answer`, and hang up when the client has taken it. Never waits."""
        if self.cycle is not None:
            self.cycle.keep_alive = False
        try:
            left = self.stream.write(answer)
        except OSError:
            self.close()
            return
        if left:
            self.linger()
        else:
            self.enter(_FLUSH)
            self.on_sent()

    def on_sent(self) -> None:
        """The client takes some of what waits."""
        self.stream.allow_more_time()

    def on_lost(self, error: Exception) -> None:
        """What the client has not taken cannot be sent: the green thread that waits for it is told, or all ends."""
        if self.give_up(gone(error) if isinstance(error, OSError) else error):
            return
        if isinstance(error, InvalidResponse):
            logger.error("%s: %s", self.request_line, error)
            assert self.cycle is not None  # what fails so is a file
            self.cycle.cut_off()
            self.on_flushed()
        elif isinstance(error, OSError):
            logger.info("%s: the client went away: %s", self.request_line, error)
            self.close()
        else:
            self.fail_alone()

    def on_flushed(self) -> None:
        """The client has taken all; if the application has ended too, go on."""
        self.write_deadline = NEVER
        if self.phase is not _FLUSH:
            return
        try:
            if self.cycle is not None:
                self.cycle.log_if_over()
            if self._complete():
                self._run_on()
                self.worker.hub.background.add(self.switch)  # it may have sent further requests, without end
        except Exception:
            self.fail_alone()

    def give_up(self, error: Exception) -> bool:
        """Drop what the client has not taken. Returns whether a green thread waited for that, in which `error` is
        raised.
        """
        stream = self.stream
        self.write_deadline = NEVER
        if stream.buffer is None:
            return False
        if self.cycle is not None:
            self.cycle.sent -= min(stream.buffer.left, self.cycle.sent)
        told: bool = stream.drop(error)
        if self.cycle is not None:
            self.cycle.log_if_over()
        return told

    def _run_on(self) -> bool:
        """The next request may be in the buffer, or not have come: a green thread is to look."""
        if self.phase is not _RUN:
            self.enter(_RUN)
        self._ask_first = False
        return True

    # -- called in a green thread of the pool

    def run(self) -> None:
        """Serve what has come, then park or close: a green thread's whole job."""
        try:
            cycle = self.cycle  # at this point its application has not been called: the hub has taken in what came
            if cycle is None or self._handle(cycle):
                self._serve()
        except ProtocolError as error:
            self.refuse_request(error)
        except ConnectionError:
            self.close()
        except OSError as error:
            logger.info("the connection from %s failed: %s", self.peer, error)
            self.close()
        except GreenletExit:  # killed between two requests
            self.close()
        except BaseException:
            self.fail_alone()

    def fail(self, error: BaseException) -> None:
        """`run` has raised after all: close."""
        self.close()
        logger.error("the connection from %s is closed: %r", self.peer, error)

    def _serve(self) -> None:
        stream, hub = self.stream, self.worker.hub
        parser = stream.parser
        asked = -1
        if self._ask_first:
            asked = hub.rounds
            data = stream.receive(HEAD_READ)
            if data is not None:
                parser.receive_data(data)
        self._ask_first = True
        while True:
            event = parser.next_event()
            if type(event) is RequestHead:
                cycle = self.cycle = self.cycle_class(self, event)
                if not self._handle(cycle):
                    return
            elif event is CLOSED:
                self.close()
                return
            idle = parser.idle
            if event is NEED_DATA or idle:
                # What has become readable while we were not parked is an event that was missed: ask again.
                told = stream.drained and asked == hub.rounds
                data = None if told else stream.receive(HEAD_READ)
                if data is None:
                    self._park(idle)
                    return
                parser.receive_data(data)
                asked = hub.rounds
            if hub.turn_is_over():
                break
        self._ask_first = False
        hub.background.add(self.switch)  # others first

    def _park(self, idle: bool) -> None:
        worker = self.worker
        if not idle:
            # The first bytes of a head: from here its time counts, and further bytes do not prolong it.
            self.enter(_HEAD, worker.hub.clock() + worker.header_timeout if self.deadline == NEVER else self.deadline)
        elif worker.idle_grace:  # its client was promised that it may go on
            self.phase = _IDLE
            self.deadline = worker.hub.clock() + worker.idle_grace
        elif worker.draining:
            self.retire()
            if self.phase is _CLOSED:
                return
            self.enter(_HEAD)  # and what waits there will be the last
        else:
            self.phase = _IDLE  # as in `begin`
            self.deadline = worker.now + worker.keepalive_timeout
        self.stream.on_readable(self)

    def refuse(self, why: str) -> None:
        """There is no green thread for the request: 503 if there is memory for that, and the end."""
        try:
            self.worker.admission.refuse_request(self.peer, why)
            self._refuse_with(503, "the server is overloaded", RETRY_LATER)
        except MemoryError:
            self.close()

    def _handle(self, cycle: RequestCycle) -> bool:
        """Serve one request. Returns whether another may follow now on this connection."""
        self.deadline = NEVER
        body = cycle.body
        sticky = self.worker.sticky
        if sticky is not None and (body is None or body.spool is None) and sticky.pass_on(self):
            return False
        if body is not None and body.spool is None and self._takes_in(cycle.request):
            body.begin_taking_in(self.worker.spools)
            self.enter(_TAKE_IN)
            if not self._take_in():
                return False
            self.enter(_RUN)
        cycle.serve()
        if body is not None:
            body.close()
            if self.stream.descriptor.reader is not None:  # a green thread of the application's waits for it
                self.close()
        if self.stream.buffer is not None:
            self.enter(_FLUSH)
            return False
        if cycle.keep_alive and (body is None or body.state is _ENDED):  # so it is not closed
            self.cycle = None
            return True
        return self._complete()

    def _takes_in(self, request: RequestHead) -> bool:
        """Whether the request's body is to be taken in before the application is called."""
        spools = self.worker.spools
        if spools is None or request.chunked:
            return spools is not None
        # Clients that withhold their bodies must not hold all green threads, and so the last request.
        late: bool = self.worker.pool.is_crowded and self.stream.parser.available < request.content_length
        return late and request.content_length <= spools.each

    def _take_in(self) -> bool:
        """Store what has come of a chunked body. Returns whether that was all; if not, parks, or ends."""
        try:
            progress = self._body().take_in()
        except ProtocolError as error:
            self.refuse_request(error)
            return False
        except ClientDisconnected as error:
            logger.info("%s: %s", self.request_line, error)
            self.close()
            return False
        return self._ended(progress)

    def _ended(self, progress: Progress) -> bool:
        """Whether a body's end was found; if not, parks, or lets others have their turn."""
        self.deadline = NEVER
        if progress is Progress.WAITING:
            self.deadline = self._body().deadline
            self.stream.on_readable(self)
        elif progress is Progress.TURN_OVER:
            self.worker.hub.background.add(self._go_on)
        return progress is Progress.ENDED

    def _complete(self) -> bool:
        """The response has left. Returns whether another request may follow now on this connection."""
        if self.phase is _CLOSED:
            return False
        if self.phase is _UPGRADED:
            handover.release(self)
            return False
        cycle = self.cycle
        if cycle is None or not cycle.keep_alive:
            self._end()
            return False
        if cycle.body is None or cycle.body.state is _ENDED:
            self.cycle = None
            return True
        if cycle.body.state is not BodyState.OPEN:
            self._end()
            return False
        self.enter(_SKIP_BODY)
        return self._skip_body() and self._run_on()

    def _skip_body(self) -> bool:
        """Skip what has come of an unread body. Returns whether its end was found; if not, parks, or ends."""
        progress = self._body().skip()
        if progress is Progress.GIVEN_UP:
            self.linger()
            return False
        if progress is Progress.ENDED:
            self.cycle = None
        return self._ended(progress)

    def _body(self) -> RequestBody:
        """That of the request in progress, which has one."""
        assert self.cycle is not None
        assert self.cycle.body is not None
        return self.cycle.body

    # -- giving it away

    def surrender(self) -> tuple[Transport, bytes]:
        """Leave the transport to another owner, until the application returns; see handover.py."""
        return handover.surrender(self)

    def take_back(self, sock: Any) -> None:
        """Close a surrendered socket, by way of `linger`: the client's last bytes may still be on their way."""
        self.owner = self.proxy = None
        self.stream = to_transport(self.worker.hub, sock, self)
        self.linger()

    # -- the end

    def _end(self) -> None:
        """After the last response: close, by way of `linger` when the client may still be sending, or an end is said by
        TLS.
        """
        cycle, stream = self.cycle, self.stream
        promised = cycle is not None and not cycle.request.keep_alive  # that nothing would follow
        unread = cycle is not None and cycle.body is not None and cycle.body.state is not _ENDED
        said = isinstance(stream.socket, TlsSocket)  # which has to leave, too, and the client may take nothing now
        if unread or not promised or said or stream.parser.trailing_data or not stream.drained:
            self.linger()
        else:
            self.close()

    def linger(self) -> None:
        """Shut our side, and throw away what comes until the client closes its own, for a while."""
        self.enter(_LINGER, self.worker.hub.clock() + lingering.SECONDS)
        try:
            self.stream.shut_writing()
        except OSError:
            self.close()
        else:
            self.stream.linger(self.close)

    def cut_short(self) -> None:
        """Nothing may follow what was sent: further sends raise ClientDisconnected."""
        self.give_up(ClientDisconnected("the response was cut short"))
        if self.cycle is not None:
            self.cycle.cut = True
            self.cycle.cut_off()
        try:
            self.stream.shut_writing()
        except OSError:  # closed already
            pass

    def abort(self) -> None:
        """Close with a reset: an orderly end would pass for the end of the response."""
        if self.phase is not _UPGRADED:
            self.close(in_order=False)

    def close(self, *, in_order: bool = True) -> None:
        """The one end: mark closed, wake the waiters, close the socket. Harmless when it is closed."""
        if self.phase is _CLOSED:
            return
        self.enter(_CLOSED)
        self.give_up(ClientDisconnected("the connection is closed"))
        cycle, self.cycle = self.cycle, None
        if cycle is not None:
            cycle.keep_alive = False
            if cycle.body is not None:
                cycle.body.close_unopened()
        owner, self.owner, self.proxy = self.owner, None, None
        if owner is not None:
            owner.abort()
        else:
            self.stream.close(in_order=in_order)
        self.worker.forget(self)
