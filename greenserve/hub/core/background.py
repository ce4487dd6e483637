"""What goes on only when nothing else is ready: calls that have used up a turn, and calls for peers that send in drops.

Strategy. A peer that floods, or a thousand peers that trickle, would otherwise stand in the ready queue before each
peer that asks for one thing. So their calls stand in a line of their own, of which the hub makes as many as fit into
TURN, and then looks at its descriptors; what has become ready there comes first. One turn in LONGEST_WAIT belongs to
the line whatever is ready, so nothing in it waits without end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from greenserve.hub.core.ready import HubCall

TURN = 0.00025  # seconds: a quarter of what any other may take; a look at the descriptors costs a fiftieth of it
LONGEST_WAIT = 0.0025  # seconds: ten turns


class Background(HubCall):
    """The line of one hub; also the hub's call that works it off."""

    __slots__ = ("_calls", "_due", "_hub", "_standing")

    def __init__(self, hub: Any) -> None:
        self._hub = hub
        self._calls: deque[Callable[[], object]] = deque()
        self._standing = False  # in the ready queue, or being called
        self._due = 0.0  # when it is the line's turn, whatever is ready

    def add(self, call: Callable[[], object]) -> None:
        """Have the hub make `call`, which must not block, when its turn has come. In the hub's thread only."""
        self._calls.append(call)
        if not self._standing:
            self._stand()

    def _stand(self) -> None:
        hub = self._hub
        self._standing = True
        self._due = hub.clock() + LONGEST_WAIT
        hub.make_ready(self)

    def switch(self) -> None:
        """Make the calls that are first in line, until one makes something ready, or the turn is over."""
        hub, calls = self._hub, self._calls
        now = hub.clock()
        if len(hub.ready) > 1 and now < self._due:  # more than the MARK
            hub.make_ready(self)
            return
        hub.poll_time = min(hub.poll_time, now + TURN)  # when the turn is over
        try:
            while calls:
                calls.popleft()()
                if len(hub.ready) > 1 or hub.turn_is_over():
                    break
        finally:  # an exception is that call's alone
            if calls:
                self._stand()
            else:
                self._standing = False
