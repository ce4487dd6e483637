"""Rooms: WebSockets under one name, to which a message is broadcast; in one process, and across processes.

- `room.py`      a room and its `member.py`s
- `registry.py`  all rooms of a process, callbacks; from the setting `rooms` to a bus
- `broadcast.py` a message on its way to the members in this process
- `sync.py`      between the rooms and a bus
- `protocol/`    what it sends and receives there, without I/O
- `bus.py`       what a bus is; `unix/` and `redis.py` are two
"""

from __future__ import annotations

import os

from greenserve.rooms.bus import Bus, Subscriber
from greenserve.rooms.member import Member
from greenserve.rooms.registry import Rooms
from greenserve.rooms.room import Room

__all__ = [
    "Bus",
    "Listener",
    "Member",
    "Room",
    "Subscriber",
    "attach",
    "check",
    "detach",
    "get",
    "occupied",
    "on_join",
    "on_leave",
]

Listener = Subscriber  # its former name

_rooms = Rooms()

get = _rooms.get
occupied = _rooms.occupied
on_join = _rooms.on_join
on_leave = _rooms.on_leave
check = _rooms.check
attach = _rooms.attach
detach = _rooms.detach
shared_at = _rooms.shared_at

os.register_at_fork(after_in_child=_rooms.start_afresh)
