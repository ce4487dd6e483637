"""Messages on their way out: the one frame that carries each. No I/O in this file."""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

from greenserve.websocket.protocol.deflate import DEFLATE_STEP, DeflateParameters
from greenserve.websocket.protocol.frames import Opcode, build_frame, new_key
from greenserve.websocket.protocol.plain import plain_frame

_TEXT: Final = int(Opcode.TEXT)
_BINARY: Final = int(Opcode.BINARY)


def encode_message(message: str | bytes, deflate: DeflateParameters | None = None) -> bytes:
    """The frame in which a server sends `message`: the same bytes for every recipient of the same `deflate`.

    Without `deflate` it is right for every recipient, whatever was agreed with it, since each message is marked as
    compressed for itself. With it, a long message is compressed, if the server promised to keep no context
    (`server_no_context_takeover`): where it keeps one, the bytes would differ from connection to connection.
    """
    frame = plain_frame(message, b"")
    if frame is not None and (deflate is None or len(frame) - 2 < deflate.threshold):
        return frame
    if isinstance(message, str):
        payload, opcode = message.encode(), _TEXT
    else:
        payload, opcode = _as_bytes(message), _BINARY
    if deflate is not None and len(payload) >= deflate.threshold and deflate.server_no_context_takeover:
        deflater = deflate.deflater(server=True)
        compressed = payload if deflater is None else deflater.compress(payload)
        if len(compressed) < len(payload):
            return build_frame(opcode, compressed, rsv1=True)
    return build_frame(opcode, payload)


def _as_bytes(message: object) -> bytes:
    if isinstance(message, bytes | bytearray | memoryview):
        return bytes(message)
    raise TypeError(f"a message is str or bytes, not {type(message).__name__}")


def encode_in_steps(message: str | bytes, deflate: DeflateParameters) -> Generator[None, None, bytes]:
    """`encode_message` in steps of at most a millisecond each. Yields between them, and returns the frame."""
    deflater = deflate.deflater(server=True)
    if deflater is None:
        return encode_message(message)
    parts = []
    for start in range(0, len(message), DEFLATE_STEP):
        part = message[start : start + DEFLATE_STEP]
        parts.append(part.encode() if isinstance(part, str) else part)
        yield
    compressed = yield from deflater.steps(parts)
    opcode = _TEXT if isinstance(message, str) else _BINARY
    if len(compressed) < sum(map(len, parts)):
        return build_frame(opcode, compressed, rsv1=True)
    return build_frame(opcode, b"".join(parts))


class Encoder:
    """Makes the frames of a side that masks them, or that compresses with a context kept between messages.

    Frames must be sent in the order in which they were made.
    """

    __slots__ = ("_client", "_deflater", "_threshold")

    def __init__(self, deflate: DeflateParameters | None, *, client: bool) -> None:
        self._client = client
        self._deflater = None if deflate is None else deflate.deflater(server=not client)
        self._threshold = 0 if deflate is None else deflate.threshold

    def encode(self, message: str | bytes) -> bytes:
        """The frame that carries `message`. Raises TypeError; UnicodeEncodeError for a str with lone surrogates."""
        if self._deflater is None and (frame := plain_frame(message, new_key() if self._client else b"")) is not None:
            return frame
        if isinstance(message, str):
            payload, opcode = message.encode(), _TEXT
        else:
            payload, opcode = _as_bytes(message), _BINARY
        if self._deflater is not None and len(payload) >= self._threshold:
            # Sent even when it grew: the context has moved on, and the peer's must.
            return build_frame(opcode, self._deflater.compress(payload), mask=self._client, rsv1=True)
        return build_frame(opcode, payload, mask=self._client)
