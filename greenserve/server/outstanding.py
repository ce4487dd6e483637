"""What clients have still to take of their responses, in bytes of memory: bounded for all of them together.

Strategy. An application that has ended leaves the rest of its response to the hub, so a slow client costs memory, and
no green thread. When much is left, clients that have taken next to nothing in a second are cut off. Nothing is held
beyond the limit: for a further response those are cut off at once that have taken least. To let it wait instead would
be to hold it nevertheless; to begin no further request would let slow clients decide when others are served.

What counts is what the pieces hold: a response of which all but a byte was taken is still in memory as a whole.
"""

from __future__ import annotations

import logging
from functools import partial
from operator import itemgetter
from typing import Any

from greenserve.hub.core.hub import Hub
from greenserve.hub.core.originals import get_ident
from greenserve.server import deadlines, machine
from greenserve.server.admission import Counted

SHARE = 8  # one part in so many of the memory may wait for clients
LEAST = 256 << 20  # bytes that may wait, however small the machine
MUCH = 4  # one part in so many of the limit is much
SLOW_RATE = 16384  # bytes per second; a mobile phone at the edge of its network takes as many
WHY = "the client was too slow, and memory for responses runs out (max_unsent)"


def default_limit() -> int:
    """Bytes of memory for what all clients of this machine have still to take."""
    return max(LEAST, machine.memory() // SHARE)


class Outstanding:
    """The bytes that clients have still to take. limit: of all together. unsent: bytes that counted buffers hold now;
    they count by setting it, see Backlog in send_buffer.py.
    """

    __slots__ = ("_before", "_counted", "_cut", "_hub", "limit", "unsent")

    def __init__(self, hub: Hub, limit: int | None) -> None:
        self.limit: int = limit or default_limit()
        self.unsent = 0
        self._hub = hub
        self._counted: dict[Any, tuple[Any, int]] = {}  # buffer -> its connection, and what it had to send at first
        self._before: dict[Any, int] = {}  # buffer -> what it had to send a second ago
        self._cut = Counted(
            f"slow clients cut off: %d; responses that were not taken hold too much memory (max_unsent: {self.limit} "
            "bytes in this process)",
            hub.clock,
        )

    @property
    def is_much(self) -> bool:
        """Whether slow clients should go."""
        return self.unsent > self.limit // MUCH

    def add(self, connection: Any) -> None:
        """Count what its client has still to take, from now on. In any OS thread."""
        buffer = connection.stream.buffer
        if buffer is None or not buffer.count_in(self):
            return
        self._counted[buffer] = connection, buffer.left
        if self.unsent > self.limit:
            if get_ident() == self._hub.thread_id:
                self._enforce(buffer)
            else:
                self._hub.call_soon_threadsafe(self._enforce, buffer)

    def tick(self) -> None:
        """Once a second: if much is waiting, cut off the clients that take next to nothing."""
        self._cut.tick()
        self._forget()
        before, self._before = self._before, {}
        if not self.is_much:
            return
        for buffer, (connection, _) in list(self._counted.items()):
            if not buffer.size:  # a file, which holds no memory
                continue
            if buffer in before and before[buffer] - buffer.left < SLOW_RATE:
                self._hub.background.add(partial(self._cut_off, connection, buffer))
            else:
                self._before[buffer] = buffer.left

    def _enforce(self, newest: Any) -> None:
        """Cut off those that have taken least, the oldest first, until it is enough for a while. newest: a buffer."""
        self._forget()
        counted = [(at_first - buffer.left, buffer, each) for buffer, (each, at_first) in list(self._counted.items())]
        for _, buffer, connection in sorted(counted, key=itemgetter(0)):
            if self.unsent <= self.limit - self.limit // 8:
                break
            if buffer.size and buffer is not newest:
                self._cut_off(connection, buffer)

    def _forget(self) -> None:
        """Forget what has been taken, or given up. Other OS threads may add to it meanwhile: hence the copy."""
        for buffer, (connection, _) in list(self._counted.items()):
            if connection.stream.buffer is not buffer:
                del self._counted[buffer]

    def _cut_off(self, connection: Any, buffer: Any) -> None:
        if connection.stream.buffer is not buffer:  # taken, or given up, meanwhile
            return
        self._cut.add()
        deadlines.cut_off(connection, WHY, logging.DEBUG)  # there may be thousands
