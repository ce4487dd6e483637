"""The line of those WebSockets in a hub whose next message is large and still packed, and is waited for.

One is unpacked after the other, a step at a time: a kilobyte may become a megabyte, and so never more than one of them
is between the two. Short messages do not come here.
"""

from __future__ import annotations

import weakref
from typing import Protocol

from greenserve.hub.hub import Hub, HubCall


class Packed(Protocol):
    """A link, as the line sees it."""

    hub: Hub

    def serve(self) -> bool:
        """One step. Returns whether another one is needed."""


class Unpacker(HubCall):
    """First come, first served. For the hub's thread alone."""

    __slots__ = ("__weakref__", "_line")

    def __init__(self) -> None:
        self._line: dict[Packed, None] = {}

    def add(self, link: Packed) -> None:
        """Put `link` in line."""
        if not self._line:
            link.hub.ready.append(self)
        self._line[link] = None

    def switch(self) -> None:
        """Unpack until this turn is over."""
        link = next(iter(self._line))
        hub = link.hub
        while True:
            if not link.serve():
                del self._line[link]
                if not self._line:
                    return
                link = next(iter(self._line))
            if hub.turn_is_over():
                hub.ready.append(self)
                return


# Nothing in an Unpacker keeps its hub but the links in line, which leave it.
_unpackers: weakref.WeakKeyDictionary[Hub, Unpacker] = weakref.WeakKeyDictionary()


def unpacker_of(hub: Hub) -> Unpacker:
    """The hub's."""
    unpacker = _unpackers.get(hub)
    if unpacker is None:
        unpacker = _unpackers[hub] = Unpacker()
    return unpacker
