"""Rooms: WebSockets under one name, to which a message is broadcast; in one process, and across processes.

- `room.py`      a room and its `member.py`s
- `registry.py`  all rooms of a process, callbacks
- `broadcast.py` a message on its way to the members in this process
- `sync.py`      between the rooms and a bus; `presence.py` and `envelope.py` are its pure half
- `bus.py`       what a bus is; `unix/` and `redis.py` are two
- `buses.py`     from the setting `rooms` to a bus
"""

from __future__ import annotations

import os

from greenserve.hub.hub import Hub
from greenserve.rooms.bus import Bus, Listener
from greenserve.rooms.buses import make_bus
from greenserve.rooms.member import Member
from greenserve.rooms.registry import Rooms
from greenserve.rooms.room import Room

__all__ = ["Bus", "Listener", "Member", "Room", "attach", "check", "detach", "get", "occupied", "on_join", "on_leave"]

_rooms = Rooms()

get = _rooms.get
on_join = _rooms.on_join
on_leave = _rooms.on_leave


def occupied() -> list[Room]:
    """The rooms that have members in this process.

    >>> greenserve.rooms.occupied()
    []
    """
    return _rooms.occupied


def check(address: str | None) -> None:
    """Raises ConfigurationError for an `address` (the setting `rooms`) that `attach` would refuse."""
    if address is not None:
        make_bus(address)


def attach(hub: Hub, address: str | None) -> None:
    """Share the rooms of this process with those that use the same `address` (the setting `rooms`); None: with none.

    A server's, in its own thread; it calls `detach` at its end. Raises ConfigurationError.
    """
    if address is not None:
        _rooms.attach(hub, address, make_bus)


def detach(hub: Hub) -> None:
    """Undo `attach`."""
    _rooms.detach(hub, make_bus)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_rooms.start_afresh)
