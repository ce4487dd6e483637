"""Keeps the rooms of this process and those of other processes in step, over a bus.

Strategy. A process subscribes to one channel for each room that it has members in, and to CONTROL, on which every
process sends heartbeats. Presence is exchanged as protocol/presence.py describes. A process that was silent for EXPIRY
seconds counts as dead, and its members as gone; should it come back, it is asked for them.

Invariants. Everything here runs in the hub that opened the bus. A change in another OS thread is passed on to that hub,
which then looks up the present state: so two threads may report a member's coming and going in either order.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from greenserve.hub.core.hub import Hub
from greenserve.hub.core.originals import get_ident
from greenserve.hub.core.timers import Timer
from greenserve.rooms.bus import Bus
from greenserve.rooms.member import Member
from greenserve.rooms.protocol import MAX_PAYLOAD
from greenserve.rooms.protocol.envelope import Envelope, MessageKind, decode, encode, encode_value
from greenserve.rooms.protocol.presence import Change, Presence
from greenserve.rooms.room import Room

logger = logging.getLogger("greenserve.rooms")

CONTROL = ""  # no room has this name
HEARTBEAT = 5.0  # seconds between two heartbeats
EXPIRY = 16.0  # seconds: three heartbeats, and some delay
RETURN = 4.0  # seconds in which other processes, if they live, have connected again after a loss that all have noticed


class Sync:
    """A bus's subscriber. find: the room of a name, if it has members here. tell: called for a member of another
    process that has come (True) or gone. The bus is opened at the first use of a room, or by `open`.
    """

    def __init__(
        self,
        hub: Hub,
        bus: Bus,
        origin: bytes,
        find: Callable[[str], Room | None],
        tell: Callable[[Room, Member, bool], object],
    ) -> None:
        self.hub = hub
        self.bus = bus
        self.dropped = 0  # broadcasts that did not leave this process, since the last heartbeat
        self._origin = origin
        self._find = find
        self._tell = tell
        self._presences: dict[str, Presence] = {}
        self._announced: set[str] = set()  # rooms whose roster was sent
        self._last_heard: dict[bytes, float] = {}  # by process
        self._timer: Timer | None = None  # None: the bus is not open

    def open(self) -> None:
        """Open the bus, unless it is open. In the hub's thread."""
        if self._timer is None:
            self._timer = self.hub.call_later(HEARTBEAT, self._beat)
            self.bus.open(self, (CONTROL, encode(MessageKind.GOODBYE, self._origin)))
            self.bus.subscribe(CONTROL)

    def close(self) -> None:
        """Tell the other processes, and close the bus. In the hub's thread."""
        if self._timer is None:
            return
        self._timer.cancel()
        self._publish_control(MessageKind.GOODBYE)
        self.bus.close()
        for name in self._presences:
            room = self._find(name)
            if room is not None:
                room.remote.clear()
        self._presences.clear()

    # -- changes in this process

    def broadcast(self, name: str, message: str | bytes) -> None:
        """Send a message to the room's members in other processes. In any OS thread. Raises ValueError."""
        if isinstance(message, str):
            kind, body = MessageKind.TEXT, message.encode()
        else:
            kind, body = MessageKind.BINARY, bytes(message)
        if len(body) + 64 > MAX_PAYLOAD:
            raise ValueError(f"a message to a room that other processes share has at most {MAX_PAYLOAD - 64} bytes")
        self._in_hub(self._publish, name, encode(kind, self._origin, body))

    def changed(self, room: Room, member: Member) -> None:
        """A member of this process has come, gone or changed. In any OS thread."""
        self._in_hub(self._announce, room, member)

    def _in_hub(self, call: Callable[..., object], *args: Any) -> None:
        if get_ident() == self.hub.thread_id:
            call(*args)
        else:
            self.hub.call_soon_threadsafe(call, *args)

    def _publish(self, name: str, payload: bytes) -> None:
        self.open()
        if not self.bus.publish(name, payload):
            self.dropped += 1

    def _announce(self, room: Room, member: Member) -> None:
        """Tell the other processes of a member, as it is now."""
        self.open()
        name = room.name
        presence = self._presences.get(name)
        current = room.member_of(member.ws)
        if current is not None and current.id == member.id:
            if presence is None:
                presence = self._presences[name] = Presence()
                self.bus.subscribe(name)
            self._publish_change(name, MessageKind.JOIN, presence.join(member.id, current.info))
        elif presence is not None and member.id in presence.local:
            self._publish_change(name, MessageKind.LEAVE, presence.leave(member.id))
            if not presence.local:
                del self._presences[name]
                self._announced.discard(name)
                self.bus.unsubscribe(name)
                room.remote.clear()  # without a subscription nothing would remove them

    def _publish_change(self, name: str, kind: MessageKind, value: Any) -> None:
        if name in self._announced:  # otherwise the roster follows
            self.bus.publish(name, encode_value(kind, self._origin, value))

    def _publish_roster(self, name: str, *, ask: bool) -> None:
        self._announced.add(name)
        for body in self._presences[name].rosters(ask=ask):
            self.bus.publish(name, encode_value(MessageKind.ROSTER, self._origin, body))

    def _publish_control(self, kind: MessageKind, body: bytes = b"") -> None:
        self.bus.publish(CONTROL, encode(kind, self._origin, body))

    # -- what the bus reports

    def on_subscribed(self, channel: str) -> None:
        """A room's messages come from now on, or come again: send its roster and ask for those of other processes."""
        try:
            if channel == CONTROL:
                self._publish_control(MessageKind.HEARTBEAT)
                latest = self.hub.clock() - EXPIRY + RETURN
                self._last_heard = {origin: min(when, latest) for origin, when in self._last_heard.items()}
            elif channel in self._presences:
                self._publish_roster(channel, ask=True)
        except Exception:  # an info that JSON cannot express any more; the bus goes on
            logger.exception("rooms: the members of %r could not be sent to other processes", channel)

    def on_message(self, channel: str, payload: bytes) -> None:
        """A message of another process. May wait, while a large room is served. Raises nothing."""
        message = decode(payload)
        if message is None or message.origin == self._origin:
            return
        try:
            if channel == CONTROL:
                self._receive_control(message)
            else:
                self._receive(channel, message)
        except ValueError as error:
            logger.info("rooms: a %s of process %s is malformed: %s", message.kind.name, message.origin.hex(), error)
        except Exception:  # one message must not end the bus: no room would receive anything again
            logger.exception("rooms: a %s of process %s could not be handled", message.kind.name, message.origin.hex())

    def _receive(self, name: str, message: Envelope) -> None:
        self._last_heard[message.origin] = self.hub.clock()
        room, presence = self._find(name), self._presences.get(name)
        if room is None or presence is None:  # its last member here has just left
            return
        match message.kind:
            case MessageKind.TEXT:
                room.deliver(message.body.decode())
            case MessageKind.BINARY:
                room.deliver(message.body)
            case MessageKind.ROSTER_REQUEST if message.body == self._origin:
                self._publish_roster(name, ask=False)
            case MessageKind.JOIN | MessageKind.LEAVE | MessageKind.ROSTER:
                change = presence.receive(message, self.hub.clock())
                self._apply(room, change)
                if change.missing:
                    self.bus.publish(name, encode(MessageKind.ROSTER_REQUEST, self._origin, message.origin))
                if change.asked:
                    self._publish_roster(name, ask=False)

    def _receive_control(self, message: Envelope) -> None:
        if message.kind is MessageKind.GOODBYE:
            self._forget(message.origin)
            return
        if message.kind is MessageKind.RESEND and message.body == self._origin:
            for name in list(self._presences):
                self._publish_roster(name, ask=False)
        if message.kind is MessageKind.HEARTBEAT and message.origin not in self._last_heard:
            self._publish_control(MessageKind.RESEND, message.origin)
        self._last_heard[message.origin] = self.hub.clock()

    def _apply(self, room: Room, change: Change) -> None:
        for member_id in change.left:
            member = room.remote.pop(member_id, None)
            if member is not None:
                self._tell(room, member, False)
        for member_id, info in change.joined.items():
            member = room.remote[member_id] = Member(member_id, info)
            self._tell(room, member, True)

    def _forget(self, origin: bytes) -> None:
        self._last_heard.pop(origin, None)
        for name, presence in self._presences.items():
            room = self._find(name)
            change = presence.forget(origin)
            if room is not None:
                self._apply(room, change)

    # -- the heartbeat

    def _beat(self) -> None:
        self._timer = self.hub.call_later(HEARTBEAT, self._beat)
        self._publish_control(MessageKind.HEARTBEAT)
        limit = self.hub.clock() - EXPIRY
        for origin in [origin for origin, when in self._last_heard.items() if when < limit]:
            self._forget(origin)
        if self.dropped:
            logger.warning("rooms: %d broadcasts did not leave this process", self.dropped)
            self.dropped = 0
