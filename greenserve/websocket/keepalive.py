"""One timer for all the WebSockets of a hub: silence, unanswered Closes, lingering ends are counted in its beats.

A timer each would cost more memory than the rest of an idle WebSocket; once a second over five thousand takes a
millisecond.
"""

from __future__ import annotations

import weakref
from typing import Protocol

from greenserve.hub.core.hub import Hub
from greenserve.hub.core.timers import Timer

MAX_SECONDS = 1.0
MIN_SECONDS = 0.01
BEATS = 4  # in the shortest time that a member counts


class Beating(Protocol):
    """Something that counts the seconds."""

    def tick(self, seconds: float) -> None:
        """`seconds` have passed."""


class Keepalive:
    """Ticks everything that was added every `seconds`, while there is something."""

    def __init__(self, hub: Hub, seconds: float) -> None:
        # Weak, and so are the members: a hub's keepalives are kept under it, and must not keep it when its thread ends.
        self._hub = weakref.ref(hub)
        self._seconds = seconds
        self._members: weakref.WeakSet[Beating] = weakref.WeakSet()
        self._timer: Timer | None = None

    def __len__(self) -> int:
        return len(self._members)

    def add(self, member: Beating) -> None:
        """Tick `member` from now on."""
        self._members.add(member)
        if self._timer is None:
            self._wait()

    def discard(self, member: Beating) -> None:
        """Tick it no more."""
        self._members.discard(member)

    def _wait(self) -> None:
        hub = self._hub()
        self._timer = hub.call_later(self._seconds, self._beat) if hub is not None else None

    def _beat(self) -> None:
        self._timer = None
        if self._members:
            self._wait()  # first: a member's error must not stop it
            for member in list(self._members):
                member.tick(self._seconds)


_keepalives: weakref.WeakKeyDictionary[Hub, dict[float, Keepalive]] = weakref.WeakKeyDictionary()


def keepalive_of(hub: Hub, shortest: float = 0.0) -> Keepalive:
    """The hub's keepalive for members that count times of `shortest` seconds (0: of any length): a quarter of that, at
    most a second.
    """
    seconds = min(MAX_SECONDS, max(MIN_SECONDS, shortest / BEATS)) if shortest else MAX_SECONDS
    beats = _keepalives.setdefault(hub, {})
    keepalive = beats.get(seconds)
    if keepalive is None:
        keepalive = beats[seconds] = Keepalive(hub, seconds)
    return keepalive
