"""Files as response bodies, which the server may hand to the kernel: wsgi.file_wrapper (PEP 3333), parts of files."""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Iterator
from tempfile import _TemporaryFileWrapper
from typing import Any, TypeAlias

from greenserve.errors import InvalidResponse

Part: TypeAlias = tuple[int, int, int]  # of a regular file: descriptor, offset, bytes

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

    # Werkzeug asks for these three before it goes to the beginning of a range; without them it reads all before it.

    def seekable(self) -> bool:
        """Whether `seek` works."""
        seekable = getattr(self.filelike, "seekable", None)
        return seekable is not None and bool(seekable())

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As of the file."""
        at: int = self.filelike.seek(offset, whence)
        return at

    def tell(self) -> int:
        """As of the file."""
        at: int = self.filelike.tell()
        return at

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

    def regular_file(self) -> Part | None:
        """(descriptor, offset, bytes from there on) when these are what `read` would give; else None."""
        file, limit = _unbound(self.filelike)
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
        return fd, offset, max(0, min(info.st_size - offset, limit))


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


# Classes of frameworks that bound what is read of a file, and their attributes: the file, and the bytes that are left.
_BOUNDED = {
    ("falcon.routing.static", "_BoundedFile"): ("fh", "remaining"),
    ("whitenoise.responders", "SlicedFile"): ("fileobj", "remaining"),
}


def _unbound(file: Any) -> tuple[Any, int]:
    """The file in one of these, and how many bytes may be read of it; any other file itself, without a bound."""
    kind = type(file)
    names = _BOUNDED.get((kind.__module__, kind.__name__))
    if names is not None and "read" not in vars(file):
        inner, left = (getattr(file, name, None) for name in names)
        if isinstance(left, int):
            return inner, left
    return file, sys.maxsize


def file_part(body: object) -> Part | None:
    """The part of a regular file that is what iterating over `body` would give; None where that is not certain."""
    kind = type(body)
    if kind is FilePart:
        return body.fd, body.offset, body.count  # type: ignore[attr-defined]  # as just asked
    if kind is FileWrapper:  # a subclass may have its own idea of blocks
        return body.regular_file()  # type: ignore[attr-defined,no-any-return]  # as just asked
    if kind.__name__ == "_RangeWrapper" and kind.__module__ == "werkzeug.wsgi":
        return _part_of_werkzeug(body)
    return None


def _part_of_werkzeug(body: Any) -> Part | None:
    """A range of Werkzeug's and Flask's `send_file`, as long as nothing of it was read: it counts from the beginning of
    the file, wherever that stands.
    """
    wrapper = body.iterable
    if type(wrapper) is not FileWrapper or body.read_length or body.end_reached or not body.seekable:
        return None
    part = wrapper.regular_file()
    if part is None:
        return None
    fd, offset, count = part
    left = max(0, offset + count - body.start_byte)
    return fd, body.start_byte, left if body.byte_range is None else min(left, body.byte_range)


_METHODS = frozenset(("read", "readall", "readinto", "tell", "fileno"))
