"""One timer for all the WebSockets of a hub: silence, unanswered Closes, lingering ends are counted in its beats.

A timer each would cost more memory than the rest of an idle WebSocket; once a second over five thousand takes a
millisecond.
"""

from __future__ import annotations

from typing import Protocol
from weakref import WeakKeyDictionary

from greenserve.hub.hub import Hub
from greenserve.hub.timers import Timer

SECONDS = 1.0


class Beating(Protocol):
    """Something that counts the seconds."""

    def tick(self, seconds: float) -> None:
        """`seconds` have passed."""


class Heartbeat:
    """Ticks everything that was added, while there is something."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._members: set[Beating] = set()
        self._timer: Timer | None = None

    def __len__(self) -> int:
        return len(self._members)

    def add(self, member: Beating) -> None:
        """Tick `member` from now on."""
        self._members.add(member)
        if self._timer is None:
            self._timer = self._hub.call_later(SECONDS, self._beat)

    def discard(self, member: Beating) -> None:
        """Tick it no more."""
        self._members.discard(member)

    def _beat(self) -> None:
        self._timer = self._hub.call_later(SECONDS, self._beat) if self._members else None
        for member in list(self._members):
            member.tick(SECONDS)


_heartbeats: WeakKeyDictionary[Hub, Heartbeat] = WeakKeyDictionary()


def heartbeat_of(hub: Hub) -> Heartbeat:
    """The one of this hub."""
    heartbeat = _heartbeats.get(hub)
    if heartbeat is None:
        heartbeat = _heartbeats[hub] = Heartbeat(hub)
    return heartbeat
