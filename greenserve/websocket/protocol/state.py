"""One WebSocket connection after its handshake (RFC 6455, RFC 7692), for a server or a client. Bytes in, events out.

No I/O in this file. Every transition is in _NEXT.

There are two ways in. A whole, unfragmented, uncompressed, correctly masked data frame takes the short one, which costs
about as much as unmasking and decoding it (plain.py). Everything else goes through a strict state machine of our own.

That machine was wsproto's at first. Measured and compared, wsproto 1.3 inflates without any limit, loses the rest of a
compressed message when a control frame comes in the middle of it, and takes 20 µs for a frame. The tests keep it as the
judge: on generated and mutated streams, both must report the same messages and the same failures.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Literal

from greenserve.websocket.protocol.close import CloseCode, close_payload, parse_close
from greenserve.websocket.protocol.deflate import DeflateParameters, Inflater
from greenserve.websocket.protocol.encode import Encoder, encode_in_steps, encode_message
from greenserve.websocket.protocol.errors import ConnectionClosed, MessageTooBig, ProtocolViolation
from greenserve.websocket.protocol.events import Close, Event, Ping, Pong
from greenserve.websocket.protocol.frames import (
    CONTROL,
    MAX_CONTROL,
    FrameHead,
    Opcode,
    build_frame,
    parse_head,
)
from greenserve.websocket.protocol.mask import apply_mask
from greenserve.websocket.protocol.message import IncomingMessage, PackedMessage
from greenserve.websocket.protocol.plain import MAX_PLAIN, PLAIN, plain_message

_UNLIMITED: Final = (1 << 63) - 1  # the longest frame that RFC 6455 §5.2 knows


class Role(Enum):
    """Which side we are: a client masks what it sends, a server does not (RFC 6455 §5.1)."""

    SERVER = auto()
    CLIENT = auto()


class State(Enum):
    """OPEN; CLOSING: our Close is sent, messages still arrive until the peer's; CLOSED: nothing more either way."""

    OPEN = auto()
    CLOSING = auto()
    CLOSED = auto()


class Ahead(Enum):
    """What the received bytes go on with."""

    NOTHING = auto()  # more must come first
    MESSAGE = auto()  # a whole message's frame, as far as its first byte shows
    OTHER = auto()  # a control frame, a fragment, the end, or something wrong


class More(Enum):
    """What a step found that neither completed an event nor used up the bytes."""

    MORE = auto()


class _Step(Enum):
    WE_CLOSE = auto()
    PEER_CLOSES = auto()
    PEER_IS_GONE = auto()
    FAILURE = auto()


_NEXT: Final = {
    State.OPEN: {
        _Step.WE_CLOSE: State.CLOSING,
        _Step.PEER_CLOSES: State.CLOSED,
        _Step.PEER_IS_GONE: State.CLOSED,
        _Step.FAILURE: State.CLOSED,
    },
    State.CLOSING: {
        _Step.PEER_CLOSES: State.CLOSED,
        _Step.PEER_IS_GONE: State.CLOSED,
        _Step.FAILURE: State.CLOSED,
    },
    State.CLOSED: {},
}
# An Enum's member costs a global and an attribute; these are read for every message.
_OPEN: Final = State.OPEN
_CLOSED: Final = State.CLOSED
_NOTHING: Final = Ahead.NOTHING
MORE: Final = More.MORE
FRAMES_PER_STEP: Final = 32  # fragments, some microseconds each, that one step takes at the most


@dataclass(frozen=True, slots=True)
class Limits:
    """What a peer may send, in bytes; None: no limit. A message counts inflated, a frame as it comes on the wire."""

    # `websockets` takes 1 MiB as well, Engine.IO 1 MB, eventlet 8 MiB; browsers' own frames stay near 128 KiB.
    max_message: int | None = 1024 * 1024
    max_frame: int | None = None


DEFAULT_LIMITS: Final = Limits()


class Protocol:
    """One connection's state. Feed it with `receive_data`, then call `next_event` until it returns None.

    What it answers by itself (Pongs, the echo of a Close, the Close that reports a violation) waits in `data_to_send`:
    the reader looks there after each run of `next_event`.

    One thread may read while others send. `send`, `ping`, `pong` and `close` return bytes that must go out in the order
    of the calls, so one lock must span the call and the writing. `next_event` and `close` both end the connection:
    between OS threads a second lock must keep them apart, held over the calls alone and never over the writing.
    """

    __slots__ = (
        "_buffer",
        "_encoder",
        "_eof",
        "_inflater",
        "_mask",
        "_max_frame",
        "_max_message",
        "_max_plain",
        "_message",
        "_start",
        "closed",
        "deflate",
        "outgoing",
        "progress",
        "state",
    )

    def __init__(
        self, role: Role, *, limits: Limits = DEFAULT_LIMITS, deflate: DeflateParameters | None = None
    ) -> None:
        self._mask = role is Role.CLIENT
        self._max_message = _UNLIMITED if limits.max_message is None else limits.max_message
        self._max_frame = _UNLIMITED if limits.max_frame is None else limits.max_frame
        self._max_plain = min(self._max_message, self._max_frame, MAX_PLAIN)
        self.deflate = deflate  # the compression that was agreed on; None for no compression
        # Most connections never see a compressed message, and never pay for one.
        self._encoder: Encoder | None = None
        self._inflater: Inflater | None = None
        self._buffer = b""
        self._start = 0
        self._eof = False
        self._message: IncomingMessage | None = None
        self.outgoing = b""  # see `data_to_send`
        self.progress = False  # a piece of a message has come, whole ones in one piece excepted; the reader resets it
        self.state = State.OPEN
        self.closed: Close | None = None  # code and reason of what ended it, or is about to; None while OPEN

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the peer; b"" says that it has closed its sending side. After CLOSED, all is dropped."""
        if self.state is _CLOSED:
            return
        if not data:
            self._eof = True
        elif self._buffer:
            # Short: a caller that drains the events leaves the beginning of a head or of a control frame at most.
            self._buffer = self._buffer[self._start :] + data
            self._start = 0
        else:
            self._buffer = data

    def receive_message(self, data: bytes) -> str | bytes | None:
        """`receive_data`, and the message with which `data` begins, if nothing has come before it and it is plain.

        None: `step` says what has come. What follows the message is for `step`, too.
        """
        if not self._buffer and self._message is None and self.state is not _CLOSED:
            found = plain_message(data, 0, not self._mask, self._max_plain)
            if found is not None:
                message, end = found
                if end != len(data):
                    self._buffer = data
                    self._start = end
                return message
        self.receive_data(data)
        return None

    def ahead(self) -> Ahead:
        """What `next_event` will meet: a caller that has just got a message may want to answer it first."""
        if len(self._buffer) > self._start:
            first = self._buffer[self._start]
            return Ahead.MESSAGE if self._message is None and first in PLAIN else Ahead.OTHER
        return Ahead.OTHER if self._eof else _NOTHING

    def next_event(self) -> Event | None:
        """The next message (`str` or `bytes`), Ping, Pong or Close; None when more bytes are needed, or after the end.

        Raises ProtocolViolation (InvalidPayload, MessageTooBig) when the peer broke the protocol: the Close frame that
        tells it is in `data_to_send`, the connection is to be dropped, and nothing follows.
        """
        while True:
            event = self.step()
            if event is MORE:
                continue
            if not isinstance(event, PackedMessage):
                return event
            try:
                while (message := event.step()) is None:
                    pass
            except ProtocolViolation as violation:
                self.fail(violation)
                raise
            return message

    def step(self) -> Event | PackedMessage | Literal[More.MORE] | None:
        """`next_event` in steps that take well under a millisecond, for a caller that serves other connections as well.

        MORE: go on, now or later. A PackedMessage is the caller's to unpack, and to report with `fail` when it cannot
        be. The rest as of `next_event`.
        """
        if not self._buffer and not self._eof:
            return None
        try:
            if self._message is None:
                found = plain_message(self._buffer, self._start, not self._mask, self._max_plain)
                if found is not None:
                    message, end = found
                    self._consume(end)
                    return message
            return self._advance()
        except ProtocolViolation as violation:
            self.fail(violation)
            raise

    @property
    def held(self) -> int:
        """Bytes of memory that hold what has come and makes no whole message yet."""
        return len(self._buffer) + (0 if self._message is None else self._message.size)

    def _consume(self, end: int) -> None:
        if end == len(self._buffer):
            self._buffer = b""
            self._start = 0
        else:
            self._start = end

    def _advance(self) -> Event | PackedMessage | Literal[More.MORE] | None:
        for _ in range(FRAMES_PER_STEP):
            if self.state is _CLOSED:
                break
            message = self._message
            if message is None or not message.remaining:
                head = parse_head(
                    self._buffer, self._start, masked=not self._mask, compression=self.deflate is not None
                )
                if head is None:
                    break
                if head.opcode & CONTROL:
                    if len(self._buffer) < head.start + head.length:
                        break
                    return self._control(head)
                message = self._begin_frame(head)
            piece = self._buffer[self._start : self._start + message.remaining]
            if piece:
                self.progress = True
                self._consume(self._start + len(piece))
                message.feed(piece)
            if message.remaining:
                break
            if message.fin:
                self._message = None
                return message.finish()
        else:
            return MORE
        return self._starved()

    def _starved(self) -> Close | None:
        if self._eof and self.state is not _CLOSED:
            return self._end(_Step.PEER_IS_GONE, Close(CloseCode.ABNORMAL))
        if self._start:
            # A connection may stay idle for hours: it must not hold a whole read for the few bytes left of it.
            self._buffer = self._buffer[self._start :]
            self._start = 0
        return None

    def _begin_frame(self, head: FrameHead) -> IncomingMessage:
        if head.length > self._max_frame:
            raise MessageTooBig(f"a frame is longer than {self._max_frame} bytes")
        if head.opcode == Opcode.CONTINUATION:
            if self._message is None:
                raise ProtocolViolation("a continuation frame has nothing to continue")
        elif self._message is not None:
            raise ProtocolViolation("a message begins inside another")
        else:
            self._message = IncomingMessage(head.opcode, self._max_message, self._inflater_for(head))
        self._message.begin_frame(head)
        self._consume(head.start)
        return self._message

    def _inflater_for(self, head: FrameHead) -> Inflater | None:
        if not head.rsv1:
            return None
        if self._inflater is None and self.deflate is not None:
            self._inflater = self.deflate.inflater(server=self._mask)
        return self._inflater

    def _control(self, head: FrameHead) -> Ping | Pong | Close:
        end = head.start + head.length
        payload = self._buffer[head.start : end]
        if head.key:
            payload = apply_mask(payload, head.key)
        self._consume(end)
        if head.opcode == Opcode.PING:
            # RFC 6455 §5.5.2: answer each, also after our own Close, until the peer's arrives.
            self.outgoing += build_frame(Opcode.PONG, payload, mask=self._mask)
            return Ping(payload)
        if head.opcode == Opcode.PONG:
            return Pong(payload)
        code, reason = parse_close(payload)
        if self.state is _OPEN:
            self.outgoing += build_frame(Opcode.CLOSE, close_payload(code), mask=self._mask)
        return self._end(_Step.PEER_CLOSES, Close(code, reason))

    def fail(self, violation: ProtocolViolation) -> None:
        """The peer broke the protocol, in a message that has been unpacked only now: end as `next_event` does."""
        if self.state is _OPEN:
            payload = close_payload(violation.code, violation.reason)
            self.outgoing += build_frame(Opcode.CLOSE, payload, mask=self._mask)
        if self.state is not _CLOSED:
            self._end(_Step.FAILURE, Close(violation.code, violation.reason))
        else:  # it has left meanwhile; but this is why its message is missing
            self.closed = Close(violation.code, violation.reason)

    def _end(self, step: _Step, close: Close) -> Close:
        self.state = _NEXT[self.state][step]
        self.closed = close
        self.forget()
        self._inflater = None
        self._encoder = None
        return close

    def forget(self) -> None:
        """Drop what has come and makes no whole message: nothing will be read any more."""
        self._buffer = b""
        self._start = 0
        self._message = None

    def data_to_send(self) -> bytes:
        """The answers that `next_event` made, to be written now. Returned once."""
        data = self.outgoing
        self.outgoing = b""
        return data

    def send(self, message: str | bytes) -> bytes:
        """The bytes that carry `message`, a text (str) or binary (bytes-like), as one frame.

        Raises ConnectionClosed after either side's Close; TypeError; UnicodeEncodeError for a str with lone surrogates.
        """
        if self.state is not _OPEN:
            raise self._closed_error()
        deflate = self.deflate
        if not self._mask and (deflate is None or deflate.server_no_context_takeover):
            return encode_message(message, deflate)
        # A local name: the thread that reads may drop the context at any time.
        encoder = self._encoder = self._encoder or Encoder(deflate, client=self._mask)
        return encoder.encode(message)

    def sending(self, message: str | bytes) -> Generator[None, None, bytes]:
        """`send` in steps of at most a millisecond each, where the frames need not be made in the order of the calls.

        Yields between the steps, and returns the frame. Raises as `send` does.
        """
        deflate = self.deflate
        if self._mask or deflate is None or not deflate.server_no_context_takeover:
            return self.send(message)
        frame = yield from encode_in_steps(message, deflate)
        if self.state is not _OPEN:
            raise self._closed_error()
        return frame

    def ping(self, payload: bytes = b"") -> bytes:
        """The bytes of a Ping. payload: at most 125 bytes. Raises ConnectionClosed, ValueError."""
        if self.state is not _OPEN:
            raise self._closed_error()
        if len(payload) > MAX_CONTROL:
            raise ValueError(f"the payload of a Ping is at most {MAX_CONTROL} bytes, not {len(payload)}")
        return build_frame(Opcode.PING, payload, mask=self._mask)

    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> bytes:
        """The bytes of our Close; b"" when either side has closed already. 1005 sends a Close without a code.

        Go on with `next_event` until the peer's Close comes. Raises ValueError for a code that must not be sent.
        """
        if self.state is not _OPEN:
            return b""
        frame = build_frame(Opcode.CLOSE, close_payload(code, reason), mask=self._mask)
        self.state = _NEXT[self.state][_Step.WE_CLOSE]
        self.closed = Close(code, reason)
        return frame

    def _closed_error(self) -> ConnectionClosed:
        closed = self.closed or Close(CloseCode.ABNORMAL)
        return ConnectionClosed(closed.code, closed.reason)
