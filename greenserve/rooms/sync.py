"""Between the rooms of this process and a bus: what is broadcast here goes out, what others say comes in.

Strategy. A process subscribes to the rooms that it has members in, one channel each, and to one more on which all tell
that they live. Presence is told as presence.py has it. A process that was silent for EXPIRY seconds is taken for dead,
and its members for gone; should it come back, it is asked for them.

Invariants. Everything here happens in the hub that opened the bus. What happens elsewhere is passed on to it, and then
looked at as it is by then; so it does not matter in which order two OS threads tell of a member's coming and going.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from greenserve.hub.hub import Hub
from greenserve.hub.native import get_ident
from greenserve.hub.timers import Timer
from greenserve.rooms.bus import MAX_PAYLOAD, Bus
from greenserve.rooms.envelope import Envelope, Kind, decode, encode, encode_value
from greenserve.rooms.member import Member
from greenserve.rooms.presence import Heard, Presence
from greenserve.rooms.room import Room

logger = logging.getLogger("greenserve.rooms")

CONTROL = ""  # no room has this name
HEARTBEAT = 5.0  # seconds between two signs of life
EXPIRY = 16.0  # three of them, and some delay
RETURN = 4.0  # seconds in which others, if they live, have connected again after a loss that all have noticed


class Exchange:
    """A bus's listener. find: the room of a name, if it has members here. tell: of a member elsewhere that has come
    (True) or gone.
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
        self._told: set[str] = set()  # rooms whose list the others have been told
        self._heard: dict[bytes, float] = {}  # when each process was heard last
        self._timer: Timer | None = None
        self._hear_presence: dict[Kind, Callable[[Presence, bytes, Any], Heard]] = {
            Kind.JOIN: lambda presence, origin, value: presence.hear_join(origin, value, hub.clock()),
            Kind.LEAVE: lambda presence, origin, value: presence.hear_leave(origin, value, hub.clock()),
            Kind.ROSTER: lambda presence, origin, value: presence.hear_roster(origin, value),
        }

    def open(self) -> None:
        """Open the bus."""
        self.bus.open(self, (CONTROL, encode(Kind.BYE, self._origin)))
        self.bus.subscribe(CONTROL)
        self._timer = self.hub.call_later(HEARTBEAT, self._beat)

    def close(self) -> None:
        """Say goodbye, and close the bus. In the hub's thread."""
        if self._timer is not None:
            self._timer.cancel()
        self.bus.publish(CONTROL, encode(Kind.BYE, self._origin))
        self.bus.close()
        for name in self._presences:
            room = self._find(name)
            if room is not None:
                room.remote.clear()
        self._presences.clear()

    # -- what happens in this process

    def broadcast(self, name: str, message: str | bytes) -> None:
        """Send a message to the room's members in other processes. In any OS thread."""
        kind, body = (Kind.TEXT, message.encode()) if isinstance(message, str) else (Kind.BINARY, bytes(message))
        if len(body) + 64 > MAX_PAYLOAD:
            raise ValueError(f"a message to a room that other processes share has at most {MAX_PAYLOAD - 64} bytes")
        self._here(self._publish, name, encode(kind, self._origin, body))

    def changed(self, room: Room, member: Member) -> None:
        """A member of ours has come, gone or changed. In any OS thread."""
        self._here(self._sync, room, member)

    def _here(self, call: Callable[..., object], *args: Any) -> None:
        if get_ident() == self.hub.thread_id:
            call(*args)
        else:
            self.hub.call_soon_threadsafe(call, *args)

    def _publish(self, name: str, payload: bytes) -> None:
        if not self.bus.publish(name, payload):
            self.dropped += 1

    def _sync(self, room: Room, member: Member) -> None:
        """Tell the others of a member, as it is now."""
        presence = self._presences.get(room.name)
        current = room.member_of(member.ws)
        if current is not None and current.id == member.id:
            if presence is None:
                presence = self._presences[room.name] = Presence()
                self.bus.subscribe(room.name)
            self._say(room.name, Kind.JOIN, presence.join(member.id, current.info))
        elif presence is not None and member.id in presence.local:
            self._say(room.name, Kind.LEAVE, presence.leave(member.id))
            if not presence.local:
                del self._presences[room.name]
                self._told.discard(room.name)
                self.bus.unsubscribe(room.name)
                room.remote.clear()  # from now on we would not hear of their going

    def _say(self, name: str, kind: Kind, value: Any) -> None:
        if name in self._told:  # the whole list follows otherwise
            self.bus.publish(name, encode_value(kind, self._origin, value))

    def _say_roster(self, name: str, *, ask: bool) -> None:
        self._told.add(name)
        for body in self._presences[name].rosters(ask=ask):
            self.bus.publish(name, encode_value(Kind.ROSTER, self._origin, body))

    # -- what the bus tells

    def on_subscribed(self, channel: str) -> None:
        """We hear a room, or hear it again: tell our list and ask for the others'."""
        try:
            self._subscribed(channel)
        except Exception:  # of an info that JSON cannot say any more; the bus goes on
            logger.exception("rooms: the members of %r could not be sent to other processes", channel)

    def _subscribed(self, channel: str) -> None:
        if channel == CONTROL:
            self._sign_of_life()
            latest = self.hub.clock() - EXPIRY + RETURN
            self._heard = {origin: min(when, latest) for origin, when in self._heard.items()}
        elif channel in self._presences:
            self._say_roster(channel, ask=True)

    def on_message(self, channel: str, payload: bytes) -> None:
        """Another process has said something. May wait, while a large room is served. Raises nothing."""
        said = decode(payload)
        if said is None or said.origin == self._origin:
            return
        try:
            if channel == CONTROL:
                self._hear_control(said)
            else:
                self._hear(channel, said)
        except ValueError as error:
            logger.info("rooms: a %s of process %s is malformed: %s", said.kind.name, said.origin.hex(), error)
        except Exception:  # one message must not end the bus: no room would hear anything again
            logger.exception("rooms: a %s of process %s could not be handled", said.kind.name, said.origin.hex())

    def _hear(self, name: str, said: Envelope) -> None:
        self._heard[said.origin] = self.hub.clock()
        room, presence = self._find(name), self._presences.get(name)
        if room is None or presence is None:  # its last member here has just left
            return
        match said.kind:
            case Kind.TEXT:
                room.deliver(said.body.decode())
            case Kind.BINARY:
                room.deliver(said.body)
            case Kind.WHO if said.body == self._origin:
                self._say_roster(name, ask=False)
            case Kind.JOIN | Kind.LEAVE | Kind.ROSTER:
                value = said.value
                heard = self._hear_presence[said.kind](presence, said.origin, value)
                self._apply(room, heard)
                if heard.missing:
                    self.bus.publish(name, encode(Kind.WHO, self._origin, said.origin))
                if said.kind is Kind.ROSTER and value[-1]:
                    self._say_roster(name, ask=False)
            case _:
                pass

    def _hear_control(self, said: Envelope) -> None:
        if said.kind is Kind.BYE:
            self._forget(said.origin)
            return
        if said.kind is Kind.AGAIN and said.body == self._origin:
            for name in list(self._presences):
                self._say_roster(name, ask=False)
        if said.kind is Kind.ALIVE and said.origin not in self._heard:
            self.bus.publish(CONTROL, encode(Kind.AGAIN, self._origin, said.origin))
        self._heard[said.origin] = self.hub.clock()

    def _apply(self, room: Room, heard: Heard) -> None:
        for member_id in heard.left:
            member = room.remote.pop(member_id, None)
            if member is not None:
                self._tell(room, member, False)
        for member_id, info in heard.joined.items():
            member = room.remote[member_id] = Member(member_id, info)
            self._tell(room, member, True)

    def _forget(self, origin: bytes) -> None:
        self._heard.pop(origin, None)
        for name, presence in self._presences.items():
            room = self._find(name)
            heard = presence.forget(origin)
            if room is not None:
                self._apply(room, heard)

    # -- the heartbeat

    def _beat(self) -> None:
        self._timer = self.hub.call_later(HEARTBEAT, self._beat)
        self._sign_of_life()
        limit = self.hub.clock() - EXPIRY
        for origin in [origin for origin, when in self._heard.items() if when < limit]:
            self._forget(origin)
        if self.dropped:
            logger.warning("rooms: %d broadcasts did not leave this process", self.dropped)
            self.dropped = 0

    def _sign_of_life(self) -> None:
        self.bus.publish(CONTROL, encode(Kind.ALIVE, self._origin))
