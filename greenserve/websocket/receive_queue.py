"""What has come on a WebSocket and was not received yet, and the receivers that wait.

A packed message is unpacked when it is the first and a receiver waits for it. Invariant: for the hub's thread alone, so
it needs no lock.
"""

from __future__ import annotations

from sys import getsizeof

from greenserve.hub.hub import wake
from greenserve.hub.timers import Token
from greenserve.websocket.protocol.message import PackedMessage

MAX_MESSAGES = 64  # that were not received, before reading stops
MAX_SIZE = 1 << 20  # bytes of memory that they take: the same


class ReceiveQueue:
    """Messages in the order in which they came; or, while there are none, receivers in the order of theirs.

    There are both only while the first message is being unpacked. size: bytes of memory that the messages take.
    """

    # Lists, not deques: an empty deque has 600 bytes, and these are short and mostly empty.
    __slots__ = ("messages", "receivers", "size")

    def __init__(self) -> None:
        self.messages: list[str | bytes | PackedMessage] = []
        self.receivers: list[Token] = []  # some may have left: their tokens are empty
        self.size = 0

    @property
    def full(self) -> bool:
        """Whether reading should stop."""
        return len(self.messages) >= MAX_MESSAGES or self.size >= MAX_SIZE

    @property
    def below_low_water(self) -> bool:
        """Whether reading may begin again: half of it is free, so that it does not stop and go with every message."""
        return len(self.messages) <= MAX_MESSAGES >> 1 and self.size <= MAX_SIZE >> 1

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

    @property
    def at_hand(self) -> bool:
        """Whether the first message can be taken as it is, and no receiver waits for it."""
        return bool(self.messages) and not self.receivers and type(self.messages[0]) is not PackedMessage

    @property
    def packed(self) -> bool:
        """Whether the first message has to be unpacked."""
        return bool(self.messages) and type(self.messages[0]) is PackedMessage

    def take(self) -> str | bytes:
        """The first message, which is `at_hand`."""
        message = self.messages.pop(0)
        self.size -= _size(message)
        assert not isinstance(message, PackedMessage)
        return message

    def serve(self) -> bool:
        """Hand messages to receivers, and unpack one of them a step further. Returns whether it needs another step.

        Raises MessageTooBig, InvalidPayload.
        """
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
                self.take()
        return False

    def leave(self, token: Token) -> None:
        """Forget a receiver whose token is empty: it has timed out, or was killed."""
        if token in self.receivers:
            self.receivers.remove(token)

    def turn_away(self, outcome: object) -> None:
        """No message will come any more: resume the receivers with `outcome`, but those for whom there is one still."""
        if not self.messages:
            while self.receivers:
                wake(self.receivers.pop(0), outcome)

    def clear(self) -> None:
        """Drop the messages."""
        self.messages.clear()
        self.size = 0


def _size(message: str | bytes | PackedMessage) -> int:
    return message.size if isinstance(message, PackedMessage) else getsizeof(message)
