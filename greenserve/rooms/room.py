"""A room: WebSockets under one name, to which a message is broadcast."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Set
from contextlib import contextmanager
from typing import Any, Protocol

from greenserve.hub.core.hub import Hub
from greenserve.rooms.broadcast import Frames, Shard
from greenserve.rooms.member import Member
from greenserve.websocket.api import WebSocket
from greenserve.websocket.connection import Connection
from greenserve.websocket.stages import Stage

NO_LINKS: Set[Any] = frozenset()


class Registry(Protocol):
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

    __slots__ = ("__weakref__", "_registry", "_shards", "name", "remote")

    def __init__(self, registry: Registry, name: str) -> None:
        self.name = name
        self.remote: dict[str, Member] = {}  # by id: in other processes
        self._registry = registry
        self._shards: dict[Hub, Shard] = {}

    def __repr__(self) -> str:
        return f"<Room {self.name!r}: {len(self)} members>"

    def start_afresh(self) -> None:
        """Without members, in a forked child."""
        self._shards = {}
        self.remote = {}

    # -- coming and going

    def join(self, ws: WebSocket, info: Any = None) -> Member:
        """Take `ws` into the room. Returns the `Member`; with another `info` for one that is in it already, a new one
        under the same id.

        A WebSocket that closes leaves by itself. info: what other members may see of it, e.g. a name: None, or what
        JSON can express. Raises ConnectionClosed when it is closed; TypeError for another kind of WebSocket, or of
        info; ValueError for a NaN, which JSON cannot express.
        """
        connection = _connection_of(ws)
        json.dumps(info, allow_nan=False)  # an error is raised here and now, not once another process shares the room
        if connection.stage is not Stage.OPEN:
            raise connection.error()
        with self._registry.lock:
            shard = self._shards.get(connection.hub)
            if shard is None:
                shard = self._shards[connection.hub] = Shard(connection.hub)
            before = shard.members.get(connection)
            if before is not None and before.info == info:
                return before
            member = shard.members[connection] = Member(before.id if before else self._registry.new_id(), info, ws)
            self._registry.changed(self, member, True)
        if before is None:
            connection.call_at_end(self._remove)
            if connection.stage >= Stage.ENDED:  # this moment, in its hub's thread
                self._remove(connection)
                raise connection.error()
        return member

    def leave(self, ws: WebSocket) -> bool:
        """Take `ws` out of the room. Returns whether it was in it."""
        connection = _connection_of(ws)
        connection.forget_at_end(self._remove)
        return self._remove(connection)

    def _remove(self, connection: Connection) -> bool:
        with self._registry.lock:
            shard = self._shards.get(connection.hub)
            if shard is None or connection not in shard.members:
                return False
            member = shard.members.pop(connection)
            if not shard.members:
                del self._shards[connection.hub]
            self._registry.changed(self, member, False)
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
        """All members, this process's first; also those in other processes that share rooms.

        Members in other processes are known while this process has members in the room itself.
        """
        return self.local_members + list(self.remote.values())

    @property
    def local_members(self) -> list[Member]:
        """The members whose WebSockets this process holds, in the order of joining."""
        return [member for shard in list(self._shards.values()) for member in list(shard.members.values())]

    def member_of(self, ws: WebSocket | None) -> Member | None:
        """The member that `ws` is in this room; None when it is not in it."""
        if ws is None:
            return None
        connection = _connection_of(ws)
        shard = self._shards.get(connection.hub)
        return None if shard is None else shard.members.get(connection)

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
        return sum(len(shard.members) for shard in list(self._shards.values()))

    # -- speaking

    def broadcast(
        self, message: str | bytes, exclude: WebSocket | Iterable[WebSocket] | None = None, *, local: bool = False
    ) -> int:
        """Send `message` (str: text, bytes: binary) to all members but `exclude`. Returns how many got it here.

        It is encoded once and compressed at most once for each agreement, and handed to every member without waiting
        for any: one that does not read what it is sent is closed with 1013 when more than a MiB waits for it. Each
        member gets the broadcasts of one caller in their order. Other processes get it too, unless `local`.

        In a green thread this returns when all members here have it, so that what is sent to one of them afterwards
        comes afterwards; with more than some hundreds of members, other green threads run meanwhile. A callback of the
        hub never waits, nor does another OS thread, unless it is far ahead; then the number is that of the members.
        Raises TypeError.
        """
        excluded = _links_of(exclude)
        frames = Frames(message)
        if not local:
            self._registry.broadcast(self, message)
        return self._broadcast(frames, excluded)

    def deliver(self, message: str | bytes) -> None:
        """Hand a message of another process to this process's members."""
        self._broadcast(Frames(message), NO_LINKS)

    def _broadcast(self, frames: Frames, excluded: Set[Any]) -> int:
        return sum(shard.broadcast(frames, excluded) for shard in list(self._shards.values()))


def _connection_of(ws: WebSocket) -> Connection:
    try:
        return ws.connection
    except AttributeError:
        raise TypeError(
            f"rooms are for what greenserve.websocket.accept() returns, not for {type(ws).__name__}"
        ) from None


def _links_of(exclude: WebSocket | Iterable[WebSocket] | None) -> Set[Any]:
    if exclude is None:
        return NO_LINKS
    if isinstance(exclude, Iterable) and not hasattr(exclude, "connection"):  # a WebSocket is iterable as well
        return frozenset(_connection_of(ws) for ws in exclude)
    return frozenset((_connection_of(exclude),))  # type: ignore[arg-type]  # it is not an iterable, or it is a WebSocket
