"""The body of one request, as it comes from the client: read by the application, or skipped after the response, or
taken in before the application is called.

Strategy. The application reads with `read_body`, which waits in its green thread. What it leaves is skipped by the hub,
and what is taken in is stored by the hub, piece by piece as it comes, without a green thread. The time that we wait for
the client is bounded altogether, not from one byte to the next: a body that trickles would otherwise hold a green
thread for as long as the client likes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import Enum
from io import BytesIO

from greenserve.errors import ClientDisconnected, ContentTooLarge, ProtocolError, RequestTimeout
from greenserve.http.head import RequestHead
from greenserve.http.parser import CLOSED, EndOfMessage
from greenserve.http.response import CONTINUE
from greenserve.http.trailers import permitted
from greenserve.server.spool import Budget, Spool
from greenserve.server.stream import NEVER, Stream
from greenserve.wsgi.body_reader import BodyReader, Source

logger = logging.getLogger("greenserve.server")

RATE_GRACE = 10.0  # seconds of waiting, in total, before body_min_rate counts: a mobile network's pause
BODY_READ = 262144  # bytes: fewer system calls for an upload
SKIP_LIMIT = 65536  # bytes of an unread body that are worth skipping to keep the connection


class BodyState(Enum):
    """How far the body has come."""

    EXPECTED = "expected"  # the client waits for 100 Continue (RFC 9110 §10.1.1)
    WITHHELD = "withheld"  # it waited, and has got the response instead: it may send the body now, or may not
    OPEN = "open"  # on its way
    ENDED = "ended"  # all of it has been read
    TAKEN = "taken"  # the application has the socket, and with it what is left of the body


# Looking a member up in its Enum costs as much as a comparison of two; these are compared for every body.
_EXPECTED, _WITHHELD, _OPEN, _ENDED, _TAKEN = BodyState


class Progress(Enum):
    """What has become of a body that is taken in, or skipped."""

    WAITING = "all that has come is dealt with; more is to come"
    TURN_OVER = "others have their turn first"
    ENDED = "its end was found"
    GIVEN_UP = "it is too long, or wrong, or its client has gone"


class RequestBody(Source):
    """What a client sends after the head of one request."""

    __slots__ = (
        "_file",
        "_received",
        "_skipped",
        "_stream",
        "_waited",
        "deadline",
        "spool",
        "state",
        "trailers",
        "unread",
        "waiting_since",
    )

    deadline: float  # of the wait without a green thread

    def __init__(self, stream: Stream, request: RequestHead) -> None:
        self._stream = stream
        self._file: BodyReader | None = None
        self._received = 0  # bytes, framing included
        self._skipped = 0  # bytes
        self._waited = 0.0  # seconds
        self.spool: Spool | None = None  # where it is taken in
        self.state = _EXPECTED if request.expect_continue else _OPEN
        self.trailers: list[tuple[str, str]] = []  # once it has ENDED
        self.waiting_since = NEVER  # without a green thread
        self.unread = request.content_length  # unknown for a chunked body: it becomes negative

    def open(self) -> BodyReader:
        """What the application reads."""
        file = self._file = BodyReader(self if self.spool is None else self.spool, self._stream.give_way)
        return file

    def close(self) -> None:
        """The request is over: what its application still does with the body must not touch the next one."""
        if self._file is not None:
            self._file.release()
        if self.spool is not None:
            self.spool.close()

    def close_unopened(self) -> None:
        """The connection ends: if no application reads the body, it is not kept any longer."""
        if self._file is None:
            self.close()

    def read_body(self) -> bytes:
        """The next piece; b"" at the end. Raises ProtocolError (RequestTimeout when the client is too slow),
        ClientDisconnected.
        """
        if self.state is _ENDED:
            return b""
        if self.state is _TAKEN:
            raise ClientDisconnected("the application has taken the connection, and with it the request's body")
        stream = self._stream
        parser = stream.parser
        rest = parser.take_rest()
        if rest:
            self.state = _ENDED
            self.unread = 0
            return rest
        while True:
            if self.unread <= 0:  # chunks: there may be thousands in what has come
                stream.give_way()
            event = parser.next_event()
            if type(event) is bytes:
                self.state = _OPEN
                self._count(len(event))
                return event
            if type(event) is EndOfMessage:
                self._end(event)
                return b""
            if event is CLOSED:
                raise _gone()
            if self.state is _EXPECTED:
                self.state = _OPEN
                stream.send(CONTINUE)
            self._receive()
            stream.give_way()

    @property
    def due(self) -> int:
        """How many bytes of the body `receive_into` may give."""
        return self._stream.parser.due if self.state is _OPEN else 0

    def receive_into(self, buffer: BytesIO, start: int, end: int) -> int:
        """Receive some of what is due; as `read_body`. No view of the buffer is held during a wait."""
        stream = self._stream
        while True:
            with buffer.getbuffer() as whole, whole[start:end] as view:
                taken = stream.take_into(view)
            if taken >= 0:
                break
            self._wait()
        if not taken:
            stream.parser.next_event()  # which says what is missing
        self._received += taken
        self._count(taken)
        stream.give_way()
        return taken

    def _count(self, size: int) -> None:
        """So many bytes have been read."""
        self.unread -= size
        if not self.unread:  # that was the last byte: the end needs no asking for. Unknown for chunks: it is negative
            self._stream.parser.next_event()
            self.state = _ENDED

    def _end(self, event: EndOfMessage) -> None:
        self.state = _ENDED
        self.trailers += permitted(event.trailers)

    def settle(self) -> bool:
        """The response begins: say whether what is left of the body can be skipped.

        Not when the client waits for 100 Continue: it may send the body after the final response, or may not. From
        now on it gets no 100 any more, which would be taken for a part of the response.
        """
        if self.state is _EXPECTED:
            self.state = _WITHHELD
        return self.state is _ENDED or (self.state is _OPEN and self.unread <= SKIP_LIMIT)

    def begin_taking_in(self, spools: Budget) -> None:
        """Store it before the application is called: ask for it, if the client waits for that and nothing has come."""
        self.spool = Spool(spools)
        if self.state is _EXPECTED and not self._stream.parser.trailing_data:
            self._stream.send(CONTINUE)
        self.state = _OPEN

    def take_in(self) -> Progress:
        """Store what has come. Never waits. Raises ProtocolError, ClientDisconnected."""
        assert self.spool is not None
        progress = self._move(self._store)
        if progress is Progress.ENDED:
            self.spool.complete()
        return progress

    def skip(self) -> Progress:
        """Throw away what has come, of a body that `settle` has agreed to. Never waits."""
        try:
            return self._move(self._throw_away)
        except (ProtocolError, ClientDisconnected) as error:  # the response has left: all that remains is to hang up
            logger.info("%s: after the response: %s", self._stream.owner.request_line, error)
            return Progress.GIVEN_UP

    def _store(self, piece: bytes) -> None:
        assert self.spool is not None
        self.unread -= len(piece)
        self.spool.write(piece)

    def _throw_away(self, piece: bytes) -> None:
        self._skipped += len(piece)
        self.unread -= len(piece)
        if self._skipped > SKIP_LIMIT:
            raise ContentTooLarge(f"more than {SKIP_LIMIT} bytes of the body are not worth skipping")

    def _move(self, put: Callable[[bytes], None]) -> Progress:
        """Give what has come to `put`, or at least some of it, also where others have used this turn up."""
        stream, parser, hub = self._stream, self._stream.parser, self._stream.worker.hub
        if self.waiting_since != NEVER:
            self._waited += hub.clock() - self.waiting_since
            self.waiting_since = NEVER
        while True:
            event = parser.next_event()
            if type(event) is bytes:
                put(event)
            elif type(event) is EndOfMessage:
                self._end(event)
                return Progress.ENDED
            elif event is CLOSED:
                raise _gone()
            else:
                taken = stream.take(self._read_size())
                if taken < 0:
                    self.waiting_since = hub.clock()
                    self.deadline = self.waiting_since + self.patience()
                    return Progress.WAITING
                self._received += taken
            if hub.turn_is_over():
                return Progress.TURN_OVER

    def _receive(self) -> None:
        """Take what has come, waiting while that is nothing and the client keeps up."""
        while (taken := self._stream.take(self._read_size())) < 0:
            self._wait()
        self._received += taken

    def _wait(self) -> None:
        """Wait until something has come. Raises RequestTimeout."""
        stream, clock = self._stream, self._stream.worker.hub.clock
        timeout = self.patience()
        began = clock()
        stream.wait_read(timeout)
        self._waited += clock() - began

    def patience(self) -> float:
        """How long to wait for the next bytes, in seconds. Raises RequestTimeout: the client is too slow altogether."""
        worker = self._stream.worker
        timeout: float = worker.body_timeout
        if worker.body_min_rate:
            timeout = min(timeout, min(timeout, RATE_GRACE) + self._received / worker.body_min_rate - self._waited)
            if timeout <= 0:
                raise RequestTimeout(f"the request body came more slowly than {worker.body_min_rate} bytes per second")
        return timeout

    def _read_size(self) -> int:
        """How many bytes to ask for. For many, memory has to come from the kernel each time: so no more than are due;
        and one byte more, for a shorter answer says that nothing else has come.
        """
        due = self.unread
        return min(due + 1, BODY_READ) if due > 0 else BODY_READ


def _gone() -> ClientDisconnected:
    return ClientDisconnected("the client closed the connection within the request's body")
