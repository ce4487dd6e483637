"""Messages on their way out: the one frame that carries each. No I/O in this file."""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

from greenserve.websocket.protocol.deflate import DEFLATE_STEP, DeflateParameters
from greenserve.websocket.protocol.frames import FIN, MAX_CONTROL, Opcode, build_frame

_TEXT: Final = int(Opcode.TEXT)
_BINARY: Final = int(Opcode.BINARY)
# The heads of short frames that a server sends: looked up, not built.
_TEXT_HEADS: Final = tuple(bytes((FIN | _TEXT, size)) for size in range(MAX_CONTROL + 1))
_BINARY_HEADS: Final = tuple(bytes((FIN | _BINARY, size)) for size in range(MAX_CONTROL + 1))


def encode_message(message: str | bytes, deflate: DeflateParameters | None = None) -> bytes:
    """The frame in which a server sends `message`: the same bytes for every recipient of the same `deflate`.

    Without `deflate` it is right for every recipient, whatever was agreed with it, since each message is marked as
    compressed for itself. With it, a long message is compressed, if the server promised to keep no context
    (`server_no_context_takeover`): where it keeps one, the bytes would differ from connection to connection.
    """
    if isinstance(message, str):
        payload, opcode = message.encode(), _TEXT
    else:
        payload, opcode = message if type(message) is bytes else _as_bytes(message), _BINARY
    size = len(payload)
    if size <= MAX_CONTROL and (deflate is None or size < deflate.threshold):
        return (_TEXT_HEADS if opcode == _TEXT else _BINARY_HEADS)[size] + payload
    if deflate is not None and size >= deflate.threshold and deflate.server_no_context_takeover:
        deflater = deflate.deflater(server=True)
        compressed = payload if deflater is None else deflater.compress(payload)
        if len(compressed) < size:
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
        if isinstance(message, str):
            payload, opcode = message.encode(), _TEXT
        else:
            payload, opcode = _as_bytes(message), _BINARY
        if self._deflater is not None and len(payload) >= self._threshold:
            # Sent even when it grew: the context has moved on, and the peer's must.
            return build_frame(opcode, self._deflater.compress(payload), mask=self._client, rsv1=True)
        return build_frame(opcode, payload, mask=self._client)
