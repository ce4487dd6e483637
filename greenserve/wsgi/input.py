"""wsgi.input: the request's body as a file, read from the connection as the application asks for it.

It ends where the body ends (`wsgi.input_terminated`), so an application may read to the end without knowing Content-
Length.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Protocol

LOOK_EVERY = 64  # hand-overs of bytes between two looks at the clock: some 30 µs


class Source(Protocol):
    """Where the body comes from."""

    def read_body(self) -> bytes:
        """The next piece; b"" at the end. Raises ProtocolError, ClientDisconnected."""


def _keep_on() -> None:
    """Do not give way."""


class Input:
    """A request's body. Every read waits for what it needs, and no more; errors of the peer are raised to the
    application. give_way: called now and then, to let others run when this turn is over.

    A piece is never cut up to take from it: `_at` says how far it is consumed, so a piece of any size costs its bytes
    once, however small the reads. One that holds very many lines does not keep others waiting either.
    """

    __slots__ = ("_at", "_buffer", "_ended", "_give_way", "_hand_overs", "_source")

    def __init__(self, source: Source, give_way: Callable[[], None] = _keep_on) -> None:
        self._source: Source | None = source
        self._give_way = give_way
        self._buffer = b""
        self._at = 0  # how much of the buffer is consumed
        self._ended = False
        self._hand_overs = 0

    def read(self, size: int | None = -1) -> bytes:
        """At most `size` bytes, and fewer only at the end; all that is left when `size` is negative or None."""
        if size is None or size < 0:
            return self._read_all()
        if size > len(self._buffer) - self._at:
            pieces = [self._take(len(self._buffer))]
            missing = size - len(pieces[0])
            while missing > 0 and (piece := self._next_piece()):
                pieces.append(piece)
                missing -= len(piece)
            if missing < 0:
                self._buffer, self._at = piece, len(piece) + missing
                pieces[-1] = piece[:missing]
            return pieces[1] if len(pieces) == 2 and not pieces[0] else b"".join(pieces)
        return self._take(size)

    def read1(self, size: int | None = -1) -> bytes:
        """What has come, waiting only when that is nothing; at most `size` bytes."""
        if not self._buffer and size != 0:
            self._buffer = self._next_piece()
        return self._take(len(self._buffer) if size is None or size < 0 else size)

    def readinto(self, target: bytearray | memoryview) -> int:
        """Read into a buffer; returns how many bytes, 0 at the end."""
        data = self.read(len(target))
        target[: len(data)] = data
        return len(data)

    def readline(self, size: int | None = -1) -> bytes:
        """Up to and with the next line feed, or `size` bytes, or the end, whichever comes first."""
        left = sys.maxsize if size is None or size < 0 else size
        pieces: list[bytes] = []
        while left > 0:
            at = self._at
            end = self._buffer.find(b"\n", at, at + left) + 1
            piece = self._take(end - at if end else left)
            if end and not pieces:
                return piece
            pieces.append(piece)
            left -= len(piece)
            if end or not left:
                break
            self._buffer = self._next_piece()
            if not self._buffer:
                break
        return b"".join(pieces)

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        """All lines that are left; with a positive `hint`, lines until they have that many bytes together."""
        lines: list[bytes] = []
        size = 0
        for line in self:
            lines.append(line)
            size += len(line)
            if hint is not None and 0 < hint <= size:
                break
        return lines

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def close(self) -> None:
        """Nothing: the body belongs to the server, which skips what is left."""

    def flush(self) -> None:
        """Nothing: the io module's wrappers call it at their end (since Python 3.13, and complain where it is not)."""

    def readable(self) -> bool:
        """True, as io.BufferedReader and io.TextIOWrapper ask."""
        return True

    def writable(self) -> bool:
        """False."""
        return False

    def seekable(self) -> bool:
        """False: it is a stream."""
        return False

    def release(self) -> None:
        """The server's: the request is over. Further reads raise ValueError, as on a closed file."""
        self._source = None
        self._give_way = _keep_on
        self._buffer = b""
        self._ended = False

    @property
    def closed(self) -> bool:
        """Whether the request is over; see `close`."""
        return self._source is None

    def _read_all(self) -> bytes:
        pieces = [self._take(len(self._buffer))]
        while piece := self._next_piece():
            pieces.append(piece)
        return b"".join(pieces)

    def _take(self, size: int) -> bytes:
        """The next `size` bytes of the buffer, or all that it has."""
        buffer, at = self._buffer, self._at
        end = at + size
        if end < len(buffer):
            self._at = end
            taken = buffer[at:end]
        else:
            self._buffer, self._at = b"", 0
            taken = buffer[at:] if at else buffer
        self._hand_overs += 1
        if self._hand_overs % LOOK_EVERY == 0:
            self._give_way()  # now, for another green thread may read from the same body meanwhile
        return taken

    def _next_piece(self) -> bytes:
        if self._ended:
            return b""
        if self._source is None:
            raise ValueError("the request is over: its body must be read before the application has answered")
        piece = self._source.read_body()
        self._ended = not piece
        return piece


class _NoBody:
    """The source of a request that has no body."""

    def read_body(self) -> bytes:
        """The end."""
        return b""


# Most requests have no body: they share one file, which keeps no state because it never holds a byte.
EMPTY = Input(_NoBody())
EMPTY.read()
