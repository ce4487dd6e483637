"""How far the end of a WebSocket has come, as a table."""

from __future__ import annotations

from enum import IntEnum


class Stage(IntEnum):
    """Of one WebSocket; it goes forwards only."""

    OPEN = 0
    CLOSING = 1  # our Close is on its way, the peer's is awaited; messages are still handed over
    LEAVING = 2  # the same, but messages are not wanted any more
    ENDED = 3  # no message comes any more, none can be sent; what waits to be sent still goes
    LINGERING = 4  # our side is shut; what comes is thrown away
    CLOSED = 5


OPEN, CLOSING, LEAVING, ENDED, LINGERING, CLOSED = Stage  # a member of an Enum costs two look-ups

NEXT: dict[Stage, frozenset[Stage]] = {
    OPEN: frozenset({CLOSING, LEAVING, ENDED}),
    CLOSING: frozenset({LEAVING, ENDED}),
    LEAVING: frozenset({ENDED}),
    ENDED: frozenset({LINGERING, CLOSED}),
    LINGERING: frozenset({CLOSED}),
    CLOSED: frozenset(),
}
