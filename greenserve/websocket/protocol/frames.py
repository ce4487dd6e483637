"""Frames (RFC 6455 §5.2): reading one head, building one frame. Pure functions on bytes, no state.

 0                   1                   2                   3
 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
+-+-+-+-+-------+-+-------------+-------------------------------+
|F|R|R|R| opcode|M| Payload len |  Extended payload length      |
|I|S|S|S|  (4)  |A|     (7)     |  (16 or 64 bits, network      |
|N|V|V|V|       |S|             |   order, in fewest bytes)     |
| |1|2|3|       |K|             |                               |
+-+-+-+-+-------+-+-------------+-------------------------------+
| Masking-key (4 bytes, if M is set) | Payload data ...
"""

from __future__ import annotations

import os
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple

from greenserve.websocket.protocol.errors import ProtocolViolation
from greenserve.websocket.protocol.mask import apply_mask


class Opcode(IntEnum):
    """RFC 6455 §11.8. Bit 3 marks a control frame."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


# Plain integers: comparing with a member of an IntEnum costs five times as much, on every frame.
FIN: Final = 0x80
RSV1: Final = 0x40  # RFC 7692 §6: the message is compressed
RSV2_RSV3: Final = 0x30
OPCODE: Final = 0x0F
CONTROL: Final = 0x08
MASK: Final = 0x80
LENGTH: Final = 0x7F
LENGTH_16: Final = 126  # the length is in the next 2 bytes
LENGTH_64: Final = 127  # the length is in the next 8 bytes
MAX_CONTROL: Final = 125  # RFC 6455 §5.5, and the longest that needs no extended length

_OPCODES: Final = {int(opcode): opcode for opcode in Opcode}
_UINT16: Final = Struct("!H")
_UINT64: Final = Struct("!Q")
_HEAD_16: Final = Struct("!BBH")
_HEAD_64: Final = Struct("!BBQ")


class FrameHead(NamedTuple):
    """What stands before a payload. `key` is empty when nothing is masked; `start` is where the payload begins."""

    fin: bool
    rsv1: bool
    opcode: Opcode
    length: int
    key: bytes
    start: int


def parse_head(buffer: bytes, start: int, *, masked: bool, compression: bool) -> FrameHead | None:
    """Read the frame head at buffer[start]; None when it is not complete yet.

    masked: whether the peer must mask (clients must, servers must not, RFC 6455 §5.1). compression: whether RSV1 has
    been negotiated. Raises ProtocolViolation, as early as the bytes at hand show it.
    """
    if len(buffer) < start + 2:
        return None
    first, second = buffer[start], buffer[start + 1]
    opcode = _checked_opcode(first, second, compression)
    if bool(second & MASK) is not masked:
        raise ProtocolViolation("a client's frame is not masked" if masked else "a server's frame is masked")
    position = start + 2
    length = second & LENGTH
    if length >= LENGTH_16:
        size = 2 if length == LENGTH_16 else 8
        if len(buffer) < position + size:
            return None
        length = _extended_length(buffer, position, size)
        position += size
    key = b""
    if masked:
        key = buffer[position : position + 4]
        if len(key) < 4:
            return None
        position += 4
    return FrameHead(first >= FIN, bool(first & RSV1), opcode, length, key, position)


def _checked_opcode(first: int, second: int, compression: bool) -> Opcode:
    opcode = _OPCODES.get(first & OPCODE)
    if opcode is None:
        raise ProtocolViolation(f"the opcode 0x{first & OPCODE:x} is reserved")
    if first & RSV2_RSV3:
        raise ProtocolViolation("a reserved bit is set that no extension has claimed")
    # RFC 7692 §6.1: only the first frame of a message carries RSV1, control frames never.
    if first & RSV1 and not (compression and opcode in (Opcode.TEXT, Opcode.BINARY)):
        raise ProtocolViolation("RSV1 is set where compression is not possible or not agreed")
    if opcode & CONTROL:
        if first < FIN:
            raise ProtocolViolation("a control frame is fragmented")
        if second & LENGTH > MAX_CONTROL:
            raise ProtocolViolation("a control frame is longer than 125 bytes")
    return opcode


def _extended_length(buffer: bytes, position: int, size: int) -> int:
    length: int
    (length,) = (_UINT16 if size == 2 else _UINT64).unpack_from(buffer, position)
    # RFC 6455 §5.2: the fewest bytes must be used, and the top bit of eight is 0.
    if length <= (MAX_CONTROL if size == 2 else 0xFFFF):
        raise ProtocolViolation("a length is not encoded in the fewest bytes")
    if length >> 63:
        raise ProtocolViolation("a length has its most significant bit set")
    return length


def build_frame(opcode: int, payload: bytes, *, mask: bool = False, fin: bool = True, rsv1: bool = False) -> bytes:
    """One frame, ready to send. mask: True on a client, which takes a fresh random key for each frame (§5.3)."""
    first = opcode | (FIN if fin else 0) | (RSV1 if rsv1 else 0)
    if not mask:
        return build_head(first, len(payload), 0) + payload
    key = new_key()
    return b"".join((build_head(first, len(payload), MASK), key, apply_mask(payload, key)))


def build_head(first: int, size: int, flag: int) -> bytes:
    """What stands before key and payload. first: its first byte; size: bytes of payload; flag: MASK or 0."""
    if size <= MAX_CONTROL:
        return bytes((first, flag | size))
    if size <= 0xFFFF:
        return _HEAD_16.pack(first, flag | LENGTH_16, size)
    return _HEAD_64.pack(first, flag | LENGTH_64, size)


def new_key() -> bytes:
    """A client's key for one frame."""
    # §5.3 asks for unpredictable keys, or a page could choose the bytes on the wire: the system's randomness.
    return os.urandom(4)
