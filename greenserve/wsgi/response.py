"""wsgi.file_wrapper: a file as a response body, which the server may hand to the kernel (PEP 3333)."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from typing import Any


class FileWrapper:
    """Iterates over `filelike` in blocks of `block_size` bytes; a regular file is sent with sendfile instead."""

    def __init__(self, filelike: Any, block_size: int = 65536) -> None:
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

    def regular_file(self) -> tuple[int, int, int] | None:
        """(descriptor, offset, bytes from there to the end) when it is a regular file; else None.

        A text file, or one whose object has transformed bytes on the way (gzip), does not tell its position in bytes of
        the descriptor: only what says that it is a plain binary reader counts.
        """
        if not _is_plain_binary(self.filelike):
            return None
        try:
            fd = self.filelike.fileno()
            info = os.fstat(fd)
            offset = self.filelike.tell()
        except (OSError, ValueError, AttributeError):
            return None
        if not stat.S_ISREG(info.st_mode):
            return None
        return fd, offset, max(0, info.st_size - offset)


def _is_plain_binary(filelike: Any) -> bool:

    if isinstance(filelike, io.BufferedReader | io.BufferedRandom | io.FileIO):
        return True
    # tempfile.NamedTemporaryFile wraps the real one.
    return isinstance(getattr(filelike, "file", None), io.BufferedReader | io.BufferedRandom | io.FileIO)
