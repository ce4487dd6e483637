"""What comes from one client: heads, bodies, pipelining.

No I/O here: bytes go in by receive_data(), events come out of next_event(). Every step is one row of _STEPS; the state
says which. An idle connection holds a few words and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

from greenserve.errors import BadRequest, ContentTooLarge, IncompleteMessage, ProtocolError

from .chunked import ChunkedBody, Part
from .fields import Items
from .head import HeadWatch, RequestHead, parse_head, too_large
from .known_heads import known_heads
from .limits import Limits
from .plain_head import plain_head


class ParserState(Enum):
    """What the connection expects next."""

    IDLE = "a head, of which nothing has been looked at"
    HEAD = "the rest of a head"
    LENGTH = "body octets, as many as Content-Length says"
    CHUNKED = "a chunked body"
    END = "nothing more of this message: EndOfMessage is due"
    CLOSED = "nothing more at all: the peer closed, or its last request said it would be the last (RFC 9112 §9.6)"
    ERROR = "nothing more at all: the peer broke the protocol"

    __hash__ = object.__hash__  # Enum's own is Python code, and a state is looked up with every event


class Signal(Enum):
    """What next_event() returns when there is no event."""

    NEED_DATA = "call receive_data() first"
    CLOSED = "no more events will come"


NEED_DATA: Final = Signal.NEED_DATA
CLOSED: Final = Signal.CLOSED


@dataclass(frozen=True, slots=True)
class EndOfMessage:
    """The body is complete. trailers: (lower-case name, value), as in Fields.items; not part of the header section."""

    trailers: Items = ()


# bytes: a piece of the body, never empty. Pieces follow the network, not the chunks that the peer made.
Event = RequestHead | bytes | EndOfMessage | Signal

_NO_TRAILERS: Final = EndOfMessage()

# Looking a member up in its Enum costs as much as the rest of the step.
_IDLE: Final = ParserState.IDLE
_HEAD: Final = ParserState.HEAD
_LENGTH: Final = ParserState.LENGTH
_CHUNKED: Final = ParserState.CHUNKED
_END: Final = ParserState.END
_CLOSED: Final = ParserState.CLOSED
_ERROR: Final = ParserState.ERROR


class RequestParser:
    """Makes events of what one connection receives.

    A RequestHead without a body (content_length 0, not chunked) is its own end of message; after any other come pieces
    of its body and one EndOfMessage. Pipelined bytes wait inside until next_event() is called again.
    """

    __slots__ = (
        "_at",
        "_blank_lines",
        "_body",
        "_buffer",
        "_closed_by_peer",
        "_error",
        "_keep_alive",
        "_known",
        "_left",
        "_watch",
        "limits",
        "state",
    )

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.state = _IDLE
        self._known = known_heads(limits)
        self._buffer: bytes | bytearray = b""  # a bytearray only while a head arrives in pieces
        self._at = 0  # how much of the buffer is consumed
        self._closed_by_peer = False
        self._blank_lines = 0
        self._watch: HeadWatch | None = None
        self._left = 0  # octets of the Content-Length body still to come
        self._body: ChunkedBody | None = None
        self._keep_alive = True
        self._error: tuple[type[ProtocolError], str] | None = None

    @property
    def idle(self) -> bool:
        """True between messages while nothing of the next one has arrived."""
        return self.state is _IDLE and self._at == len(self._buffer)

    @property
    def available(self) -> int:
        """How many octets were received and not consumed."""
        return len(self._buffer) - self._at

    @property
    def due(self) -> int:
        """How many octets of a Content-Length body are still to come, none of which is here: they may go to their
        reader without this parser, see `pass_by`. 0 where that is not so.
        """
        return self._left if self.state is _LENGTH and not self._buffer else 0

    def pass_by(self, count: int) -> None:
        """So many octets that were `due` have gone to their reader."""
        self._left -= count
        if not self._left:
            self.state = _END

    @property
    def trailing_data(self) -> bytes:
        """What was received and not consumed: after an upgrade, the first bytes of the new protocol."""
        return bytes(self._buffer[self._at :])

    def receive_data(self, data: bytes) -> None:
        """Take what the socket gave; b"" says that the peer has closed its sending side."""
        if not data:
            self._closed_by_peer = True
        elif not self._buffer:
            self._buffer = data
        elif self.state is _IDLE or self.state is _HEAD:
            if type(self._buffer) is not bytearray:
                self._buffer = bytearray(self._buffer)
            self.state = _HEAD
            self._buffer += data
        elif self.state is not _CLOSED and self.state is not _ERROR:
            self._buffer = self.trailing_data + data
            self._at = 0

    def next_event(self) -> Event:
        """Return the next event, or NEED_DATA, or CLOSED.

        Raises a ProtocolError with the status to answer, and the same again on every later call; IncompleteMessage
        when the peer closed in the middle of a message.
        """
        try:
            if self.state is _IDLE:
                buffer: bytes = self._buffer  # type: ignore[assignment]  # a bytearray is never IDLE
                at, limits, known = self._at, self.limits, self._known
                # Only a buffer of which nothing is consumed may be looked up: the end of a body and a head together can
                # look like another head.
                head = None if at else known.get(buffer)
                if head is not None:
                    return self._begin_message(head, len(buffer))
                plain = plain_head(
                    buffer, at, limits.max_head, limits.max_target, limits.max_method, limits.max_header_count
                )
                if plain is not None:
                    head = RequestHead(plain)
                    if known.looked and head.size == len(buffer):
                        known.add(buffer, head)
                    return self._begin_message(head, at + head.size)
            return _STEPS[self.state](self)
        except ProtocolError as error:
            # Not the error itself: it holds this frame, and this frame holds it.
            self._error = (type(error), str(error))
            self.state = _ERROR
            raise

    def take_rest(self) -> bytes:
        """All that is left of a Content-Length body, if it is here, and with it the end of the message; else b"".

        Most bodies come with their heads: so they cost one call instead of three events.
        """
        at, left = self._at, self._left
        if self.state is not _LENGTH or len(self._buffer) - at < left:
            return b""
        rest = bytes(self._buffer[at : at + left])
        self._left = 0
        self._consume(at + left)
        self._end_message()
        return rest

    def _begin_message(self, head: RequestHead, end: int) -> RequestHead:
        """Take the head, which ends at `end` of the buffer."""
        if end == len(self._buffer):
            self._buffer, self._at = b"", 0
        else:
            self._at = end
        self._blank_lines = 0
        if head.content_length:
            limit = self.limits.max_body
            if limit is not None and head.content_length > limit:
                error = ContentTooLarge(f"the body is larger than max_body, {limit} bytes")
                error.request = head
                raise error
            self.state = _LENGTH
            self._left = head.content_length
            self._keep_alive = head.keep_alive
        elif head.chunked:
            self.state = _CHUNKED
            self._body = ChunkedBody(self.limits)
            self._keep_alive = head.keep_alive
        else:
            self.state = _IDLE if head.keep_alive else _CLOSED
        return head

    def _read_head(self) -> Event:
        """A head that is not plain, or not there as a whole, or comes in pieces."""
        buffer, at = self._buffer, self._at
        if at == len(buffer) or buffer[at] == 13:
            if not self._skip_blank_lines():
                return self._wait("the request")
            at = self._at
        watch = self._watch
        end = buffer.find(b"\r\n\r\n", at if watch is None else max(at, watch.seen - 3)) + 4
        if end < 4:
            return self._wait_for_head()
        raw = bytes(buffer[at:end])
        if type(buffer) is bytearray:
            self._buffer, self._at, end = bytes(memoryview(buffer)[at:]), 0, len(raw)
        self._watch = None
        return self._begin_message(self._known.get_odd(raw) or self._parse(raw), end)

    def _parse(self, raw: bytes) -> RequestHead:
        limits = self.limits
        if len(raw) > limits.max_head:
            raise too_large(raw, limits)
        plain = plain_head(raw, 0, limits.max_head, limits.max_target, limits.max_method, limits.max_header_count)
        head = parse_head(raw, limits) if plain is None else RequestHead(plain)
        self._known.add(raw, head)
        return head

    def _skip_blank_lines(self) -> bool:
        """Skip CRLFs before a request line (RFC 9112 §2.2), and say whether a head has begun after them."""
        buffer, at = self._buffer, self._at
        while buffer.startswith(b"\r\n", at):
            at += 2
            self._blank_lines += 1
            if self._blank_lines > self.limits.max_blank_lines:
                raise BadRequest("blank lines instead of a request")
        if at == len(buffer):
            self._buffer, self._at, self.state = b"", 0, _IDLE
            return False
        self._at = at
        return not (len(buffer) == at + 1 and buffer[at] == 13)  # a CR alone may still become a blank line

    def _wait_for_head(self) -> Signal:
        if self._watch is None:
            self._watch = HeadWatch()
        if self._at:
            self._buffer, self._at = self._buffer[self._at :], 0
        self._watch.look(self._buffer, self.limits)
        self.state = _HEAD
        return self._wait("the head")

    def _wait(self, what: str) -> Signal:
        if not self._closed_by_peer:
            return NEED_DATA
        if self.state is _IDLE and not self._buffer:
            self.state = _CLOSED
            return CLOSED
        raise IncompleteMessage(f"the peer closed before {what} was complete")

    def _read_length_body(self) -> Event:
        buffer, at, left = bytes(self._buffer), self._at, self._left
        if at == len(buffer):
            return self._wait("the body")
        payload = buffer[at : at + left]  # no copy when that is the whole buffer
        self._consume(at + len(payload))
        self._left = left = left - len(payload)
        if not left:
            self.state = _END
        return payload

    def _read_chunked_body(self) -> Event:
        body = self._body
        assert body is not None  # CHUNKED is entered with one
        payload, at = body.decode(bytes(self._buffer), self._at)
        self._consume(at)
        if payload:
            return payload
        if body.part is not Part.NOTHING:
            return self._wait("the body")
        self.state = _END
        return self._end_message()

    def _consume(self, at: int) -> None:
        """The buffer is consumed up to `at`; what is consumed as a whole need not be copied before the next bytes."""
        self._at = at
        if at == len(self._buffer):
            self._buffer, self._at = b"", 0

    def _end_message(self) -> EndOfMessage:
        self.state = _IDLE if self._keep_alive else _CLOSED
        body, self._body = self._body, None
        return EndOfMessage(body.trailers) if body is not None and body.trailers else _NO_TRAILERS

    def _nothing_more(self) -> Literal[Signal.CLOSED]:
        return CLOSED

    def _again(self) -> Event:
        assert self._error is not None  # ERROR is entered with one
        kind, text = self._error
        raise kind(text)


_STEPS: Final[dict[ParserState, Callable[[RequestParser], Event]]] = {
    _IDLE: RequestParser._read_head,
    _HEAD: RequestParser._read_head,
    _LENGTH: RequestParser._read_length_body,
    _CHUNKED: RequestParser._read_chunked_body,
    _END: RequestParser._end_message,
    _CLOSED: RequestParser._nothing_more,
    _ERROR: RequestParser._again,
}
