"""Which file a path names, and what a file there is sent with; decided by the path alone."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from greenserve.settings import Mount
from greenserve.static.content_types import content_type, may_have_siblings

INDEX = b"index.html"
IMMUTABLE = "public, max-age=31536000, immutable"

# A name in a path: no control character, no backslash, which is a slash elsewhere; and hidden files stay hidden,
# except those that RFC 8615 wants to be found. What is not UTF-8 is a name like any other: names are octets.
_NAME = re.compile(rb"(?!\.)[^\x00-\x1f\x7f/\\]+|\.well-known")

_KEPT_LENGTH = 256  # characters of a path whose place is kept: nearly every path that leads to a file
_KEPT_COUNT = 1024


@dataclass(frozen=True, slots=True)
class Place:
    """names: from the directory `root`; none for itself. kind: the content type. varies: there may be siblings."""

    root: bytes
    names: tuple[bytes, ...]
    kind: str
    varies: bool
    cache_control: str


class Places:
    """The directories of `mounts`. max_age: seconds for which clients may use a file without asking again; 0: they ask
    each time. immutable: found in the path of a file that never changes, since its name has a hash of what is in it.

    prefixes: one of them begins each path that has a place.
    """

    def __init__(self, mounts: Sequence[Mount], max_age: float, immutable: re.Pattern[str]) -> None:
        # PATH_INFO is octets in the guise of latin-1. The longest first: it is the nearest.
        self._roots = {
            mount.prefix.encode().decode("latin-1"): os.fsencode(Path(mount.directory).absolute())
            for mount in sorted(mounts, key=lambda mount: len(mount.prefix), reverse=True)
        }
        self.prefixes = tuple(prefix or "/" for prefix in self._roots)
        self._cache_control = f"public, max-age={int(max_age)}" if max_age else "no-cache"
        self._immutable = immutable
        self._find_kept: Callable[[str], Place | None] = lru_cache(_KEPT_COUNT)(self._find)

    def find(self, path: str) -> Place | None:
        """The place of a file with that PATH_INFO; None when no file may have it."""
        return self._find_kept(path) if len(path) <= _KEPT_LENGTH else self._find(path)

    def _find(self, path: str) -> Place | None:
        prefix = next((each for each in self._roots if (path + "/").startswith(each + "/")), None)
        if prefix is None:
            return None
        names = path[len(prefix) :].encode("latin-1").split(b"/")[1:]
        if names and not names[-1]:
            names[-1] = INDEX
        if not all(map(_NAME.fullmatch, names)):
            return None
        kind = content_type(names[-1].decode("latin-1") if names else "")
        cache_control = self._cache_control if self._immutable.search(path) is None else IMMUTABLE
        return Place(self._roots[prefix], tuple(names), kind, may_have_siblings(kind), cache_control)
