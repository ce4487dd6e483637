"""What processes and the broker of a Unix socket send each other: frames on a stream. No I/O in this file, and nothing
but the standard library: the broker has no more.

A frame is `!IBH` (the length of all that follows, the `Op`, the length of the channel), the channel, the payload.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple

from greenserve.rooms.protocol import MAX_PAYLOAD

_HEAD: Final = Struct("!IBH")
_AFTER_LENGTH: Final = _HEAD.size - 4
MAX_FRAME: Final = MAX_PAYLOAD + 1024  # bytes; a room's name has 255 at most
LOG: Final = b"\xff"  # a channel that no room has, as it is not UTF-8: what the broker has to say for the log


class Op(IntEnum):
    """What a frame is for. The broker sends a SUBSCRIBE back when the subscription holds."""

    SUBSCRIBE = 1
    UNSUBSCRIBE = 2
    MESSAGE = 3
    WILL = 4  # a message that the broker sends when the connection has ended


class Frame(NamedTuple):
    """One frame. payload: of a MESSAGE or a WILL."""

    op: Op
    channel: bytes
    payload: bytes


def frame(op: Op, channel: bytes, payload: bytes = b"") -> bytes:
    """The bytes of a frame."""
    return _HEAD.pack(_AFTER_LENGTH + len(channel) + len(payload), op, len(channel)) + channel + payload


class Parser:
    """Takes bytes in pieces of any size, gives frames."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete now. Raises ValueError for what is not a frame: the stream cannot go on then."""
        self._buffer += data
        while (found := self._next()) is not None:
            yield found

    def _next(self) -> Frame | None:
        buffer = self._buffer
        if len(buffer) < _HEAD.size:
            return None
        length, op, channel_length = _HEAD.unpack_from(buffer)
        if not _AFTER_LENGTH + channel_length <= length <= MAX_FRAME:
            raise ValueError(f"a frame with the lengths {length} and {channel_length} is malformed")
        end = length + 4
        if len(buffer) < end:
            return None
        middle = _HEAD.size + channel_length
        channel, payload = bytes(buffer[_HEAD.size : middle]), bytes(buffer[middle:end])
        del buffer[:end]
        return Frame(Op(op), channel, payload)
