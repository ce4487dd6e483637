"""wsgi.input: the request's body as a file, read from the connection as the application asks for it.

It ends where the body ends (`wsgi.input_terminated`), so an application may read to the end without knowing Content-
Length.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol


class Source(Protocol):
    """Where the body comes from."""

    def read_body(self) -> bytes:
        """The next piece; b"" at the end. Raises ProtocolError, ClientDisconnected."""


class Input:
    """A request's body. Every read waits for what it needs, and no more; errors of the peer are raised to the
    application.
    """

    __slots__ = ("_buffer", "_ended", "_source")

    def __init__(self, source: Source) -> None:
        self._source: Source | None = source
        self._buffer = b""
        self._ended = False

    def read(self, size: int | None = -1) -> bytes:
        """At most `size` bytes, and fewer only at the end; all that is left when `size` is negative or None."""
        if size is None or size < 0:
            return self._read_all()
        if size == 0:
            return b""
        have = len(self._buffer)
        if have < size and not self._ended:
            pieces = [self._buffer]
            while have < size:
                piece = self._next_piece()
                if not piece:
                    break
                pieces.append(piece)
                have += len(piece)
            self._buffer = pieces[1] if len(pieces) == 2 and not pieces[0] else b"".join(pieces)
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
        limit = -1 if size is None or size < 0 else size
        searched = 0
        pieces: list[bytes] = []
        while True:
            newline = self._buffer.find(b"\n")
            wanted = newline + 1 if newline >= 0 else len(self._buffer)
            if limit >= 0 and searched + wanted >= limit:
                pieces.append(self._take(limit - searched))
                break
            searched += wanted
            pieces.append(self._take(wanted))
            if newline >= 0:
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
        """The server's: the request is over. Whoever reads on gets ValueError, as of a closed file."""
        self._source = None
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
        buffer = self._buffer
        if size >= len(buffer):
            self._buffer = b""
            return buffer
        self._buffer = buffer[size:]
        return buffer[:size]

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
