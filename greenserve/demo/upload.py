"""A request body, counted while it arrives; and a second request that watches the first.

Nothing is stored: the bytes are counted, hashed and forgotten.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from greenserve.demo.web import Refused, Request, Response, json_line

MAX_UPLOAD = 1 << 30  # bytes; a gigabyte at loopback speed is a second or two of hashing
PIECE = 64 * 1024
MIN_PACE = 64 * 1024  # bytes per second
MAX_PACE = 999_999_999
MAX_KNOWN = 64  # uploads remembered for the pages that watch
WATCH_INTERVAL = 0.1  # seconds between two reports
WATCH_PATIENCE = 30.0  # seconds to wait for news: for the upload to begin, or for its next byte


class UploadState(Enum):
    """What became of an upload so far."""

    AWAITED = "awaited"
    RECEIVING = "receiving"
    COMPLETE = "complete"
    FAILED = "failed"


@dataclass(slots=True)
class Upload:
    """One upload's progress. total: the declared bytes, or None for a chunked body."""

    received: int = 0
    total: int | None = None
    state: UploadState = UploadState.AWAITED

    def line(self) -> bytes:
        """The progress as a line of JSON."""
        return json_line({"received": self.received, "total": self.total, "state": self.state.value})


_known: OrderedDict[str, Upload] = OrderedDict()


def _find(identifier: str | None) -> Upload:
    if identifier is None:
        return Upload()
    found = _known.setdefault(identifier, Upload())
    # The oldest is forgotten first. A request that works on it keeps it; only new requests do not find it any more.
    while len(_known) > MAX_KNOWN:
        _known.popitem(last=False)
    return found


def upload(request: Request) -> Response:
    """Read the body piece by piece, counting as it comes. `pace` slows the reading down, in bytes per second."""
    pace = request.integer("pace", 0, MIN_PACE, MAX_PACE)
    identifier = request.token("id")
    length = declared_length(request.environ)
    if length is not None and length > MAX_UPLOAD:
        raise _too_large()
    progress = _find(identifier)
    if progress.state is not UploadState.AWAITED:
        raise Refused("409 Conflict", f"An upload named {identifier} has already begun.")
    progress.total = length
    progress.state = UploadState.RECEIVING
    begin = time.monotonic()
    try:
        digest = receive(request.environ["wsgi.input"], progress, pace)
    except BaseException:
        progress.state = UploadState.FAILED
        raise
    progress.state = UploadState.COMPLETE
    seconds = time.monotonic() - begin
    return Response.json({"received": progress.received, "sha256": digest, "seconds": round(seconds, 3)})


def receive(stream: Any, progress: Upload, pace: int) -> str:
    """Read the whole body from `wsgi.input`. Its SHA-256, in hexadecimal. Refused when it is too long or cut short."""
    digest = hashlib.sha256()
    begin = time.monotonic()
    while progress.total is None or progress.received < progress.total:
        wanted = PIECE if progress.total is None else min(PIECE, progress.total - progress.received)
        piece = stream.read(wanted)
        if not piece:
            break
        digest.update(piece)
        progress.received += len(piece)
        if progress.received > MAX_UPLOAD:
            raise _too_large()
        if pace:
            time.sleep(max(0.0, begin + progress.received / pace - time.monotonic()))
    if progress.total is not None and progress.received < progress.total:
        raise Refused("400 Bad Request", f"The body ended after {progress.received} of {progress.total} bytes.")
    return digest.hexdigest()


def _too_large() -> Refused:
    return Refused("413 Content Too Large", f"An upload may have {MAX_UPLOAD} bytes here.")


def declared_length(environ: dict[str, Any]) -> int | None:
    """The body's length; None when only its end will tell (a chunked body, from a server that marks that end)."""
    declared = environ.get("CONTENT_LENGTH") or ""
    if declared:
        return int(declared)
    return None if environ.get("wsgi.input_terminated") else 0


def watch(request: Request) -> Response:
    """Stream what has arrived of the upload named `id`, from another request than the upload's own."""
    identifier = request.token("id")
    if identifier is None:
        raise Refused("400 Bad Request", "Say which upload: id=NAME, with the name that the upload itself is given.")
    return Response.stream(reports(_find(identifier)))


def reports(progress: Upload) -> Iterator[bytes]:
    """Lines of JSON until the upload has ended, or no news came for WATCH_PATIENCE seconds."""
    news = time.monotonic()
    last = None
    while time.monotonic() - news < WATCH_PATIENCE:
        # Asked before the line is sent: while it is being sent the upload may end, and the end has a line of its own.
        ended = progress.state in (UploadState.COMPLETE, UploadState.FAILED)
        line = progress.line()
        if line != last:
            yield line
            last, news = line, time.monotonic()
        if ended:
            break
        time.sleep(WATCH_INTERVAL)
