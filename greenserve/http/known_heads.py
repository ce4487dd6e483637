"""Heads that come again and again: from a monitor, a load generator, a client that polls.

Strategy. A head is kept at its second sight, and what is kept is bounded in bytes. People's traffic hardly ever repeats
a head, and must not pay for those that are kept: after many heads in turn that were not, only some are looked up.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from .head import RequestHead
from .limits import Limits

_SIZE: Final = 1024  # bytes: longer heads have cookies, and hardly ever come again
_BYTES: Final = 256 * 1024  # of all that are kept, which weigh some five times as much
_SEEN: Final = 4096  # heads that have been seen once
_PATIENCE: Final = 1000  # heads in turn that were not kept; 200 that come in turn are kept before
_SAMPLE: Final = 31  # then one of so many is looked up; a prime, so that no rhythm of heads is always missed


class KnownHeads:
    """The heads that passed the same limits. Heads are immutable, so requests can share them.

    looked: whether the last `get` has looked the head up.
    """

    __slots__ = ("_bytes", "_kept", "_missed", "_seen", "looked")

    def __init__(self) -> None:
        self._missed = 0  # in turn
        self.looked = True
        self._kept: dict[bytes, RequestHead] = {}
        self._seen: set[int] = set()
        self._bytes = 0

    def get(self, raw: bytes) -> RequestHead | None:
        """The head that these bytes are, if it is kept, and looked up."""
        missed = self._missed = self._missed + 1
        if len(raw) > _SIZE or (missed > _PATIENCE and missed % _SAMPLE):
            self.looked = False
            return None
        self.looked = True
        head = self._kept.get(raw)
        if head is not None:
            self._missed = 0
        return head

    def get_odd(self, raw: bytes) -> RequestHead | None:
        """The same for one that is not plain: to judge it costs so much that it is always looked up."""
        return self._kept.get(raw) if len(raw) <= _SIZE else None

    def add(self, raw: bytes, head: RequestHead) -> None:
        """Keep the head if it was seen before."""
        if len(raw) > _SIZE:
            return
        seen, fingerprint = self._seen, hash(raw)
        if fingerprint not in seen:
            if len(seen) >= _SEEN:
                seen.clear()
            seen.add(fingerprint)
            return
        if self._bytes + len(raw) > _BYTES:
            # An order of use would cost every hit; flooding only brings back the price of parsing.
            self._kept.clear()
            self._bytes = 0
        self._kept[raw] = head
        self._bytes += len(raw)


@lru_cache(maxsize=8)
def known_heads(limits: Limits) -> KnownHeads:
    """Shared by all connections with equal limits."""
    return KnownHeads()
