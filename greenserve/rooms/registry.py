"""All rooms of a process, and the callbacks for their members.

Strategy. A room is kept while it has members, or while it is referred to: by weak reference, so that a million names
that were asked for leave nothing behind, and two references to a room of one name are always to the same room.
Callbacks run in a green thread, one after the other for each room, so that they may block and see events in order.
"""

from __future__ import annotations

import itertools
import logging
import secrets
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from greenserve.errors import ConfigurationError
from greenserve.hub.core.hub import Hub
from greenserve.hub.core.originals import RLock
from greenserve.hub.spawning import spawn
from greenserve.rooms.bus import Bus
from greenserve.rooms.member import Member
from greenserve.rooms.protocol.envelope import ORIGIN_SIZE
from greenserve.rooms.room import Room
from greenserve.rooms.sync import Sync
from greenserve.rooms.unix.bus import UnixBus
from greenserve.settings import AUTO, conceal_url

logger = logging.getLogger("greenserve.rooms")

MAX_NAME = 255  # bytes of UTF-8
Callback = Callable[[Room, Member], object]
F = TypeVar("F", bound=Callback)
Notice = tuple[list[Callback], Member]


def make_bus(address: str) -> Bus:
    """The bus of an address as the setting `rooms` has it: unix:PATH, redis://..., rediss://...

    Raises ConfigurationError when a library is missing, or the address is invalid.
    """
    if address.startswith("unix:"):
        path = Path(address.removeprefix("unix:"))
        if path.exists() and not path.is_socket():
            raise ConfigurationError(
                f"rooms = {address}: {path} is not a socket, and is left as it is; name another path"
            )
        return UnixBus(str(path))
    if not address.startswith(("redis://", "rediss://")):
        raise ConfigurationError(f"rooms = {conceal_url(address)!r}: use unix:PATH or redis://HOST:PORT/DB")
    try:
        from greenserve.rooms.redis import RedisBus  # noqa: PLC0415 - redis-py is an extra, and takes 100 ms to import
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "redis":
            raise
        raise ConfigurationError(
            "rooms over Redis need redis-py: pip install 'greenserve[redis]', or pip install redis"
        ) from error
    return RedisBus(address)


class Rooms:
    """The rooms of one process. `greenserve.rooms` has the process's own; tests make several."""

    def __init__(self, make_bus: Callable[[str], Bus] = make_bus) -> None:
        self._make_bus = make_bus
        self._known: WeakValueDictionary[str, Room] = WeakValueDictionary()
        self._on_join: list[Callback] = []
        self._on_leave: list[Callback] = []
        self._sync: Sync | None = None
        self.start_afresh()

    def start_afresh(self) -> None:
        """Without members: at first, and in a forked child, since they are its parent's."""
        self.lock: Any = RLock()  # held for a moment at a time: no thread waits or switches meanwhile
        if self._sync is not None:
            self._sync.bus.abandon()
        self._sync = None
        self._origin = secrets.token_bytes(ORIGIN_SIZE)
        self._ids = itertools.count(1)
        self._occupied: dict[str, Room] = {}
        self._hosts: list[tuple[Hub, str]] = []  # the hubs of servers that share rooms, and how; the first has the bus
        self._notices: dict[Room, deque[Notice]] = {}  # of rooms whose callbacks a green thread is calling
        for room in list(self._known.values()):
            room.start_afresh()

    # -- for applications

    def get(self, name: str) -> Room:
        """The room of this name. Raises ValueError when it is empty, or longer than MAX_NAME bytes.

        >>> @greenserve.websocket.handler
        ... def chat(ws):
        ...     room = greenserve.rooms.get("lobby")
        ...     with room.joined(ws, {"name": "Ada"}):
        ...         for message in ws:
        ...             room.broadcast(f"Ada says {message}")
        >>> with greenserve.Server(chat, bind="127.0.0.1:0") as server:
        ...     with greenserve.websocket.connect(server.url.replace("http", "ws")) as ws:
        ...         ws.send("hello")
        ...         ws.receive(timeout=5)
        'Ada says hello'
        """
        room = self._known.get(name)
        if room is not None:
            return room
        if not isinstance(name, str):
            raise TypeError(f"a room's name is str, not {type(name).__name__}")
        if not 0 < len(name.encode()) <= MAX_NAME:
            raise ValueError(f"a room's name has 1 to {MAX_NAME} bytes of UTF-8")
        with self.lock:
            return self._known.setdefault(name, Room(self, name))

    def occupied(self) -> list[Room]:
        """The rooms that have members in this process.

        >>> greenserve.rooms.occupied()
        []
        """
        return list(self._occupied.values())

    def on_join(self, callback: F) -> F:
        """Have `callback(room, member)` called when a member has joined a room, in any process.

        As a decorator, or a call. Callbacks run in a green thread, one after the other for each room; they may block.
        They are also called for another process's members (`member.local` is False), while this process has members in
        that room; so what they send to the room is best sent with `room.broadcast(message, local=True)`.
        """
        self._on_join.append(callback)
        return callback

    def on_leave(self, callback: F) -> F:
        """As `on_join`, when a member has gone: left, closed, or lost with its process."""
        self._on_leave.append(callback)
        return callback

    # -- for rooms

    def new_id(self) -> str:
        """An id that no member in any process has."""
        return f"{self._origin.hex()}-{next(self._ids)}"

    def changed(self, room: Room, member: Member, present: bool) -> None:
        """A member here has come or changed, or gone. The lock is held."""
        if room.local_size:
            self._occupied[room.name] = room
        else:
            self._occupied.pop(room.name, None)
        assert member.ws is not None
        self._notify(member.ws.connection.hub, room, member, present)
        if self._sync is not None:
            self._sync.changed(room, member)

    def broadcast(self, room: Room, message: str | bytes) -> None:
        """Send to the room's members in other processes."""
        if self._sync is not None:
            self._sync.broadcast(room.name, message)

    # -- callbacks

    def _notify(self, hub: Hub, room: Room, member: Member, present: bool) -> None:
        """Have the callbacks called, in a green thread of `hub`. In any OS thread."""
        callbacks = self._on_join if present else self._on_leave
        if not callbacks:
            return
        with self.lock:
            notices = self._notices.get(room)
            if notices is not None:
                notices.append((callbacks, member))
                return
            self._notices[room] = deque([(callbacks, member)])
        hub.call_soon_threadsafe(spawn, self._call_back, room)

    def _call_back(self, room: Room) -> None:
        try:
            while notice := self._next_notice(room):
                callbacks, member = notice
                for callback in list(callbacks):
                    try:
                        callback(room, member)
                    except Exception:
                        logger.exception("a callback of room %r raised", room.name)
        except BaseException:  # killed: the hub ends, or other code has found this thread
            with self.lock:
                self._notices.pop(room, None)
            raise

    def _next_notice(self, room: Room) -> Notice | None:
        with self.lock:
            notices = self._notices[room]
            if notices:
                return notices.popleft()
            del self._notices[room]  # still under the lock: a later notice gets a new green thread
            return None

    # -- other processes

    def check(self, address: str | None) -> None:
        """Raises ConfigurationError for an `address` (the setting `rooms`) that `attach` would refuse."""
        if address is not None and address != AUTO:
            self._make_bus(address)

    def attach(self, hub: Hub, address: str | None) -> None:
        """Share the rooms of this process with all that use the same `address` (the setting `rooms`).

        None, and AUTO where there is one process: with none.
        Called by a server in `hub`, in its thread; it calls `detach` at its end. Raises ConfigurationError for an
        invalid address, and when another server of this process shares rooms over another one.
        """
        if address is None or address == AUTO:
            return
        with self.lock:
            if any(other != address for _, other in self._hosts):
                raise ConfigurationError(
                    "the servers of one process share one set of rooms: give them the same `rooms`"
                )
            if not self._hosts:
                self._open(hub, address)
            self._hosts.append((hub, address))

    def shared_at(self) -> str | None:
        """The address of the bus over which this process shares its rooms; None: it shares none."""
        return self._hosts[0][1] if self._hosts else None

    def _open(self, hub: Hub, address: str) -> None:
        bus = self._make_bus(address)
        self._sync = Sync(hub, bus, self._origin, self._occupied.get, partial(self._notify, hub))
        if not address.startswith("unix:"):  # that needs a process of its own, and most servers have no rooms
            self._sync.open()
        for room in self.occupied():
            for member in room.local_members:
                self._sync.changed(room, member)

    def detach(self, hub: Hub) -> None:
        """Undo `attach`. The next server of this process opens the bus in its place, in its own thread."""
        with self.lock:
            was_first = self._hosts[:1] and self._hosts[0][0] is hub
            self._hosts = [(host, address) for host, address in self._hosts if host is not hub]
            sync = self._sync if was_first else None
            if sync is not None:
                self._sync = None
        if sync is not None:
            sync.close()
        with self.lock:
            if was_first and self._hosts:
                heir, address = self._hosts[0]
                heir.call_soon_threadsafe(self._inherit, heir, address)

    def _inherit(self, hub: Hub, address: str) -> None:
        with self.lock:
            if self._sync is None and self._hosts[:1] == [(hub, address)]:  # it may have ended meanwhile
                self._open(hub, address)
