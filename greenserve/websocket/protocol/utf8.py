"""UTF-8 checked as it arrives (RFC 6455 §8.1), so that a bad message fails at its first bad byte, not at its end."""

from __future__ import annotations

from codecs import utf_8_decode

from greenserve.websocket.protocol.errors import InvalidPayload

NOT_UTF8 = "a text message is not valid UTF-8"


class Utf8Checker:
    """Checks one text, given in pieces that may cut a character anywhere."""

    # The decoded pieces are thrown away and the whole is decoded once at its end: keeping them would cost fifty bytes
    # for each piece, and a peer chooses how small the pieces are.
    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = b""

    def feed(self, piece: bytes) -> None:
        """Check the next piece. Raises InvalidPayload as soon as no continuation could make the text valid."""
        data = self._tail + piece
        try:
            _, used = utf_8_decode(data, "strict", False)
        except UnicodeDecodeError as error:
            raise InvalidPayload(NOT_UTF8) from error
        self._tail = tail = data[used:]
        # CPython gives an encoded surrogate (ED A0-BF ..) the benefit of its third byte, for error handlers' sake.
        if len(tail) == 2 and tail[0] == 0xED and tail[1] >= 0xA0:
            raise InvalidPayload(NOT_UTF8)

    def finish(self) -> None:
        """The text is over. Raises InvalidPayload when it ends within a character."""
        if self._tail:
            raise InvalidPayload(NOT_UTF8)


def decode(data: bytes | bytearray) -> str:
    """The text of a whole message. Raises InvalidPayload."""
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError as error:
        raise InvalidPayload(NOT_UTF8) from error
