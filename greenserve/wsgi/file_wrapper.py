"""Files as response bodies, which the server may hand to the kernel: wsgi.file_wrapper (PEP 3333), parts of files."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from tempfile import _TemporaryFileWrapper
from typing import Any

from greenserve.errors import InvalidResponse

BLOCK = 65536  # bytes, where a file is read


class FilePart:
    """`count` bytes of a regular file, from `offset`: a response body. fd: open for reading, and closed by `close`."""

    __slots__ = ("count", "fd", "offset")

    def __init__(self, fd: int, offset: int, count: int) -> None:
        self.fd = fd
        self.offset = offset
        self.count = count

    def __iter__(self) -> Iterator[bytes]:
        """Its blocks. Raises InvalidResponse when the file has become shorter."""
        at, end = self.offset, self.offset + self.count
        while at < end:
            block = os.pread(self.fd, min(end - at, BLOCK), at)
            if not block:
                raise InvalidResponse(f"the file was cut short while it was sent: {end - at} bytes are missing")
            yield block
            at += len(block)

    def close(self) -> None:
        """Close the descriptor. Harmless when it is closed."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


class FileWrapper:
    """Iterates over `filelike` in blocks of `block_size` bytes; a plain file is sent with sendfile instead."""

    def __init__(self, filelike: Any, block_size: int = BLOCK) -> None:
        self.filelike = filelike
        self.block_size = block_size
        close = getattr(filelike, "close", None)
        if close is not None:
            self.close = close

    # Its own iterator, not a generator: Werkzeug's ranges keep only what iter() gives them, and close that.
    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        block: bytes = self.filelike.read(self.block_size)
        if not block:
            raise StopIteration
        return block

    def blocks(self, count: int | None) -> Iterator[bytes]:
        """The blocks, as `read` gives them, up to `count` bytes in all; None for all of them."""
        if count is None:
            yield from self
            return
        while count > 0 and (block := self.filelike.read(self.block_size)):
            yield block[:count]
            count -= len(block)

    def regular_file(self) -> tuple[int, int, int] | None:
        """(descriptor, offset, bytes from there to the end) when these are what `read` would give; else None."""
        file = self.filelike
        if type(file) is _TemporaryFileWrapper and "read" not in vars(file):
            file = file.file
        try:
            if not _reads_its_descriptor(file):
                return None
            if type(file) is io.BufferedRandom:
                file.flush()  # what was written, and has not reached the file
            fd = file.fileno()
            info = os.fstat(fd)
            offset = file.tell()
        except (OSError, ValueError):
            return None
        # A file without a block on a disk (/proc, /sys) is made when it is read, and its size says nothing.
        if not stat.S_ISREG(info.st_mode) or not info.st_blocks:
            return None
        return fd, offset, max(0, info.st_size - offset)


def _reads_its_descriptor(file: Any) -> bool:
    """Whether what `read` gives is what the descriptor has, from `tell` on.

    So it is with exactly these types. A subclass may count, decrypt or limit; a buffer may lie on something else than a
    file (gzip), whose `fileno` is nevertheless that of the file below; and a method may be replaced on the object.
    """
    if type(file) is io.BufferedReader or type(file) is io.BufferedRandom:
        if not _METHODS.isdisjoint(vars(file)):
            return False
        file = file.raw
    return type(file) is io.FileIO and _METHODS.isdisjoint(vars(file)) and file.readable()


_METHODS = frozenset(("read", "readall", "readinto", "tell", "fileno"))
