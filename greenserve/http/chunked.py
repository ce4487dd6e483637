"""The chunked transfer coding of a request body, strict to RFC 9112 §7.1.

h11 takes what no sender writes: a CR inside extensions, whitespace after the size, extensions without end. It also
spends ten microseconds on every chunk. So the lines are read here by one pattern; a test holds this reader against h11.
No I/O here. Every step is one row of _READERS; `part` says which.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final

from greenserve.errors import BadRequest, ContentTooLarge, HeaderFieldsTooLarge, ProtocolError

from .fields import Items, split_lines
from .grammar import BROKEN_LINE, CHUNK_LINE, CHUNK_LINE_BEGUN, FIELD_LINES_BEGUN, PLAIN_FIELD_LINES
from .limits import Limits, is_due


class Part(Enum):
    """What of the body comes next on the wire."""

    SIZE = "chunk-size, chunk-ext, CRLF"
    DATA = "chunk-data"
    DATA_END = "the CRLF after chunk-data"
    TRAILER = "the trailer section and its blank line"
    NOTHING = "the body is complete"

    __hash__ = object.__hash__  # Enum's own is Python code, and a part is looked up with every chunk


_SIZE, _DATA, _DATA_END, _TRAILER, _NOTHING = Part
_CRLF: Final = b"\r\n"
_END: Final = b"\r\n\r\n"

# Steps of one call of `decode`: some 0.2 ms. A buffer may hold a hundred thousand tiny chunks.
_STEPS: Final = 256


class ChunkedBody:
    """Reads one body. `part` says where it stands; `trailers` is set once `part` is NOTHING."""

    __slots__ = ("_extensions", "_left", "_limits", "_received", "_seen", "part", "trailers")

    def __init__(self, limits: Limits) -> None:
        self.part = _SIZE
        self.trailers: Items = ()
        self._limits = limits
        self._left = 0  # octets of this chunk still to come
        self._received = 0  # octets of all chunks announced
        self._extensions = 0  # octets of all chunk extensions
        self._seen = 0  # octets of an incomplete line or trailer that were looked at

    def decode(self, buffer: bytes, at: int) -> tuple[bytes, int]:
        """Read `buffer` from `at`; return some of its data, decoded, and how far it is consumed.

        Without data, either more octets are needed or `part` is NOTHING. What follows the body is left alone.
        Raises BadRequest, ContentTooLarge (max_body), HeaderFieldsTooLarge (trailers).
        """
        pieces: list[bytes] = []  # what tiny chunks carry is handed out together
        for _ in range(_STEPS):
            if at == len(buffer):
                break
            try:
                after = _READERS[self.part](self, buffer, at, pieces)
            except ProtocolError:
                if pieces:
                    break  # what came before the fault is handed out first; the next call meets the fault again
                raise
            if after == at:
                break
            at = after
        return pieces[0] if len(pieces) == 1 else b"".join(pieces), at

    def _read_chunk(self, buffer: bytes, at: int, pieces: list[bytes]) -> int:
        start = self._read_size(buffer, at)
        end = start + self._left
        if self.part is _DATA and buffer.startswith(_CRLF, end):
            # The whole chunk is here, as nearly always: no steps in between.
            pieces.append(buffer[start:end])
            self.part = _SIZE
            return end + 2
        return start

    def _read_size(self, buffer: bytes, at: int) -> int:
        limits = self._limits
        if self._seen and buffer.find(b"\n", at + self._seen) < 0:
            self._check_begun_size(buffer, at)
            return at
        match = CHUNK_LINE.match(buffer, at, at + limits.max_chunk_line)
        if match is None:
            self._check_begun_size(buffer, at)
            return at
        self._seen = 0
        digits, extensions = match.groups()
        size = int(digits, 16)
        if limits.max_body is not None and self._received + size > limits.max_body:
            raise ContentTooLarge(f"the body is larger than max_body, {limits.max_body} bytes")
        if self._extensions + len(extensions) > limits.max_chunk_extensions:
            raise BadRequest(f"more than {limits.max_chunk_extensions} bytes of chunk extensions")
        self._extensions += len(extensions)
        self._received += size
        self._left = size
        self.part = _DATA if size else _TRAILER
        return match.end()

    def _read_data(self, buffer: bytes, at: int, pieces: list[bytes]) -> int:
        piece = buffer[at : at + self._left]
        pieces.append(piece)
        self._left -= len(piece)
        self.part = _DATA if self._left else _DATA_END
        return at + len(piece)

    def _check_begun_size(self, buffer: bytes, at: int) -> None:
        """Raise what is wrong with a line that does not match, for another reason than that its end is missing."""
        longest = self._limits.max_chunk_line
        line = buffer[at : at + longest + 1]
        seen, self._seen = self._seen, len(line)
        if len(line) > longest and _CRLF not in line[:-1]:
            raise BadRequest(f"a chunk-size line is longer than {longest} bytes")
        if is_due(seen, len(line)) and (_CRLF in line or CHUNK_LINE_BEGUN.fullmatch(line) is None):
            shown = line.split(_CRLF)[0][:100].decode("latin-1")
            raise BadRequest(f"not a chunk size with extensions: {shown!r}")

    def _read_data_end(self, buffer: bytes, at: int, _pieces: list[bytes]) -> int:
        end = buffer[at : at + 2]
        if end == _CRLF:
            self.part = _SIZE
            return at + 2
        if end == b"\r":
            return at
        raise BadRequest("chunk data is longer than its size says, or its CRLF is missing")

    def _read_trailer(self, buffer: bytes, at: int, pieces: list[bytes]) -> int:
        """The lines are kept apart from the header section: merged, they could rewrite it (RFC 9110 §6.5.1)."""
        if pieces:
            return at  # the trailer changes nothing about the data: hand that out first
        if buffer.startswith(_CRLF, at):
            self.part = _NOTHING
            return at + 2
        limits = self._limits
        end = buffer.find(_END, at + max(0, self._seen - 3)) + 4
        size = (len(buffer) if end < 4 else end) - at
        if size > limits.max_trailer:
            raise HeaderFieldsTooLarge(f"the trailer is larger than {limits.max_trailer} bytes")
        if end < 4:
            self._check_begun_trailer(buffer, at)
            return at
        block = buffer[at : end - 2]
        if block.count(b"\n") > limits.max_header_count:
            raise HeaderFieldsTooLarge(f"more trailer fields than max_header_count, {limits.max_header_count}")
        if PLAIN_FIELD_LINES.fullmatch(block) is None:
            raise _broken_trailer()
        self.trailers = split_lines(block)
        self.part = _NOTHING
        return end

    def _check_begun_trailer(self, buffer: bytes, at: int) -> None:
        seen, self._seen = self._seen, len(buffer) - at
        if BROKEN_LINE.search(buffer, at + max(0, seen - 1)) or (
            is_due(seen, self._seen) and FIELD_LINES_BEGUN.fullmatch(buffer, at) is None
        ):
            raise _broken_trailer()

    def _stay(self, _buffer: bytes, at: int, _pieces: list[bytes]) -> int:
        return at


def _broken_trailer() -> BadRequest:
    return BadRequest("the trailer is not a list of field lines")


_READERS: Final[dict[Part, Callable[[ChunkedBody, bytes, int, list[bytes]], int]]] = {
    _SIZE: ChunkedBody._read_chunk,
    _DATA: ChunkedBody._read_data,
    _DATA_END: ChunkedBody._read_data_end,
    _TRAILER: ChunkedBody._read_trailer,
    _NOTHING: ChunkedBody._stay,
}
