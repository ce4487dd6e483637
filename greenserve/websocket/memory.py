"""What the WebSockets of one server hold together of what their peers have sent, and which gives way if it is too much.

Strategy. Each connection says how much it holds when that changes. A peer decides for how long: it may begin a message
and never end it, and an application may be slow to receive. So when all together hold more than the limit, waiting does
not help: the connection that holds the most is given up. What is sent waits in its sender instead (see connection.py).

Invariant: for the hub's thread alone.
"""

from __future__ import annotations

from typing import Protocol

from greenserve.hub.sync.lock import Lock


class Holder(Protocol):
    """Something that holds memory, and can be given up."""

    def give_up(self) -> None:
        """Let go of all of it, now."""


class Memory:
    """The bytes that holders hold together. limit: None for any. unsent: bytes that peers have still to take.

    compressing: held by the one that compresses a large message.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = float("inf") if limit is None else limit
        self.held = 0
        self.unsent = 0
        self.compressing = Lock()
        self._holders: dict[Holder, int] = {}

    @property
    def scarce(self) -> bool:
        """Whether more is to be sent already than all may have waiting together."""
        return self.unsent > self.limit

    def hold(self, holder: Holder, size: int) -> None:
        """`holder` holds `size` bytes now. Gives up those that hold the most, itself perhaps, while it is too much."""
        holders = self._holders
        self.held += size - holders.pop(holder, 0)
        if size:
            holders[holder] = size
        while self.held > self.limit:
            largest = max(holders, key=holders.__getitem__)
            self.held -= holders.pop(largest)
            largest.give_up()
