"""The end of a connection whose peer may still be sending: our side is shut, and what comes is thrown away.

A close at once would answer what still comes with a reset, which may destroy the last of what was sent on its way (RFC
9112 §9.6, RFC 6455 §7.1.1). It ends when the peer closes its side, after LIMIT bytes, or when its owner says so, which
does after SECONDS.
"""

from __future__ import annotations

from _socket import MSG_DONTWAIT, SHUT_WR
from collections.abc import Callable
from typing import Any, Protocol

from greenserve.hub.core.hub import Descriptor, HubCall

SECONDS = 2.0
LIMIT = 1 << 20  # bytes thrown away at the most
READ_SIZE = 16384  # bytes: malloc serves them without asking the kernel


def close_saying(sock: Any, answer: bytes) -> None:
    """Close a connection that is not served, with `answer` if that is not empty. Never waits."""
    try:
        if answer:
            sock.send(answer, MSG_DONTWAIT)
            sock.shutdown(SHUT_WR)
            sock.recv(READ_SIZE, MSG_DONTWAIT)  # of what has come already the close would make a reset
    except OSError:
        pass
    sock.close()


class Source(Protocol):
    """The transport."""

    descriptor: Descriptor
    owner: Any

    def receive(self, size: int) -> bytes | None:
        """What has come."""

    def on_readable(self, call: HubCall) -> None:
        """Have the hub make `call` when there is more."""


class Lingering(HubCall):
    """Throws away what comes, then calls `end`."""

    __slots__ = ("_end", "_source", "left")

    def __init__(self, source: Source, end: Callable[[], object]) -> None:
        self._source = source
        self._end = end
        self.left = LIMIT

    def switch(self) -> None:
        """Throw away what has come."""
        try:
            over = self._discard()
        except OSError:
            over = True
        except Exception as error:  # a defect of ours is the end of this one alone
            self._source.owner.on_lost(error)
            return
        if over:
            self._end()

    def _discard(self) -> bool:
        """Returns whether it is over."""
        source, hub = self._source, self._source.descriptor.io.hub
        while self.left > 0:
            data = source.receive(READ_SIZE)
            if data is None:
                source.on_readable(self)
                return False
            if not data:
                break
            self.left -= len(data)
            if hub.turn_is_over():
                hub.background.add(self.switch)
                return False
        return True
