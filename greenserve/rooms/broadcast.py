"""A message on its way to the members of a room: encoded once, and handed to their links without ever waiting for one.

Strategy. The members of a room whose WebSockets are in one hub are a `Section` of it. A message for a few of them is
posted at once; one for many in slices, between which the hub runs other threads. A section's messages go one after
the other, so each member gets them in the order of the broadcasts.

Invariants. Links are touched in their hub's thread alone. A green thread that broadcasts waits until its message is
with all links: what it sends to one of them afterwards comes after it, and it cannot fill the memory with messages that
no member has got yet. A callback of the hub never waits. Another OS thread waits only when BACKLOG messages wait
already.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any, NamedTuple

from greenlet import getcurrent as _getcurrent

from greenserve.hub.hub import Hub, HubCall, running, wake
from greenserve.hub.native import get_ident
from greenserve.hub.timers import Token
from greenserve.rooms.member import Member
from greenserve.websocket.protocol import encode_message
from greenserve.websocket.protocol.deflate import DeflateParameters

SLICE = 200  # members that are served at a time: a millisecond
BACKLOG = 64  # messages that wait in a section, before another OS thread that broadcasts must wait
BACKLOG_SECONDS = 10.0  # and for how long it does at most: the hub that it waits for may be ending


class Frames:
    """A message as the frames that carry it, each made once: plain, and compressed when the first member wants that.

    Raises TypeError when `message` is neither str nor bytes.
    """

    __slots__ = ("_compressed", "_message", "plain")

    def __init__(self, message: str | bytes) -> None:
        self._message = message
        self.plain = encode_message(message)
        # Clients may agree on different windows. Browsers all agree on the same, so that this has one entry.
        self._compressed: dict[DeflateParameters, bytes] = {}

    def compressed(self, deflate: DeflateParameters) -> bytes:
        """The frame for a member that has agreed on `deflate`; a short message stays plain."""
        if len(self.plain) < deflate.threshold:
            return self.plain
        frame = self._compressed.get(deflate)
        if frame is None:
            frame = self._compressed[deflate] = encode_message(self._message, deflate)
        return frame


class Seat(NamedTuple):
    """A member, and what its link has agreed on."""

    member: Member
    deflate: DeflateParameters | None


class Delivery:
    """One message for one section. links: the members when it was broadcast; sent: how many links took it so far."""

    __slots__ = ("excluded", "frames", "links", "position", "sent", "waiter")

    def __init__(self, frames: Frames, excluded: Set[Any], links: list[Any]) -> None:
        self.frames = frames
        self.excluded = excluded
        self.links = links
        self.position = 0
        self.sent = 0
        self.waiter: Token = []  # the thread that waits for its end

    @property
    def addressed(self) -> int:
        """For how many it is."""
        return len(self.links) - sum(link in self.excluded for link in self.links)

    def slice(self, seats: dict[Any, Seat]) -> bool:
        """Serve the next SLICE members, of whom some may have left. Returns whether that was all."""
        frames, excluded = self.frames, self.excluded
        plain = frames.plain
        end = self.position + SLICE
        sent = 0
        for link in self.links[self.position : end]:
            seat = seats.get(link)
            if seat is None or link in excluded:
                continue
            deflate = seat.deflate
            if link.post(plain if deflate is None else frames.compressed(deflate)):
                sent += 1
        self.sent += sent
        self.position = end
        return end >= len(self.links)


class Section(HubCall):
    """The members of one room in one hub, and the messages that are on their way to them."""

    __slots__ = ("_busy", "_waiting", "hub", "seats")

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.seats: dict[Any, Seat] = {}  # by link, in the order of joining
        self._waiting: list[Delivery] = []  # not a deque: an empty one has 600 bytes, and most rooms never need it
        self._busy = False  # in the hub's ready queue; the hub's thread alone looks

    def deliver(self, frames: Frames, excluded: Set[Any]) -> int:
        """Send to all but `excluded` (links). In any OS thread.

        Returns how many links took it; in a callback of the hub and in another OS thread: how many it is meant for.
        """
        delivery = Delivery(frames, excluded, list(self.seats))
        if get_ident() != self.hub.thread_id:
            self._deliver_from_elsewhere(delivery)
            return delivery.addressed
        if not self._waiting and len(delivery.links) <= SLICE:
            delivery.slice(self.seats)
            return delivery.sent
        self._waiting.append(delivery)
        self._go_on()
        if _getcurrent() is self.hub.loop:
            return delivery.addressed
        greenlet = running()
        token = delivery.waiter = [greenlet]
        greenlet.hub.park(greenlet, token)
        return delivery.sent

    def _deliver_from_elsewhere(self, delivery: Delivery) -> None:
        greenlet = running() if len(self._waiting) >= BACKLOG else None
        token: Token = [greenlet]
        if greenlet is not None:
            delivery.waiter = token
        self._waiting.append(delivery)
        self.hub.call_soon_threadsafe(self._go_on)
        if greenlet is not None:
            hub = greenlet.hub
            hub.park_until(greenlet, token, hub.clock() + BACKLOG_SECONDS)

    def _go_on(self) -> None:
        if not self._busy and self._waiting:
            self._busy = True
            self.hub.ready.append(self)

    def switch(self) -> None:
        """One slice of the first message."""
        delivery = self._waiting[0]
        if delivery.slice(self.seats):
            del self._waiting[0]
            wake(delivery.waiter)
        self._busy = False
        self._go_on()
