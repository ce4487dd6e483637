"""One message on its way in, put together from any number of frames, each in any number of pieces.

Strategy. What arrives is kept as it came. A compressed message is inflated only when it is complete and a receiver
wants it, and so is a long text decoded: a kilobyte that becomes a megabyte costs its kilobyte until then.

Every check happens as soon as the bytes are there: the limit before they are stored, UTF-8 at the first bad byte; those
of a compressed message, when it is inflated.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Generator
from io import BytesIO
from sys import getsizeof
from typing import TypeAlias

from greenserve.websocket.protocol.deflate import Inflater
from greenserve.websocket.protocol.errors import InvalidPayload, MessageTooBig
from greenserve.websocket.protocol.frames import FrameHead, Opcode
from greenserve.websocket.protocol.mask import apply_mask, rotate
from greenserve.websocket.protocol.utf8 import NOT_UTF8, Utf8Checker, decode

STEP = 16384  # bytes that are inflated or decoded at a time
OVERHEAD = 512  # bytes of a PackedMessage beside its data


class PackedMessage:
    """A complete message as it came, to be unpacked step by step. size: bytes of memory that it holds, as it stands."""

    __slots__ = ("_steps", "size")

    def __init__(self, data: bytes, limit: int, inflater: Inflater | None, *, text: bool) -> None:
        self._steps = _unpack(data, limit, inflater, text)
        self.size = OVERHEAD + len(data)

    def step(self) -> str | bytes | None:
        """Unpack some 16 KiB more. Returns the message once it is complete. Raises MessageTooBig, InvalidPayload."""
        done = 0
        try:
            while done < STEP:
                count, held = next(self._steps)
                done += count
                self.size = OVERHEAD + held
        except StopIteration as end:
            message: str | bytes = end.value
            return message
        return None


_Steps: TypeAlias = Generator[tuple[int, int], None, str | bytes]  # yields (bytes done, bytes held)


def _unpack(data: bytes, limit: int, inflater: Inflater | None, text: bool) -> _Steps:
    if inflater is not None:
        inflated = BytesIO()
        for count in inflater.inflate(data, inflated, limit):
            yield count, len(data) + inflated.tell()
        data = inflated.getvalue()
    if not text:
        return data
    if len(data) <= STEP:
        return decode(data)
    decoder = getincrementaldecoder("utf-8")()
    pieces = []
    held = len(data)
    for start in range(0, len(data), STEP):
        try:
            piece = decoder.decode(data[start : start + STEP], start + STEP >= len(data))
        except UnicodeDecodeError as error:
            raise InvalidPayload(NOT_UTF8) from error
        pieces.append(piece)
        held += getsizeof(piece)
        yield STEP, held
    return "".join(pieces)


class IncomingMessage:
    """A text or binary message between its first frame's head and its last byte.

    `remaining` is how many payload bytes of the current frame are still to come, `fin` whether it is the last frame.
    """

    __slots__ = ("_data", "_inflater", "_key", "_limit", "_text", "fin", "remaining")

    def __init__(self, opcode: int, limit: int, inflater: Inflater | None) -> None:
        self._text = Utf8Checker() if opcode == Opcode.TEXT else None
        # One flat buffer: a list of pieces would cost forty bytes for each, and a peer chooses how many there are. And
        # it gives its bytes without a copy of them.
        self._data = BytesIO()
        self._limit = limit
        self._inflater = inflater
        self._key = b""
        self.remaining = 0
        self.fin = False

    @property
    def size(self) -> int:
        """Bytes that have come."""
        return self._data.tell()

    def begin_frame(self, head: FrameHead) -> None:
        """The next frame's head. Raises MessageTooBig when its length alone breaks the limit."""
        limit = self._limit
        if self._inflater is not None:
            limit += (limit >> 2) + 1024  # what does not compress grows, and a flush in between costs five bytes
        if self._data.tell() + head.length > limit:
            raise MessageTooBig(f"a message is longer than {self._limit} bytes")
        self._key = head.key
        self.remaining = head.length
        self.fin = head.fin

    def feed(self, piece: bytes) -> None:
        """The next bytes of the current frame, at most `remaining`. Raises InvalidPayload."""
        self.remaining -= len(piece)
        if self._key:
            plain = apply_mask(piece, self._key)
            if self.remaining:
                self._key = rotate(self._key, len(piece))
        else:
            plain = piece
        self._data.write(plain)
        if self._text is not None and self._inflater is None:
            self._text.feed(plain)

    def finish(self) -> str | bytes | PackedMessage:
        """The whole message, after the last byte of its last frame. Raises InvalidPayload."""
        data = self._data.getvalue()
        if self._inflater is not None:
            return PackedMessage(data, self._limit, self._inflater, text=self._text is not None)
        if self._text is None:
            return data
        self._text.finish()
        return decode(data) if len(data) <= STEP else PackedMessage(data, self._limit, None, text=True)
