"""What carries rooms from process to process: the interface, and what every bus does when its connection is lost.

A bus delivers at most once, and in the order of each sender. While it has no connection nothing is kept: rooms go on
within each process, what is broadcast meanwhile does not reach other processes, and nothing comes twice afterwards.
Keeping it for later was rejected: the first process to connect again would have no receivers, and chat lines of five
minutes ago arriving all at once are of no use.

Another broker (NATS, say) is one more subclass of `ReconnectingBus`.
"""

from __future__ import annotations

import contextlib
import logging
import random
import socket as _socket
from collections.abc import Callable
from typing import Any, Protocol

from greenserve.hub.core.hub import current_hub
from greenserve.hub.core.wait_queue import WaitQueue
from greenserve.hub.greenthread import GreenThread, sleep
from greenserve.hub.spawning import spawn

logger = logging.getLogger("greenserve.rooms")

FIRST_PAUSE = 0.02  # seconds until the first attempt to connect again; each further one takes twice as long
LONGEST_PAUSE = 2.0  # seconds
MAX_BACKLOG = 16 << 20  # bytes that wait to be sent, before broadcasts are dropped


class Subscriber(Protocol):
    """What a bus calls, in its hub. An exception ends the connection, so none must be raised for a single message."""

    def on_message(self, channel: str, payload: bytes) -> None:
        """A process, perhaps this one, has published. May wait: the bus reads on when it returns."""

    def on_subscribed(self, channel: str) -> None:
        """From now on everything that is published there comes. Called again after each loss of the connection."""


class Bus(Protocol):
    """Publish and subscribe, across processes. All in the thread of the hub in which it was opened; nothing waits."""

    def open(self, subscriber: Subscriber, will: tuple[str, bytes]) -> None:
        """Begin to connect, and to call `subscriber`.

        will: a channel and a payload, which a broker that can do so publishes when this process is gone unannounced.
        """

    def subscribe(self, channel: str) -> None:
        """Receive what is published on `channel`."""

    def unsubscribe(self, channel: str) -> None:
        """Receive it no more."""

    def publish(self, channel: str, payload: bytes) -> bool:
        """Send to all subscribers. Returns False when it was dropped: no connection, or too much waits."""

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
        self._taker = WaitQueue()

    def put(self, piece: bytes) -> bool:
        """Returns False when more than `limit` bytes wait."""
        if self.size > self._limit:
            return False
        self._pieces.append(piece)
        self.size += len(piece)
        self._taker.wake()
        return True

    def take(self, timeout: float | None = None) -> list[bytes]:
        """Wait for a piece, at most `timeout` seconds, and take all that there are. What was taken before is sent."""
        self.size -= self._taken
        self._taken = 0
        if not self._pieces:
            self._taker.wait(timeout)
        pieces, self._pieces = self._pieces, []
        self._taken = self.size
        return pieces

    def send_all(self, sock: Any, ping: bytes = b"", interval: float | None = None) -> None:
        """Send every piece, until the connection ends. For a green thread of its own.

        ping: what to send when there was nothing for `interval` seconds.
        """
        try:
            while True:
                sock.sendall(b"".join(self.take(interval)) or ping)
        except Exception:  # whichever: a connection that cannot be written to is over, and its reader must notice
            shut(sock)


def shut(sock: Any) -> None:
    """Shut both sides; harmless when it is shut or closed."""
    with contextlib.suppress(OSError):
        sock.shutdown(_socket.SHUT_RDWR)


class ReconnectingBus(Bus):
    """A bus whose connection is made again whenever it ends. The loss is logged once, and so is the return.

    A subclass has `connect`, which raises one of `failures`; `serve`, which returns or raises when the connection has
    ended; and `disconnect`, which is called in any case.
    """

    failures: tuple[type[BaseException], ...] = (OSError,)

    def __init__(self, name: str) -> None:
        self.name = name  # for the log: no password in it
        self.channels: set[str] = set()
        self.connected = False
        self.failure: BaseException | None = None  # why the connection ended, when that is not what `serve` raises
        self.subscriber: Subscriber | None = None
        self._thread: GreenThread[None] | None = None
        self._pause = FIRST_PAUSE
        self._clock: Callable[[], float] = current_hub().clock
        self._lost_at = self._up_at = self._clock()
        self._lost = False  # and logged

    def connect(self) -> None:
        """Connect, and subscribe to `channels`."""
        raise NotImplementedError

    def serve(self) -> None:
        """Receive until the connection ends."""
        raise NotImplementedError

    def disconnect(self) -> None:
        """Free what `connect` has made, however far it came."""
        raise NotImplementedError

    def request(self, channel: str, *, subscribe: bool) -> None:
        """Ask the broker for a subscription, or for its end."""
        raise NotImplementedError

    def open(self, subscriber: Subscriber, will: tuple[str, bytes]) -> None:
        """See Bus. `will` is for the subclass."""
        self.subscriber = subscriber
        self._thread = spawn(self._run)
        self._thread.name = f"rooms over {self.name}"

    def subscribe(self, channel: str) -> None:
        """See Bus."""
        self.channels.add(channel)
        if self.connected:
            self.request(channel, subscribe=True)

    def unsubscribe(self, channel: str) -> None:
        """See Bus."""
        self.channels.discard(channel)
        if self.connected:
            self.request(channel, subscribe=False)

    def close(self) -> None:
        """See Bus."""
        if self.connected:
            sleep(0)  # for the green thread that sends
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
                    return  # `close` has ended this thread; libraries stumble over what it closed, each in its own way
                if not isinstance(raised, self.failures):  # a defect, here or in a library; it must not end the bus
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
        if self._lost:
            logger.warning(
                "rooms: connected to %s again after %.1f s; what was broadcast meanwhile did not reach other processes",
                self.name,
                self._clock() - self._lost_at,
            )
        else:
            logger.info("rooms: connected to %s", self.name)
        self.connected, self._lost = True, False
        self._up_at = self._clock()

    def _went_down(self, error: BaseException | None) -> None:
        reason = "the connection was closed" if error is None else str(error) or type(error).__name__
        if self.connected:
            self._lost_at = self._clock()
            if self._lost_at - self._up_at > LONGEST_PAUSE:  # else one that ends at once would be made without a pause
                self._pause = FIRST_PAUSE
        self.connected = False
        if not self._lost:
            self._lost = True
            logger.warning(
                "rooms: no connection to %s (%s): broadcasts stay in this process until there is one", self.name, reason
            )
