"""A chunked request body, taken in whole before the application is called.

WSGI code goes by CONTENT_LENGTH: without it Django, Falcon and Bottle see an empty body. So the chunks are decoded, and
the length becomes known (RFC 9112 §7.1.3). A small body stays in memory, a larger one goes to a temporary file without
a name, in TMPDIR. What all clients together can make us hold is bounded, in memory and on the disk.
"""

from __future__ import annotations

import logging
from tempfile import TemporaryFile
from typing import IO

from greenserve.errors import ContentTooLarge

logger = logging.getLogger("greenserve.server")

IN_MEMORY = 65536  # bytes of one body: most forms and calls of an API; a file costs a descriptor
ALL_IN_MEMORY = 64 << 20  # bytes of all bodies together; once they are more, small ones go to files too
READ_SIZE = 65536  # bytes


class NoRoom(ContentTooLarge):
    """413, for now: there is no room for another body (RFC 9110 §15.5.14)."""

    headers = (("Retry-After", "30"),)


class Budget:
    """What the bodies of one server may hold. each, total: bytes, of one body and of all."""

    __slots__ = ("each", "held", "in_memory", "total")

    def __init__(self, each: int, total: int) -> None:
        self.each = each
        self.total = total
        self.held = 0  # bytes, in memory and on the disk
        self.in_memory = 0  # bytes


class Spool:
    """One body: written as it comes, then read. `size`: in bytes."""

    __slots__ = ("_budget", "_file", "_memory", "size")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self.size = 0

    def write(self, data: bytes) -> None:
        """Add `data`. Raises ContentTooLarge; NoRoom where another time it would not be."""
        budget = self._budget
        if self.size + len(data) > budget.each:
            raise ContentTooLarge(f"a chunked body is taken in up to {budget.each} bytes")
        if budget.held + len(data) > budget.total:
            raise NoRoom("the server holds as many bytes of chunked bodies as it may")
        self.size += len(data)
        budget.held += len(data)
        if self._file is None:
            if self.size <= IN_MEMORY and budget.in_memory + len(data) <= ALL_IN_MEMORY:
                self._memory += data
                budget.in_memory += len(data)
                return
            self._move_to_file()
        self._to_file(data)

    def _move_to_file(self) -> None:
        try:
            self._file = TemporaryFile()  # noqa: SIM115 - `close` does
        except OSError as error:
            raise _disk_fails(error) from error
        self._to_file(self._memory)
        self._budget.in_memory -= len(self._memory)
        self._memory = bytearray()

    def _to_file(self, data: bytes | bytearray) -> None:
        assert self._file is not None
        try:
            self._file.write(data)
        except OSError as error:
            raise _disk_fails(error) from error

    def complete(self) -> None:
        """All has been written: it is read next. Raises NoRoom."""
        if self._file is not None:
            try:
                self._file.seek(0)
            except OSError as error:
                raise _disk_fails(error) from error

    def read_body(self) -> bytes:
        """The next piece; b"" at the end."""
        if self._file is not None:
            return self._file.read(READ_SIZE)
        piece, self._memory = bytes(self._memory), bytearray()
        self._budget.in_memory -= len(piece)
        return piece

    def close(self) -> None:
        """Give back what it holds. Harmless when that is done."""
        self._budget.held -= self.size
        self._budget.in_memory -= len(self._memory)
        self.size = 0
        self._memory = bytearray()
        if self._file is not None:
            file, self._file = self._file, None
            try:
                file.close()
            except OSError:  # what was not written yet no longer matters
                pass


def _disk_fails(error: OSError) -> NoRoom:
    logger.error("a chunked body could not be stored in a temporary file (TMPDIR says where): %s", error)
    return NoRoom("the server has no room for a body at present")
