"""A file as it is sent: itself, or a sibling of it that was compressed beforehand (app.js.br beside app.js).

A sibling is taken as it is; make it anew when its file changes.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass

from greenserve.http.accept import accepted_codings
from greenserve.http.conditions import Validators
from greenserve.static.beneath import open_beneath
from greenserve.static.places import Place
from greenserve.static.refused import Refused

# The content codings and their endings, as we prefer them: the smaller first.
ENDINGS = {"br": b".br", "zstd": b".zst", "gzip": b".gz"}
_CODINGS = (*ENDINGS, "identity")

# ns: a file that was changed just now may change again without another time or size (RFC 9110 §8.8.1).
SETTLED = 2 * 10**9
# Times before 1980 are made up by tools whose archives are to be the same each time: they say nothing of the file.
_EARLIEST = 315_619_200 * 10**9  # ns

# What is not there as a file that may be served, whatever else it is. ENXIO: a socket; EINVAL: no link.
ABSENT = frozenset(
    (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL, errno.ENAMETOOLONG, errno.ENXIO, errno.EXDEV, errno.ENODEV)
)


@dataclass(slots=True)
class Representation:
    """fd: open for reading, to be closed. size: bytes. coding: of Content-Encoding, "" for none."""

    place: Place
    fd: int
    size: int
    coding: str
    validators: Validators


def open_file(root: bytes, names: Sequence[bytes]) -> tuple[int, os.stat_result] | None:
    """Open what is there: a descriptor, to be closed, and what it is; None when it is neither a regular file nor a
    directory beneath `root`. Raises OSError when it is one, and cannot be opened.
    """
    # Most paths below / are the application's, and most files have no siblings: an exception costs three times as much.
    if not os.access(b"/".join((root, *names)), os.F_OK):
        return None
    try:
        fd = open_beneath(root, names)
    except OSError as error:
        if error.errno in ABSENT:
            return None
        raise
    info = os.fstat(fd)
    if stat.S_ISREG(info.st_mode) or stat.S_ISDIR(info.st_mode):
        return fd, info
    os.close(fd)
    return None


def choose(place: Place, fd: int, info: os.stat_result, accept_encoding: str | None) -> Representation:
    """The form of a regular file that the client likes best. fd: of the file itself, which becomes part of it or is
    closed. Raises Refused, OSError.
    """
    try:
        for coding in accepted_codings(accept_encoding, _CODINGS):
            if coding == "identity":
                taken, fd = fd, -1
                return _made(place, taken, info, "")
            sibling = _open_sibling(place, ENDINGS[coding]) if place.varies else None
            if sibling is not None:
                return _made(place, *sibling, coding)
        raise Refused(406, "Accept-Encoding excludes each form of the file", ("Vary", "Accept-Encoding"))
    finally:
        if fd >= 0:
            os.close(fd)


def _open_sibling(place: Place, ending: bytes) -> tuple[int, os.stat_result] | None:
    found = open_file(place.root, (*place.names[:-1], place.names[-1] + ending))
    if found is not None and not stat.S_ISREG(found[1].st_mode):
        os.close(found[0])
        return None
    return found


def _made(place: Place, fd: int, info: os.stat_result, coding: str) -> Representation:
    changed = info.st_mtime_ns if info.st_mtime_ns >= _EARLIEST else info.st_ctime_ns
    now = time.time_ns()
    weak = "" if changed + SETTLED <= now else "W/"
    etag = f'{weak}"{changed:x}-{info.st_size:x}{"-" + coding if coding else ""}"'
    # RFC 9110 §8.8.2.1: never later than the response.
    return Representation(place, fd, info.st_size, coding, Validators(etag, min(changed, now) // 10**9))
