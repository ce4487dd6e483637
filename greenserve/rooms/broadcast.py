"""A message on its way to the members of a room: encoded once, handed to their connections without waiting for any.

Strategy. The members of a room whose WebSockets are in one hub are a `Shard` of it. A message for a few of them is
posted at once; one for many in slices, between which the hub runs other green threads. A shard's messages go one after
the other, so each member gets them in the order of the broadcasts.

Invariants. Connections are touched in their hub's thread alone. A green thread that broadcasts waits until its message
is with all of them: what it sends to one of them afterwards comes after it, and it cannot fill the memory with messages
that no member has got yet. A callback of the hub never waits. Another OS thread waits only when BACKLOG messages wait
already.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from greenlet import getcurrent as _getcurrent

from greenserve.hub.core.hub import Hub, HubCall
from greenserve.hub.core.originals import get_ident
from greenserve.hub.core.wait_queue import WaitQueue
from greenserve.rooms.member import Member
from greenserve.websocket.protocol import encode_message
from greenserve.websocket.protocol.deflate import DeflateParameters

SLICE = 200  # members that are served at a time: a millisecond
BACKLOG = 64  # messages that wait in a shard, before another OS thread that broadcasts must wait
BACKLOG_SECONDS = 10.0  # the longest that it waits: the hub that should go on may be ending


class Frames:
    """A message as the frames that carry it, each made once: plain, and compressed when the first member wants that.

    Raises TypeError when `message` is neither str nor bytes.
    """

    __slots__ = ("_compressed", "_message", "plain")

    def __init__(self, message: str | bytes) -> None:
        self._message = message
        self.plain = encode_message(message)
        # Clients may agree on different windows. Browsers all agree on the same, so that this has one entry.
        self._compressed: dict[DeflateParameters, bytes] = {}

    def compressed(self, deflate: DeflateParameters) -> bytes:
        """The frame for a member that has agreed on `deflate`; a short message stays plain."""
        if len(self.plain) < deflate.threshold:
            return self.plain
        frame = self._compressed.get(deflate)
        if frame is None:
            frame = self._compressed[deflate] = encode_message(self._message, deflate)
        return frame


class Broadcast:
    """One message for one shard. connections: the members when it was made; sent: how many took it so far."""

    __slots__ = ("connections", "excluded", "frames", "position", "sent", "waiters")

    def __init__(self, frames: Frames, excluded: Set[Any], connections: list[Any]) -> None:
        self.frames = frames
        self.excluded = excluded
        self.connections = connections
        self.position = 0
        self.sent = 0
        self.waiters: WaitQueue | None = None  # the green thread that waits for its end

    @property
    def addressed(self) -> int:
        """The number of its recipients."""
        return len(self.connections) - sum(connection in self.excluded for connection in self.connections)

    def send_slice(self, members: dict[Any, Member]) -> bool:
        """Serve the next SLICE members but those that have left. Returns whether that was all."""
        frames, excluded = self.frames, self.excluded
        plain = frames.plain
        end = self.position + SLICE
        sent = 0
        for connection in self.connections[self.position : end]:
            if connection not in members or connection in excluded:
                continue
            deflate = connection.protocol.deflate
            if connection.post(plain if deflate is None else frames.compressed(deflate)):
                sent += 1
        self.sent += sent
        self.position = end
        return end >= len(self.connections)


class Shard(HubCall):
    """The members of one room in one hub, and the messages that are on their way to them."""

    __slots__ = ("_scheduled", "_waiting", "hub", "members")

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.members: dict[Any, Member] = {}  # by connection, in the order of joining
        self._waiting: list[Broadcast] = []  # not a deque: an empty one has 600 bytes, and most rooms never need it
        self._scheduled = False  # in the hub's ready queue; for the hub's thread alone

    def broadcast(self, frames: Frames, excluded: Set[Any]) -> int:
        """Send to all but `excluded` (connections). In any OS thread.

        Returns how many took it; in a callback of the hub and in another OS thread: the number of recipients.
        """
        broadcast = Broadcast(frames, excluded, list(self.members))
        if get_ident() != self.hub.thread_id:
            self._broadcast_from_another_thread(broadcast)
            return broadcast.addressed
        if not self._waiting and len(broadcast.connections) <= SLICE:
            broadcast.send_slice(self.members)
            return broadcast.sent
        self._waiting.append(broadcast)
        self._schedule()
        if _getcurrent() is self.hub.loop:
            return broadcast.addressed
        broadcast.waiters = WaitQueue()
        broadcast.waiters.wait()
        return broadcast.sent

    def _broadcast_from_another_thread(self, broadcast: Broadcast) -> None:
        def line_up() -> None:
            self._waiting.append(broadcast)
            self.hub.call_soon_threadsafe(self._schedule)

        if len(self._waiting) < BACKLOG:
            line_up()
        else:
            broadcast.waiters = WaitQueue()
            broadcast.waiters.wait(BACKLOG_SECONDS, unless=line_up)

    def _schedule(self) -> None:
        if not self._scheduled and self._waiting:
            self._scheduled = True
            self.hub.make_ready(self)

    def switch(self) -> None:
        """One slice of the first message."""
        broadcast = self._waiting[0]
        if broadcast.send_slice(self.members):
            del self._waiting[0]
            if broadcast.waiters is not None:
                broadcast.waiters.wake()
        self._scheduled = False
        self._schedule()
