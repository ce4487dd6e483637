"""wsgi.input: the request's body as a file, read from the connection as the application asks for it.

It ends where the body ends (`wsgi.input_terminated`), so an application may read to the end without knowing Content-
Length.

Strategy. Small reads, and lines, are served from a piece in memory. A large read whose length is known is received into
what it returns, uncopied: a buffer that grows with what has come, not with what was announced.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from io import SEEK_CUR, BytesIO

LOOK_EVERY = 64  # reads between two looks at the clock: some 20 µs
ROOM = 65536  # bytes that a buffer has room for at first
AT_ONCE = 262144  # bytes received into a buffer at once; others have their turn in between
GROWTH = 2  # a buffer has room for so many times what has come; with 4 an upload of 1 MiB costs 4 % less

_NOTHING = BytesIO()  # shared: whatever is read from it, it stays the same


class Source:
    """Where the body comes from."""

    __slots__ = ()

    def read_body(self) -> bytes:
        """The next piece; b"" at the end. Raises ProtocolError, ClientDisconnected."""
        raise NotImplementedError

    @property
    def due(self) -> int:
        """How many bytes, all that are left of the body, `receive_into` may give; 0: it cannot."""
        return 0

    def receive_into(self, buffer: BytesIO, start: int, end: int) -> int:
        """Receive the next bytes into `buffer`, which holds `end`, at `start`; how many. Raises as `read_body`."""
        raise NotImplementedError


def _keep_on() -> None:
    """Do not give way."""


class BodyReader:
    """A request's body. Every read waits for what it needs, and no more; errors of the peer are raised to the
    application. give_way: called now and then, to let others run when this turn is over.

    A piece that has come is a file in memory: so it costs its bytes once, however small the reads. One that holds very
    many lines does not keep others waiting either.
    """

    __slots__ = ("_calls", "_ended", "_give_way", "_piece", "_source")

    def __init__(self, source: Source, give_way: Callable[[], None] = _keep_on) -> None:
        self._source: Source | None = source
        self._give_way = give_way
        self._piece = _NOTHING
        self._ended = False
        self._calls = 0

    def read(self, size: int | None = -1) -> bytes:
        """At most `size` bytes, and fewer only at the end; all that is left when `size` is negative or None."""
        self._look()
        wanted = sys.maxsize if size is None or size < 0 else size
        data = self._piece.read(wanted) or self._read_piece(wanted)
        if len(data) == wanted or self._source is None:
            return data
        if due := self._source.due:
            return self._receive(data, min(wanted, len(data) + due))
        pieces = [data]
        wanted -= len(data)
        while wanted and (piece := self._read_piece(wanted)):
            pieces.append(piece)
            wanted -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_piece(self, wanted: int) -> bytes:
        """The next piece, as far as it is wanted; b"" at the end."""
        piece = self._next_piece() if wanted else b""
        if len(piece) > wanted:
            self._piece = BytesIO(piece)
            piece = self._piece.read(wanted)
        return piece

    def _receive(self, first: bytes, size: int) -> bytes:
        """`size` bytes, of which `first` has come and all others are due. What BytesIO holds it returns uncopied."""
        buffer = BytesIO(first)
        at = room = len(first)
        while at < size and self._open_source().due:  # else another green thread has read the rest
            if at == room:
                room = min(size, max(ROOM, GROWTH * at))
                buffer.seek(room - 1)
                buffer.write(b"\0")
            at += self._open_source().receive_into(buffer, at, min(room, at + AT_ONCE))
        buffer.truncate(at)
        return buffer.getvalue()

    def read1(self, size: int | None = -1) -> bytes:
        """What has come, waiting only when that is nothing; at most `size` bytes."""
        self._look()
        data = self._piece.read(size)
        if not data and size != 0:
            self._piece = BytesIO(self._next_piece())
            data = self._piece.read(size)
        return data

    def readinto(self, target: bytearray | memoryview) -> int:
        """Read into a buffer; returns how many bytes, 0 at the end."""
        data = self.read(len(target))
        target[: len(data)] = data
        return len(data)

    def readline(self, size: int | None = -1) -> bytes:
        """Up to and with the next line feed, or `size` bytes, or the end, whichever comes first."""
        self._look()
        wanted = sys.maxsize if size is None or size < 0 else size
        line = self._piece.readline(wanted)
        if line.endswith(b"\n") or len(line) == wanted:
            return line
        pieces = [line]
        wanted -= len(line)
        while wanted and not line.endswith(b"\n") and (piece := self._next_piece()):
            self._piece = BytesIO(piece)
            line = self._piece.readline(wanted)
            pieces.append(line)
            wanted -= len(line)
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
        """Each line, as `readline` gives it. There may be very many, so most come from the piece itself."""
        while line := self.readline():
            yield line
            piece = self._piece
            for count, line in enumerate(piece, 1):
                if not line.endswith(b"\n"):  # its end is in the next piece, if it has one
                    piece.seek(-len(line), SEEK_CUR)
                    break
                yield line
                if count % LOOK_EVERY == 0:
                    self._give_way()
                if self._piece is not piece:  # what was to follow has been read, or the request is over
                    break

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
        self._piece = _NOTHING
        self._ended = False

    @property
    def closed(self) -> bool:
        """Whether the request is over; see `close`."""
        return self._source is None

    def _look(self) -> None:
        self._calls += 1
        if self._calls % LOOK_EVERY == 0:
            self._give_way()

    def _open_source(self) -> Source:
        if self._source is None:
            raise ValueError("the request is over: its body must be read before the application has answered")
        return self._source

    def _next_piece(self) -> bytes:
        """Wait for the next piece; b"" at the end."""
        if self._ended:
            return b""
        piece = self._open_source().read_body()
        if not piece:
            self._ended = True
        return piece


Input = BodyReader  # its former name


class _NoBody(Source):
    """The source of a request that has no body."""

    __slots__ = ()

    def read_body(self) -> bytes:
        """The end."""
        return b""


# Most requests have no body: they share one file, which keeps no state because it never holds a byte.
EMPTY = BodyReader(_NoBody())
EMPTY.read()
