"""The members of one room, as one process knows them. No I/O and no clock here: messages in, changes and answers out.

Strategy. Every process tells the others of each change among its own members, with a number that grows by one. A
process that misses a number asks, and is sent the whole list. The list is sent, too, by a process that joins the room,
and by all that hear that. So a word that was lost on the bus is noticed with the next one, and mended.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

PART: Final = 500  # members in one piece of a list
ASK_AGAIN: Final = 5.0  # seconds

Infos = dict[str, Any]  # member id -> info


@dataclass(slots=True)
class Peer:
    """Another process's members. version: of its last change that is known; None when the list is not known yet."""

    version: int | None = None
    members: Infos = field(default_factory=dict)
    parts: Infos = field(default_factory=dict)  # of the list that is being told
    asked: float | None = None  # when it was asked for its list, and has not told it since


@dataclass(slots=True)
class Heard:
    """What a word has changed. missing: words were lost, so the peer must be asked (WHO)."""

    joined: Infos = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    missing: bool = False


class Presence:
    """One room's members in all processes: `local`, and those of the peers by their origin."""

    def __init__(self) -> None:
        self.local: Infos = {}
        self.peers: dict[bytes, Peer] = {}
        # At random: a process that leaves a room and comes back must not seem to go on where it was.
        self.version = secrets.randbits(32)

    # -- what we say

    def join(self, member: str, info: Any) -> list[Any]:
        """A member of ours has come, or has another info: the body of JOIN."""
        self.version += 1
        self.local[member] = info
        return [self.version, member, info]

    def leave(self, member: str) -> list[Any]:
        """A member of ours has gone: the body of LEAVE."""
        self.version += 1
        del self.local[member]
        return [self.version, member]

    def rosters(self, *, ask: bool) -> Iterator[list[Any]]:
        """Our whole list: bodies of ROSTER. ask: whether its receivers should send theirs."""
        members = list(self.local.items())
        for start in range(0, max(len(members), 1), PART):
            last = start + PART >= len(members)
            yield [self.version, dict(members[start : start + PART]), start == 0, last, ask and last]

    # -- what we hear

    def hear_join(self, origin: bytes, body: Any, now: float) -> Heard:
        """The body of a JOIN. now: seconds of any clock. A ValueError, here and below, has changed nothing."""
        version, member, info = _fields(body, int, str, object)
        peer = self.peers.setdefault(origin, Peer())
        if not self._follows(peer, version):
            return self._missing(peer, now)
        peer.members[member] = info
        return Heard(joined={member: info})

    def hear_leave(self, origin: bytes, body: Any, now: float) -> Heard:
        """The body of a LEAVE."""
        version, member = _fields(body, int, str)
        peer = self.peers.setdefault(origin, Peer())
        if not self._follows(peer, version) or member not in peer.members:
            return self._missing(peer, now)
        del peer.members[member]
        return Heard(left=[member])

    def hear_roster(self, origin: bytes, body: Any) -> Heard:
        """The body of a ROSTER: nothing changes before its last part."""
        version, members, first, last, _ = _fields(body, int, dict, bool, bool, bool)
        peer = self.peers.setdefault(origin, Peer())
        if first:
            peer.parts = {}
        peer.parts |= members
        if not last:
            return Heard()
        before, members = peer.members, peer.parts
        heard = Heard(  # before anything changes: a comparison may fail, of what is nested deeply
            joined={member: info for member, info in members.items() if member not in before or before[member] != info},
            left=[member for member in before if member not in members],
        )
        peer.members, peer.parts, peer.version, peer.asked = members, {}, version, None
        return heard

    def forget(self, origin: bytes) -> Heard:
        """A process is gone, with its members."""
        peer = self.peers.pop(origin, None)
        return Heard(left=list(peer.members) if peer else [])

    def _follows(self, peer: Peer, version: int) -> bool:
        if peer.version is None or version != peer.version + 1:
            return False
        peer.version = version
        return True

    def _missing(self, peer: Peer, now: float) -> Heard:
        peer.version = None
        if peer.asked is not None and now - peer.asked < ASK_AGAIN:
            return Heard()
        peer.asked = now
        return Heard(missing=True)


def _fields(body: Any, *kinds: type) -> Any:
    """The items of a body. Raises ValueError unless it is a list of so many, of these types exactly."""
    if type(body) is not list or len(body) != len(kinds):
        raise ValueError(f"it is not a list of {len(kinds)}")
    for item, kind in zip(body, kinds, strict=True):
        if kind is not object and type(item) is not kind:
            raise ValueError(f"{type(item).__name__} instead of {kind.__name__}")
    return body
