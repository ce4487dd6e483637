"""What has come on a WebSocket and nobody has received yet, and who waits for something to come.

Law: for the hub's thread alone, so it needs no lock.
"""

from __future__ import annotations

from greenserve.hub.hub import wake
from greenserve.hub.timers import Token

MAX_MESSAGES = 64  # that nobody has received, before reading stops
MAX_SIZE = 1 << 20  # bytes (or characters) of them: the same


class Inbox:
    """Messages in the order in which they came; or, while there are none, receivers in the order of theirs."""

    # Lists, not deques: an empty deque has 600 bytes, and these are short and mostly empty.
    __slots__ = ("_size", "messages", "receivers")

    def __init__(self) -> None:
        self.messages: list[str | bytes] = []
        self.receivers: list[Token] = []  # some may have left: their tokens are empty
        self._size = 0

    @property
    def full(self) -> bool:
        """Whether reading should stop."""
        return len(self.messages) >= MAX_MESSAGES or self._size >= MAX_SIZE

    @property
    def roomy(self) -> bool:
        """Whether reading may begin again: half of it is free, so that it does not stop and go with every message."""
        return len(self.messages) <= MAX_MESSAGES >> 1 and self._size <= MAX_SIZE >> 1

    def put(self, message: str | bytes) -> bool:
        """Hand a message to whoever waits, or keep it. Returns whether it is full now."""
        receivers = self.receivers
        while receivers:
            if wake(receivers.pop(0), message):
                return False
        self.messages.append(message)
        self._size += len(message)
        return self.full

    def take(self) -> str | bytes:
        """The first message. Raises IndexError when there is none."""
        message = self.messages.pop(0)
        self._size -= len(message)
        return message

    def line_up(self, token: Token) -> None:
        """Hand the first message to `token`, now or when it comes."""
        if not self.messages:
            self.receivers.append(token)
        elif wake(token, self.messages[0]):
            self.take()

    def leave(self, token: Token) -> None:
        """Forget a receiver whose token is empty: it has timed out, or was killed."""
        if token in self.receivers:
            self.receivers.remove(token)

    def turn_away(self, outcome: object) -> None:
        """No message will come any more: resume every receiver with `outcome`. The messages stay."""
        while self.receivers:
            wake(self.receivers.pop(0), outcome)

    def clear(self) -> None:
        """Drop the messages."""
        self.messages.clear()
        self._size = 0
