"""What has come on a WebSocket and was not received yet, and the receivers that wait.

Messages stay packed until a receiver waits for them. A short one is unpacked at once. The large ones of all WebSockets
in a hub are unpacked one after the other, a step at a time: a kilobyte may become a megabyte, and so never more than
one of them is between the two. Invariant: all but `receive` is for the hub's thread alone, so there is no lock.
"""

from __future__ import annotations

import weakref
from sys import getsizeof
from typing import Any, Protocol

from greenserve.hub.core.hub import TIMED_OUT, Hub, HubCall, running, wake
from greenserve.hub.core.timers import Token
from greenserve.websocket.protocol.errors import ProtocolViolation
from greenserve.websocket.protocol.message import PackedMessage

MAX_MESSAGES = 64  # that were not received, before reading stops
MAX_SIZE = 1 << 20  # bytes of memory that they take: the same

_ENDED: Any = object()  # outcome of a receiver: no message will come


class Owner(Protocol):
    """The connection that a queue belongs to. The queue does not keep it, so that both are freed as soon as it ends."""

    hub: Hub
    paused: bool
    held: int

    def on_changed(self, *, room: bool) -> None:
        """What the queue holds has changed. room: there may be room for more."""

    def on_violation(self, violation: ProtocolViolation) -> None:
        """A message cannot be unpacked."""

    def error(self) -> Exception:
        """What to raise after the end."""


class ReceiveQueue:
    """Messages in the order in which they came; or, while there are none, receivers in the order of theirs.

    There are both only while the first message is being unpacked. size: bytes of memory that the messages take.
    unpacking: the queue stands in line for that. ended: no message will come any more.
    """

    # Lists, not deques: an empty deque has 600 bytes, and these are short and mostly empty.
    __slots__ = ("ended", "messages", "receivers", "size", "unpacking")

    def __init__(self) -> None:
        self.messages: list[str | bytes | PackedMessage] = []
        self.receivers: list[Token] = []  # some may have left: their tokens are empty
        self.size = 0
        self.unpacking = False
        self.ended = False

    @property
    def full(self) -> bool:
        """Whether reading should stop."""
        return len(self.messages) >= MAX_MESSAGES or self.size >= MAX_SIZE

    @property
    def below_low_water(self) -> bool:
        """Whether reading may begin again: half of it is free, so that it does not stop and go with every message."""
        return not self.unpacking and len(self.messages) <= MAX_MESSAGES >> 1 and self.size <= MAX_SIZE >> 1

    def put(self, message: str | bytes | PackedMessage) -> bool:
        """Hand a message to a waiting receiver, or keep it. Returns whether it is full now."""
        receivers = self.receivers
        if receivers and not self.messages and type(message) is not PackedMessage:
            while receivers:
                if wake(receivers.pop(0), message):
                    return False
        self.messages.append(message)
        self.size += _size(message)
        return self.full

    def clear(self) -> None:
        """Drop the messages."""
        self.messages.clear()
        self.size = 0

    def end(self, owner: Owner) -> None:
        """No message will come any more: receivers that will get none are told so."""
        self.ended = True
        self.serve(owner)

    # -- receiving

    def receive(self, owner: Owner, timeout: float | None) -> str | bytes:
        """The next message, in any OS thread. Raises ConnectionClosed; TimeoutError after `timeout` seconds."""
        messages = self.messages
        greenlet = running()
        hub = greenlet.hub
        if hub is owner.hub:
            if messages:
                hub.give_way(greenlet)  # what an application does with each of many messages may never wait
            if messages:
                if not self.receivers and type(messages[0]) is not PackedMessage:
                    message = self._take()
                    if owner.held or owner.paused:
                        owner.on_changed(room=True)
                    return message
            elif self.ended:
                raise owner.error()
            token: Token = [greenlet]
            self._line_up(owner, token)
        else:
            token = [greenlet]
            owner.hub.call_soon_threadsafe(self._line_up, owner, token)
        try:
            outcome = hub.park_until(greenlet, token, None if timeout is None else hub.clock() + timeout)
        except BaseException:
            self._leave(owner, hub, token)
            raise
        if outcome is TIMED_OUT:
            self._leave(owner, hub, token)
            raise TimeoutError(f"no message came within {timeout} seconds")
        if outcome is _ENDED:
            raise owner.error()
        return outcome  # type: ignore[no-any-return]  # a message

    def _line_up(self, owner: Owner, token: Token) -> None:
        self.receivers.append(token)
        if self.messages or self.ended:
            self.serve(owner)

    def _leave(self, owner: Owner, hub: Hub, token: Token) -> None:
        """Forget a receiver, of a green thread in `hub`, whose token is empty: it has timed out, or was killed."""
        if hub is not owner.hub:
            owner.hub.call_soon_threadsafe(self._leave, owner, owner.hub, token)
        elif token in self.receivers:
            self.receivers.remove(token)

    def _take(self) -> str | bytes:
        message = self.messages.pop(0)
        self.size -= _size(message)
        assert not isinstance(message, PackedMessage)
        return message

    # -- unpacking

    def serve(self, owner: Owner) -> None:
        """Hand messages to the receivers. What has to be unpacked first is, if it is short; else it stands in line.

        What comes behind it is not read then: it may be the end, and the application is to have its chance to answer.
        """
        if self.unpacking:
            return
        hub = owner.hub
        packed = bool(self.messages) and type(self.messages[0]) is PackedMessage
        if (packed and hub.turn_is_over()) or self.step(owner):
            self.unpacking = owner.paused = True
            _lines.setdefault(hub, _Line()).add(self, owner)

    def step(self, owner: Owner) -> bool:
        """Hand messages to the receivers, and unpack one of them a step further. Returns whether it needs another."""
        more = False
        try:
            more = self._hand_out()
        except ProtocolViolation as violation:
            self.clear()
            owner.on_violation(violation)
        if self.ended and not self.messages:
            while self.receivers:
                wake(self.receivers.pop(0), _ENDED)
        if not more:
            self.unpacking = False
        owner.on_changed(room=not more)
        return more

    def _hand_out(self) -> bool:
        messages, receivers = self.messages, self.receivers
        while messages and receivers:
            message = messages[0]
            if not receivers[0]:
                receivers.pop(0)
            elif isinstance(message, PackedMessage):
                before = message.size
                unpacked = message.step()
                messages[0] = message if unpacked is None else unpacked
                self.size += _size(messages[0]) - before
                if unpacked is None:
                    return True
            elif wake(receivers.pop(0), message):
                self._take()
        return False


class _Line(HubCall):
    """The queues of a hub whose first message is large and waited for: first come, first unpacked."""

    __slots__ = ("__weakref__", "_queues")

    def __init__(self) -> None:
        self._queues: dict[ReceiveQueue, Owner] = {}

    def add(self, queue: ReceiveQueue, owner: Owner) -> None:
        """Put `queue` in line."""
        if not self._queues:
            owner.hub.make_ready(self)
        self._queues[queue] = owner

    def switch(self) -> None:
        """Unpack until this turn is over."""
        queue, owner = next(iter(self._queues.items()))
        hub = owner.hub
        while True:
            if not queue.step(owner):
                del self._queues[queue]
                if not self._queues:
                    return
                queue, owner = next(iter(self._queues.items()))
            if hub.turn_is_over():
                hub.make_ready(self)
                return


# Nothing in a line keeps its hub but the queues in it, which leave it.
_lines: weakref.WeakKeyDictionary[Hub, _Line] = weakref.WeakKeyDictionary()


def _size(message: str | bytes | PackedMessage) -> int:
    return message.size if isinstance(message, PackedMessage) else getsizeof(message)
