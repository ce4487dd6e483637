"""The short way, in and out: a whole message in one frame, neither compressed nor fragmented, below 64 KiB.

Both functions are twins of the compiled codec's, which take its place where it is. They judge what is plain alone, and
say None to everything else: then the state machine (`state.py`) and the encoder (`encode.py`) decide.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from greenserve import codec
from greenserve.websocket.protocol.frames import FIN, LENGTH_16, MASK, MAX_CONTROL, Opcode, build_head
from greenserve.websocket.protocol.mask import apply_mask

MAX_PLAIN: Final = 0xFFFF  # bytes: longer frames need a length of 64 bits, and seldom arrive whole

_TEXT: Final = FIN | int(Opcode.TEXT)
_BINARY: Final = FIN | int(Opcode.BINARY)
PLAIN: Final = frozenset({_TEXT, _BINARY})  # the first bytes of such frames
# The heads of short frames: looked up, not built.
_TEXT_HEADS: Final = tuple(bytes((_TEXT, size)) for size in range(MAX_CONTROL + 1))
_BINARY_HEADS: Final = tuple(bytes((_BINARY, size)) for size in range(MAX_CONTROL + 1))


def plain_message_in_python(buffer: bytes, start: int, masked: bool, limit: int) -> tuple[str | bytes, int] | None:
    """The plain message whose frame begins at buffer[start], and where that frame ends; None for anything else.

    masked: whether the peer must mask. limit: bytes that the payload may have, at most MAX_PLAIN.
    """
    position = start + 2
    if len(buffer) < position or buffer[start] not in PLAIN:
        return None
    # A frame that is masked where it must not be, or the other way round, gives a length no branch takes.
    length = buffer[start + 1] - (MASK if masked else 0)
    if length == LENGTH_16 and len(buffer) >= position + 2:
        length = buffer[position] << 8 | buffer[position + 1]
        position += 2
        if length <= MAX_CONTROL:  # not in the fewest bytes
            return None
    elif not 0 <= length <= MAX_CONTROL:
        return None
    if masked:
        position += 4
    end = position + length
    if end > len(buffer) or length > limit:
        return None
    payload = buffer[position:end]
    if masked:
        payload = apply_mask(payload, buffer[position - 4 : position])
    if buffer[start] == _BINARY:
        return payload, end
    try:
        return str(payload, "utf-8"), end
    except UnicodeDecodeError:
        return None


def plain_frame_in_python(message: str | bytes, key: bytes) -> bytes | None:
    """The frame that carries `message`; None for anything but a str or bytes of at most MAX_PLAIN bytes, and for a str
    with lone surrogates. key: four unpredictable bytes of a client's, b"" for a server.
    """
    if type(message) is bytes:
        payload, heads = message, _BINARY_HEADS
    elif type(message) is str:
        try:
            payload, heads = message.encode(), _TEXT_HEADS
        except UnicodeEncodeError:
            return None
    else:
        return None
    size = len(payload)
    if size > MAX_PLAIN:
        return None
    if key:
        return b"".join((build_head(heads[0][0], size, MASK), key, apply_mask(payload, key)))
    return (heads[size] if size <= MAX_CONTROL else build_head(heads[0][0], size, 0)) + payload


plain_message: Final[Callable[[bytes, int, bool, int], tuple[str | bytes, int] | None]] = (
    plain_message_in_python if codec.compiled is None else codec.compiled.plain_message
)
plain_frame: Final[Callable[[str | bytes, bytes], bytes | None]] = (
    plain_frame_in_python if codec.compiled is None else codec.compiled.plain_frame
)
