"""Subscribers that keep what they hear, for buses on real sockets."""

from __future__ import annotations

from greenserve.rooms.bus import Bus
from tests.waiting import until


class Recorder:
    """A bus, its subscriber, and what that has heard."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.heard: list[tuple[str, bytes]] = []
        self.subscribed: list[str] = []
        bus.open(self, ("will", b"gone"))

    def on_message(self, channel: str, payload: bytes) -> None:
        self.heard.append((channel, payload))

    def on_subscribed(self, channel: str) -> None:
        self.subscribed.append(channel)

    def payloads(self, channel: str) -> list[bytes]:
        return [payload for name, payload in self.heard if name == channel]

    def hears(self, channel: str) -> None:
        """Subscribe, and wait until that is so."""
        before = self.subscribed.count(channel)
        self.bus.subscribe(channel)
        until(lambda: self.subscribed.count(channel) > before)
