"""A request body, taken in whole before the application is called: a chunked one, and one that is late while the server
is crowded.

WSGI code goes by CONTENT_LENGTH: without it Django, Falcon and Bottle see an empty body. So the chunks are decoded, and
the length becomes known (RFC 9112 §7.1.3). A small body stays in memory, a larger one goes to a temporary file without
a name, in TMPDIR. What all clients together can make us hold is bounded, in memory and on the disk.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from io import BytesIO
from tempfile import TemporaryFile
from typing import IO

from greenserve.errors import ContentTooLarge
from greenserve.wsgi.body_reader import Source

logger = logging.getLogger("greenserve.server")

IN_MEMORY = 65536  # bytes of one body: most forms and calls of an API; a file costs a descriptor
# Of all bodies together, one part in so many of what they may hold may be in memory; then small ones go to files too.
MEMORY_SHARE = 64
READ_SIZE = 65536  # bytes


class NoRoom(ContentTooLarge):
    """413, for now: there is no room for another body (RFC 9110 §15.5.14)."""

    headers = (("Retry-After", "30"),)


class Budget:
    """What the bodies of one server may hold. each, total: bytes, of one body and of all."""

    __slots__ = ("each", "held", "in_memory", "most_in_memory", "total")

    def __init__(self, each: int, total: int) -> None:
        self.each = each
        self.total = total
        self.most_in_memory = max(IN_MEMORY, total // MEMORY_SHARE)
        self.held = 0  # bytes, in memory and on the disk
        self.in_memory = 0  # bytes


class Spool(Source):
    """One body: written as it comes, then read. `size`: in bytes."""

    __slots__ = ("_budget", "_file", "size")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._file: IO[bytes] = BytesIO()
        self.size = 0

    def write(self, data: bytes) -> None:
        """Add `data`. Raises ContentTooLarge; NoRoom where another time it would not be."""
        budget = self._budget
        if self.size + len(data) > budget.each:
            raise ContentTooLarge(f"the chunked body is larger than buffer_chunked, {budget.each} bytes")
        if budget.held + len(data) > budget.total:
            raise NoRoom("the server holds as many bytes of request bodies as buffer_chunked_total allows")
        self.size += len(data)
        budget.held += len(data)
        with _on_disk():
            if isinstance(memory := self._file, BytesIO):
                if self.size <= IN_MEMORY and budget.in_memory + len(data) <= budget.most_in_memory:
                    budget.in_memory += memory.write(data)
                    return
                held = memory.getvalue()  # not `getbuffer`: interpreters have crashed when they collect its views
                self._file = TemporaryFile()  # noqa: SIM115 - `close` does
                budget.in_memory -= len(held)
                self._file.write(held)
            self._file.write(data)

    def complete(self) -> None:
        """All has been written: it is read next. Raises NoRoom."""
        with _on_disk():
            self._file.seek(0)

    def read_body(self) -> bytes:
        """The next piece; b"" at the end."""
        return self._file.read(READ_SIZE)

    def close(self) -> None:
        """Give back what it holds. Harmless when that is done."""
        self._budget.held -= self.size
        self.size = 0
        file, self._file = self._file, BytesIO()
        if isinstance(file, BytesIO):
            self._budget.in_memory -= len(file.getvalue())
        with contextlib.suppress(OSError):  # what was not written yet no longer matters
            file.close()


@contextlib.contextmanager
def _on_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        logger.error("a request body could not be stored in a temporary file (TMPDIR says where): %s", error)
        raise NoRoom("the server has no room for a body at present") from error
