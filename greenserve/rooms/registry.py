"""All rooms of a process, and the callbacks for their members.

Strategy. A room is kept while it has members, or while it is referred to: by weak reference, so that a million names
that were asked for leave nothing behind, and two references to a room of one name are always to the same room.
Callbacks run in a green thread, one after the other for each room, so that they may block and see things in their
order.
"""

from __future__ import annotations

import itertools
import logging
import secrets
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from greenserve.errors import ConfigurationError
from greenserve.hub.greenthread import spawn
from greenserve.hub.hub import Hub
from greenserve.hub.native import RLock
from greenserve.rooms.bus import Bus
from greenserve.rooms.envelope import ORIGIN_SIZE
from greenserve.rooms.member import Member
from greenserve.rooms.room import Room
from greenserve.rooms.sync import Exchange

logger = logging.getLogger("greenserve.rooms")

MAX_NAME = 255  # bytes of UTF-8
Callback = Callable[[Room, Member], object]
F = TypeVar("F", bound=Callback)
News = tuple[list[Callback], Member]


class Rooms:
    """The rooms of one process. The process's own is what `greenserve.rooms` speaks of; tests make several."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[str, Room] = WeakValueDictionary()
        self._on_join: list[Callback] = []
        self._on_leave: list[Callback] = []
        self.exchange: Exchange | None = None
        self.start_afresh()

    def start_afresh(self) -> None:
        """Without members: at first, and in a forked child, for they are its parent's."""
        self.lock: Any = RLock()  # held for a moment at a time: no thread waits or switches meanwhile
        if self.exchange is not None:
            self.exchange.bus.abandon()
        self.exchange = None
        self._origin = secrets.token_bytes(ORIGIN_SIZE)
        self._ids = itertools.count(1)
        self._occupied: dict[str, Room] = {}
        self._hosts: list[tuple[Hub, str]] = []  # hubs whose servers share rooms, and how; the first has the exchange
        self._news: dict[Room, deque[News]] = {}  # rooms that a green thread is telling of
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

    @property
    def occupied(self) -> list[Room]:
        """The rooms that have members in this process."""
        return list(self._occupied.values())

    def on_join(self, callback: F) -> F:
        """Have `callback(room, member)` called when a member has joined a room, in any process.

        As a decorator, or a call. Callbacks run in a green thread, one after the other for each room; they may block.
        They are called of another process's members too (`member.local` is False), while this process has members in
        that room; so what they say to the room is best said with `room.broadcast(message, local=True)`.
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
        self.tell(member.ws.link.hub, room, member, present)
        if self.exchange is not None:
            self.exchange.changed(room, member)

    def broadcast(self, room: Room, message: str | bytes) -> None:
        """Send to the room's members in other processes."""
        if self.exchange is not None:
            self.exchange.broadcast(room.name, message)

    # -- callbacks

    def tell(self, hub: Hub, room: Room, member: Member, present: bool) -> None:
        """Have the callbacks called, in a green thread of `hub`. In any OS thread."""
        callbacks = self._on_join if present else self._on_leave
        if not callbacks:
            return
        with self.lock:
            news = self._news.get(room)
            if news is not None:
                news.append((callbacks, member))
                return
            self._news[room] = deque([(callbacks, member)])
        hub.call_soon_threadsafe(spawn, self._call_back, room)

    def _call_back(self, room: Room) -> None:
        try:
            while True:
                news = self._next_news(room)
                if news is None:
                    return
                callbacks, member = news
                for callback in list(callbacks):
                    try:
                        callback(room, member)
                    except Exception:
                        logger.exception("a callback of room %r raised", room.name)
        except BaseException:  # killed: the hub ends, or other code has found this thread
            with self.lock:
                self._news.pop(room, None)
            raise

    def _next_news(self, room: Room) -> News | None:
        with self.lock:
            news = self._news[room]
            if news:
                return news.popleft()
            del self._news[room]  # under the lock still: what comes now has a new green thread
            return None

    # -- other processes

    def attach(self, hub: Hub, address: str, make_bus: Callable[[str], Bus]) -> None:
        """A server in `hub` shares its rooms over `address`. In its thread.

        Raises ConfigurationError when another server of this process does so over another.
        """
        if any(other != address for _, other in self._hosts):
            raise ConfigurationError("the servers of one process share one set of rooms: give them the same `rooms`")
        if self.exchange is None:
            self._open(hub, make_bus(address))
        self._hosts.append((hub, address))

    def _open(self, hub: Hub, bus: Bus) -> None:
        self.exchange = Exchange(hub, bus, self._origin, self._occupied.get, partial(self.tell, hub))
        self.exchange.open()
        for room in self.occupied:
            for member in room.local_members:
                self.exchange.changed(room, member)

    def detach(self, hub: Hub, make_bus: Callable[[str], Bus]) -> None:
        """That server ends. In its thread. Another of this process goes on in its place."""
        self._hosts = [(host, address) for host, address in self._hosts if host is not hub]
        if self.exchange is None or self.exchange.hub is not hub:
            return
        exchange, self.exchange = self.exchange, None
        exchange.close()
        if self._hosts:
            heir, address = self._hosts[0]
            heir.call_soon_threadsafe(lambda: self._open(heir, make_bus(address)))
