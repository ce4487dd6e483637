"""One message on its way in, put together from any number of frames, each in any number of pieces.

Every check happens as soon as the bytes are there: the limit before they are stored, UTF-8 at the first bad byte.
"""

from __future__ import annotations

from greenserve.websocket.deflate import Inflater
from greenserve.websocket.errors import MessageTooBig
from greenserve.websocket.frames import FrameHead, Opcode
from greenserve.websocket.mask import apply_mask, rotate
from greenserve.websocket.utf8 import Utf8Checker, decode


class IncomingMessage:
    """A text or binary message between its first frame's head and its last byte.

    `remaining` is how many payload bytes of the current frame are still to come, `fin` whether it is the last frame.
    """

    __slots__ = ("_data", "_inflater", "_key", "_limit", "_text", "fin", "remaining")

    def __init__(self, opcode: int, limit: int, inflater: Inflater | None) -> None:
        self._text = Utf8Checker() if opcode == Opcode.TEXT else None
        # One flat buffer: a list of pieces would cost forty bytes for each, and a peer chooses how many there are.
        self._data = bytearray()
        self._limit = limit
        self._inflater = inflater
        self._key = b""
        self.remaining = 0
        self.fin = False

    def begin_frame(self, head: FrameHead) -> None:
        """The next frame's head. Raises MessageTooBig when its length alone breaks the limit."""
        if self._inflater is None and len(self._data) + head.length > self._limit:
            raise MessageTooBig(f"a message is longer than {self._limit} bytes")
        self._key = head.key
        self.remaining = head.length
        self.fin = head.fin

    def feed(self, piece: bytes) -> None:
        """The next bytes of the current frame, at most `remaining`. Raises MessageTooBig or InvalidPayload."""
        self.remaining -= len(piece)
        if self._key:
            plain = apply_mask(piece, self._key)
            if self.remaining:
                self._key = rotate(self._key, len(piece))
        else:
            plain = piece
        if self._inflater is None:
            self._data += plain
        else:
            plain = self._inflater.feed(plain, self._data, self._limit)
        # The last piece is checked by `finish`, which decodes the whole at once.
        if self._text is not None and (self.remaining or not self.fin):
            self._text.feed(plain)

    def finish(self) -> str | bytes:
        """The whole message, after the last byte of its last frame. Raises MessageTooBig or InvalidPayload."""
        if self._inflater is not None:
            self._inflater.finish(self._data, self._limit)
        return bytes(self._data) if self._text is None else decode(self._data)
