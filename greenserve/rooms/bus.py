"""What carries rooms from process to process: the interface, and what every bus does when its connection is lost.

A bus delivers at most once, and in the order of each sender. While it has no connection nothing is kept: rooms go on
within each process, what is broadcast meanwhile does not reach the others, and nothing comes twice afterwards. Keeping
it for later was rejected: those that connect first would send to no one, and chat lines of five minutes ago arriving
all at once are of no use.

Another broker (NATS, say) is one more class with the methods of `Bus`; `Reconnecting` does most of it.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Protocol

from greenserve.hub.greenthread import GreenThread, sleep, spawn
from greenserve.hub.hub import current_hub, running, wake
from greenserve.hub.timers import Token

logger = logging.getLogger("greenserve.rooms")

FIRST_PAUSE = 0.02  # seconds until the first attempt to connect again; each further one takes twice as long
LONGEST_PAUSE = 2.0  # seconds
MAX_BACKLOG = 16 << 20  # bytes that wait to be sent, before broadcasts are dropped
MAX_PAYLOAD = 16 << 20  # bytes


class Listener(Protocol):
    """Whom a bus tells. In the bus's hub. What it raises ends the connection, so it raises nothing for one message."""

    def on_message(self, channel: str, payload: bytes) -> None:
        """A process has published; perhaps we ourselves. May wait: the bus reads on when it returns."""

    def on_subscribed(self, channel: str) -> None:
        """From now on everything that is published there comes. Called again after each loss of the connection."""


class Bus(Protocol):
    """Publish and subscribe, across processes. All in the thread of the hub in which it was opened; nothing waits."""

    def open(self, listener: Listener, will: tuple[str, bytes]) -> None:
        """Begin to connect, and to tell `listener`.

        will: a channel and a payload, to be published for us when we have gone without a word. For brokers that can.
        """

    def subscribe(self, channel: str) -> None:
        """Hear what is published on `channel`."""

    def unsubscribe(self, channel: str) -> None:
        """Hear it no more."""

    def publish(self, channel: str, payload: bytes) -> bool:
        """Send to all that have subscribed. Returns False when it was dropped: no connection, or too much waits."""

    def close(self) -> None:
        """End. What waits is sent if that takes no time."""

    def abandon(self) -> None:
        """In a forked child: close what it shares with its parent, without sending anything."""


class Outbox:
    """Pieces that wait to be sent: `put` never waits, `take` does. In one hub's thread."""

    def __init__(self, limit: float = float("inf")) -> None:
        self.size = 0  # bytes, those taken last included
        self._limit = limit
        self._pieces: list[bytes] = []
        self._taken = 0
        self._taker: Token = []

    def put(self, piece: bytes) -> bool:
        """Returns False when more than `limit` bytes wait."""
        if self.size > self._limit:
            return False
        self._pieces.append(piece)
        self.size += len(piece)
        wake(self._taker)
        return True

    def take(self, timeout: float | None = None) -> list[bytes]:
        """Wait for a piece, at most `timeout` seconds, and take all that there are. What was taken before is sent."""
        self.size -= self._taken
        self._taken = 0
        if not self._pieces:
            greenlet = running()
            self._taker = token = [greenlet]
            hub = greenlet.hub
            hub.park_until(greenlet, token, None if timeout is None else hub.clock() + timeout)
        pieces, self._pieces = self._pieces, []
        self._taken = self.size
        return pieces


class Reconnecting:
    """A bus's connection, made again whenever it ends.

    A subclass has `connect`, which raises one of `failures`; `serve`, which returns or raises when the connection has
    ended; and `disconnect`, which is called in any case. Its loss is logged once, and its coming back.
    """

    failures: tuple[type[BaseException], ...] = (OSError,)

    def __init__(self, name: str) -> None:
        self.name = name  # for the log: no password in it
        self.channels: set[str] = set()
        self.connected = False
        self.failure: BaseException | None = None  # why the connection ended, when that is not what `serve` raises
        self._thread: GreenThread[None] | None = None
        self._pause = FIRST_PAUSE
        self._clock: Callable[[], float] = current_hub().clock
        self._since = self._clock()  # when the connection was lost
        self._told = False  # that it is lost

    def connect(self) -> None:
        """Connect, and subscribe to `channels`."""
        raise NotImplementedError

    def serve(self) -> None:
        """Receive until the connection ends."""
        raise NotImplementedError

    def disconnect(self) -> None:
        """Free what `connect` has made, however far it came."""
        raise NotImplementedError

    def start(self) -> None:
        """Begin."""
        self._thread = spawn(self._run)
        self._thread.name = f"rooms over {self.name}"

    def stop(self) -> None:
        """End."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.kill(block=False)
        self.connected = False
        self.disconnect()

    def _run(self) -> None:
        me = self._thread
        while True:
            self.failure = None
            error: BaseException | None = None
            try:
                self.connect()
                self._came_up()
                self.serve()
            except Exception as raised:
                if self._thread is not me:
                    return  # `stop` has ended us; what it has closed makes libraries stumble, each in its own way
                if not isinstance(
                    raised, self.failures
                ):  # a defect, here or in a library: no reason to be alone for good
                    logger.exception("rooms: the connection to %s failed", self.name)
                error = raised
            finally:
                self.disconnect()
            self._went_down(self.failure or error)
            error = None  # its traceback refers to this frame
            # Not all at the same moment, when a broker has died that a hundred processes used.
            sleep(self._pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def _came_up(self) -> None:
        if self._told:
            logger.warning(
                "rooms: connected to %s again after %.1f s; what was broadcast meanwhile did not reach other processes",
                self.name,
                self._clock() - self._since,
            )
        else:
            logger.info("rooms: connected to %s", self.name)
        self.connected, self._told = True, False
        self._pause = FIRST_PAUSE

    def _went_down(self, error: BaseException | None) -> None:
        reason = "the connection was closed" if error is None else str(error) or type(error).__name__
        if self.connected:
            self._since = self._clock()
        self.connected = False
        if not self._told:
            self._told = True
            logger.warning(
                "rooms: no connection to %s (%s): broadcasts stay in this process until there is one", self.name, reason
            )
