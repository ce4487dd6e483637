"""What the broker of a Unix socket does with its clients' frames: bytes in, bytes to be sent out. No I/O here.

Invariant. What waits for a client has a limit: one that does not read is cut off, so that it delays no other client and
cannot fill the memory; it connects again by itself.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from greenserve.rooms.protocol import MAX_PAYLOAD
from greenserve.rooms.protocol.framing import LOG, Op, Parser, frame

MAX_BACKLOG: Final = MAX_PAYLOAD  # bytes that may wait for a client; a message more than that when it is reached


class Client:
    """A process that has connected. waiting: pieces that are to be sent to it, of `size` bytes."""

    __slots__ = ("channels", "is_cut_off", "parser", "size", "waiting", "will")

    def __init__(self) -> None:
        self.parser = Parser()
        self.channels: set[bytes] = set()
        self.will: tuple[bytes, bytes] | None = None
        self.waiting: deque[bytes | memoryview] = deque()
        self.size = 0
        self.is_cut_off = False

    def sent(self, count: int) -> None:
        """So many bytes of what waited have been sent."""
        self.size -= count
        waiting = self.waiting
        while waiting and count >= len(waiting[0]):
            count -= len(waiting.popleft())
        if count:
            waiting[0] = memoryview(waiting[0])[count:]


class Relay:
    """All clients, and the channels that they have subscribed to."""

    def __init__(self, max_backlog: int = MAX_BACKLOG) -> None:
        self._max_backlog = max_backlog
        self._subscribers: dict[bytes, set[Client]] = {}
        self._touched: set[Client] = set()

    def take_touched(self) -> set[Client]:
        """The clients that have got something to be sent, or are to be cut off, since the last call."""
        touched, self._touched = self._touched, set()
        return touched

    def receive(self, client: Client, data: bytes) -> None:
        """Handle what a client has sent, which may end within a frame. Raises ValueError when it is not one."""
        for op, channel, payload in client.parser.feed(data):
            if op is Op.MESSAGE:
                self._pass_on(client, channel, payload)
            elif op is Op.SUBSCRIBE:
                client.channels.add(channel)
                self._subscribers.setdefault(channel, set()).add(client)
                self._put(client, frame(op, channel))  # from now on it receives everything
            elif op is Op.WILL:
                client.will = channel, payload
            else:
                client.channels.discard(channel)
                self._unsubscribe(client, channel)

    def leave(self, client: Client) -> None:
        """Its connection has ended."""
        for channel in client.channels:
            self._unsubscribe(client, channel)
        client.channels.clear()
        self._touched.discard(client)
        if client.will is not None:
            self._pass_on(client, *client.will)

    def say(self, text: str) -> None:
        """Have one of the clients log a warning."""
        for client in self._subscribers.get(LOG, ()):
            self._put(client, frame(Op.MESSAGE, LOG, text.encode(errors="backslashreplace")))
            return

    def _pass_on(self, sender: Client, channel: bytes, payload: bytes) -> None:
        data = frame(Op.MESSAGE, channel, payload)
        for client in list(self._subscribers.get(channel, ())):
            if client is not sender:
                self._put(client, data)

    def _put(self, client: Client, data: bytes) -> None:
        self._touched.add(client)
        if client.is_cut_off:
            return
        if client.size <= self._max_backlog:
            client.waiting.append(data)
            client.size += len(data)
        else:
            client.is_cut_off = True
            self._unsubscribe(client, LOG)  # another one says it
            self.say("a process does not read what it is sent: cut off")

    def _unsubscribe(self, client: Client, channel: bytes) -> None:
        subscribers = self._subscribers.get(channel)
        if subscribers is not None:
            subscribers.discard(client)
            if not subscribers:
                del self._subscribers[channel]
