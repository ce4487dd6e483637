"""An operator's own pages for the server's errors. Read at the start: in an error there may be no descriptor left."""

from __future__ import annotations

import re
from pathlib import Path

from greenserve.errors import ConfigurationError

LARGEST = 1 << 18  # bytes: it is sent from memory, perhaps to thousands of clients at once
_NAME = re.compile(r"([45][0-9]{2})\.html")


def read_error_pages(directory: str | None) -> dict[int, bytes]:
    """The pages DIRECTORY/STATUS.html, by status. Raises ConfigurationError."""
    if directory is None:
        return {}
    pages = {}
    try:
        for path in Path(directory).iterdir():
            match = _NAME.fullmatch(path.name)
            if match is not None:
                pages[int(match[1])] = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"error_pages = {directory!r}: {error.filename}: {error.strerror}; name a directory that can be read"
        ) from None
    if not pages:
        raise ConfigurationError(f"error_pages = {directory!r}: no page is there; name one 500.html, for example")
    for status, page in pages.items():
        if len(page) > LARGEST:
            raise ConfigurationError(f"error_pages = {directory!r}: {status}.html is larger than {LARGEST} bytes")
    return pages
