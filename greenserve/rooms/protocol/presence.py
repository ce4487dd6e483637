"""The members of one room, as one process knows them. No I/O and no clock here: messages in, changes and answers out.

Strategy. Every process announces each change among its own members, with a number that grows by one. A process that
misses a number asks, and is sent the whole roster. The roster is also sent by a process that joins the room, and in
answer by those already there. So a message that was lost on the bus is noticed with the next one, and made up for.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from greenserve.rooms.protocol.envelope import Envelope, MessageKind

PART: Final = 500  # members in one piece of a roster
ASK_AGAIN: Final = 5.0  # seconds

Infos = dict[str, Any]  # member id -> info


@dataclass(slots=True)
class Peer:
    """Another process's members. version: of its last known change; None when its roster is not known yet."""

    version: int | None = None
    members: Infos = field(default_factory=dict)
    parts: Infos = field(default_factory=dict)  # of the roster that is being received
    asked: float | None = None  # when it was asked for its roster, and has not sent it since


@dataclass(slots=True)
class Change:
    """What a message changes. missing: messages were lost, so the peer must be asked for its roster. asked: the peer
    asks for this process's roster.
    """

    joined: Infos = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    missing: bool = False
    asked: bool = False


class Presence:
    """One room's members in all processes: `local`, and those of the peers by their origin."""

    def __init__(self) -> None:
        self.local: Infos = {}
        self.peers: dict[bytes, Peer] = {}
        # At random: a process that leaves a room and comes back must not seem to go on where it was.
        self.version = secrets.randbits(32)

    # -- what this process sends

    def join(self, member: str, info: Any) -> list[Any]:
        """A local member has come, or has another info. Returns the body of JOIN."""
        self.version += 1
        self.local[member] = info
        return [self.version, member, info]

    def leave(self, member: str) -> list[Any]:
        """A local member has gone. Returns the body of LEAVE."""
        self.version += 1
        del self.local[member]
        return [self.version, member]

    def rosters(self, *, ask: bool) -> Iterator[list[Any]]:
        """The whole roster: bodies of ROSTER. ask: whether its receivers should send theirs."""
        members = list(self.local.items())
        for start in range(0, max(len(members), 1), PART):
            last = start + PART >= len(members)
            yield [self.version, dict(members[start : start + PART]), start == 0, last, ask and last]

    # -- what it receives

    def receive(self, message: Envelope, now: float) -> Change:
        """A JOIN, LEAVE or ROSTER. now: seconds of any clock. Raises ValueError, and then has changed nothing."""
        kinds = _BODIES[message.kind]
        body = message.value
        if type(body) is not list or len(body) != len(kinds):
            raise ValueError(f"it is not a list of {len(kinds)}")
        for item, kind in zip(body, kinds, strict=True):
            if kind is not object and type(item) is not kind:
                raise ValueError(f"{type(item).__name__} instead of {kind.__name__}")
        peer = self.peers.setdefault(message.origin, Peer())
        if message.kind is MessageKind.ROSTER:
            return _receive_roster(peer, *body)
        version, member, *info = body
        follows = peer.version is not None and version == peer.version + 1
        if not follows or (not info and member not in peer.members):
            return _missing(peer, now)
        peer.version = version
        if info:
            peer.members[member] = info[0]
            return Change(joined={member: info[0]})
        del peer.members[member]
        return Change(left=[member])

    def forget(self, origin: bytes) -> Change:
        """A process is gone, with its members."""
        peer = self.peers.pop(origin, None)
        return Change(left=list(peer.members) if peer else [])


_BODIES: Final[dict[MessageKind, tuple[type, ...]]] = {
    MessageKind.JOIN: (int, str, object),  # version, member, info
    MessageKind.LEAVE: (int, str),
    MessageKind.ROSTER: (int, dict, bool, bool, bool),  # version, members, first part, last part, asks
}
"""The items of a body, of these types exactly (a bool is not an int here)."""


def _receive_roster(peer: Peer, version: int, members: Infos, first: bool, last: bool, asked: bool) -> Change:
    """Nothing changes before the last part."""
    if first:
        peer.parts = {}
    peer.parts |= members
    if not last:
        return Change(asked=asked)
    before, members = peer.members, peer.parts
    change = Change(  # before anything changes: comparing deeply nested infos may fail
        joined={member: info for member, info in members.items() if member not in before or before[member] != info},
        left=[member for member in before if member not in members],
        asked=asked,
    )
    peer.members, peer.parts, peer.version, peer.asked = members, {}, version, None
    return change


def _missing(peer: Peer, now: float) -> Change:
    peer.version = None
    if peer.asked is not None and now - peer.asked < ASK_AGAIN:
        return Change()
    peer.asked = now
    return Change(missing=True)
