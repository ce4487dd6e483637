"""A room: WebSockets under one name, to which a message is broadcast."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Set
from contextlib import contextmanager
from typing import Any, Protocol

from greenserve.hub.hub import Hub
from greenserve.rooms.broadcast import Frames, Seat, Section
from greenserve.rooms.member import Member
from greenserve.websocket.link import Link, Stage
from greenserve.websocket.session import WebSocket

NOBODY: Set[Any] = frozenset()


class House(Protocol):
    """What a room needs of the registry that it is in (registry.py)."""

    lock: Any

    def new_id(self) -> str:
        """An id that no member in any process has."""

    def changed(self, room: Room, member: Member, present: bool) -> None:
        """A member has come (or changed), or gone."""

    def broadcast(self, room: Room, message: str | bytes) -> None:
        """Send to the room's members in other processes."""


class Room:
    """WebSockets under one name; made by `rooms.get(name)`. Everything here may be called in any green thread, in any
    OS thread, and in a callback of the hub.
    """

    __slots__ = ("__weakref__", "_house", "_sections", "name", "remote")

    def __init__(self, house: House, name: str) -> None:
        self.name = name
        self.remote: dict[str, Member] = {}  # by id: in other processes
        self._house = house
        self._sections: dict[Hub, Section] = {}

    def __repr__(self) -> str:
        return f"<Room {self.name!r}: {len(self)} members>"

    def start_afresh(self) -> None:
        """Without members, in a forked child."""
        self._sections = {}
        self.remote = {}

    # -- coming and going

    def join(self, ws: WebSocket, info: Any = None) -> Member:
        """Take `ws` into the room. Returns the `Member`; with another `info` for one that is in it already, a new one
        under the same id.

        A WebSocket that closes leaves by itself. info: what others may know of it, e.g. a name: None, or what JSON can
        say. Raises ConnectionClosed when it is closed; TypeError for another kind of WebSocket, or of info; ValueError
        for a NaN, which JSON cannot say.
        """
        link = _link_of(ws)
        json.dumps(info, allow_nan=False)  # said here and now, not only when another process shares the room
        if link.stage is not Stage.OPEN:
            raise link.error()
        with self._house.lock:
            section = self._sections.get(link.hub)
            if section is None:
                section = self._sections[link.hub] = Section(link.hub)
            seat = section.seats.get(link)
            if seat is not None and seat.member.info == info:
                return seat.member
            member = Member(seat.member.id if seat else self._house.new_id(), info, ws)
            section.seats[link] = Seat(member, link.protocol.deflate)
            self._house.changed(self, member, True)
        if seat is None:
            link.call_at_end(self._ended)
            if link.stage >= Stage.ENDED:  # this moment, in its hub's thread
                self._ended(link)
                raise link.error()
        return member

    def leave(self, ws: WebSocket) -> bool:
        """Take `ws` out of the room. Returns whether it was in it."""
        link = _link_of(ws)
        link.forget_at_end(self._ended)
        return self._ended(link)

    def _ended(self, link: Link) -> bool:
        with self._house.lock:
            section = self._sections.get(link.hub)
            seat = section.seats.pop(link, None) if section is not None else None
            if section is None or seat is None:
                return False
            if not section.seats:
                del self._sections[link.hub]
            self._house.changed(self, seat.member, False)
        return True

    @contextmanager
    def joined(self, ws: WebSocket, info: Any = None) -> Iterator[Member]:
        """`with room.joined(ws):` joins, and leaves at the end."""
        member = self.join(ws, info)
        try:
            yield member
        finally:
            self.leave(ws)

    # -- the members

    @property
    def members(self) -> list[Member]:
        """All members, this process's first: also those in other processes that share rooms, as far as is known here.

        A process knows of others' members of a room while it has members in it itself.
        """
        return [*self.local_members, *list(self.remote.values())]

    @property
    def local_members(self) -> list[Member]:
        """Those whose WebSockets this process holds, in the order of joining."""
        sections = list(self._sections.values())
        return [seat.member for section in sections for seat in list(section.seats.values())]

    def member_of(self, ws: WebSocket | None) -> Member | None:
        """What `ws` is in this room; None when it is not in it."""
        if ws is None:
            return None
        link = _link_of(ws)
        section = self._sections.get(link.hub)
        seat = section.seats.get(link) if section is not None else None
        return seat.member if seat is not None else None

    def __contains__(self, ws: WebSocket) -> bool:
        return self.member_of(ws) is not None

    def __len__(self) -> int:
        return self.local_size + len(self.remote)

    def __bool__(self) -> bool:
        """True: an empty room is a room."""
        return True

    @property
    def local_size(self) -> int:
        """How many members this process has in it."""
        return sum(len(section.seats) for section in list(self._sections.values()))

    # -- speaking

    def broadcast(
        self, message: str | bytes, exclude: WebSocket | Iterable[WebSocket] | None = None, *, local: bool = False
    ) -> int:
        """Send `message` (str: text, bytes: binary) to all members but `exclude`. Returns how many got it here.

        It is encoded once and compressed at most once for each agreement, and handed to every member without waiting
        for any: one that does not read what it is sent is closed with 1013 when more than a MiB waits for it. Each
        member gets the broadcasts of one caller in their order. Other processes get it too, unless `local`.

        In a green thread this returns when all members here have it, so that what is sent to one of them afterwards
        comes afterwards; with more than some hundreds, others run meanwhile. A callback of the hub never waits, nor
        does another OS thread, unless it is far ahead; then the number is that of the members. Raises TypeError.
        """
        excluded = _links_of(exclude)
        frames = Frames(message)
        if not local:
            self._house.broadcast(self, message)
        return self._deliver(frames, excluded)

    def deliver(self, message: str | bytes) -> int:
        """`broadcast` to this process's members."""
        return self._deliver(Frames(message), NOBODY)

    def _deliver(self, frames: Frames, excluded: Set[Any]) -> int:
        return sum(section.deliver(frames, excluded) for section in list(self._sections.values()))


def _link_of(ws: WebSocket) -> Link:
    try:
        return ws.link
    except AttributeError:
        raise TypeError(
            f"rooms are for what greenserve.websocket.accept() returns, not for {type(ws).__name__}"
        ) from None


def _links_of(exclude: WebSocket | Iterable[WebSocket] | None) -> Set[Any]:
    if exclude is None:
        return NOBODY
    if isinstance(exclude, Iterable) and not hasattr(exclude, "link"):  # a WebSocket is iterable as well
        return frozenset(_link_of(ws) for ws in exclude)
    return frozenset((_link_of(exclude),))  # type: ignore[arg-type]  # it is not an iterable, or it is a WebSocket
