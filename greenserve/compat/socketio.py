"""python-socketio and Flask-SocketIO: their rooms and events over several workers, by the bus of greenserve's rooms."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

from socketio import PubSubManager  # type: ignore[import-untyped,unused-ignore]  # it has no types

from greenserve.hub.core.hub import Hub, current_hub
from greenserve.hub.core.originals import get_ident
from greenserve.hub.sync.event import Flag
from greenserve.hub.sync.queue import Queue
from greenserve.rooms import shared_at
from greenserve.rooms.bus import Bus
from greenserve.rooms.registry import make_bus

logger = logging.getLogger("greenserve.rooms")

CONNECT_SECONDS = 5.0  # for which the first clients wait for the bus; without one, events reach this worker alone


class RoomsManager(PubSubManager):  # type: ignore[misc]  # no types
    """A Socket.IO server's client manager, over the bus that the server's WebSocket rooms use.

    `socketio.Server(client_manager=RoomsManager())`, or `SocketIO(app, client_manager=RoomsManager())`. channel: those
    of one name see each other's events. address: of the bus, as the setting `rooms` has it; by default the setting's.
    Events are JSON; each is delivered at most once.
    """

    name = "greenserve"

    def __init__(self, channel: str = "socketio", address: str | None = None, **options: Any) -> None:
        super().__init__(channel=channel, **options)
        self._address = address
        self._bus: Bus | None = None
        self._hub: Hub | None = None
        self._subscribed = Flag()
        self._came: Queue[bytes] = Queue()

    def connect(self, eio_sid: str, namespace: str) -> str:
        """A client comes: it misses nothing from then on."""
        self._subscribed.wait(CONNECT_SECONDS)
        sid: str = super().connect(eio_sid, namespace)
        return sid

    def _publish(self, data: dict[str, Any]) -> None:
        self._subscribed.wait(CONNECT_SECONDS)
        payload = json.dumps(data).encode()
        if self._bus is None or self._hub is None:
            return
        if get_ident() == self._hub.thread_id:
            self._bus.publish(self._topic, payload)
        else:
            self._hub.call_soon_threadsafe(self._bus.publish, self._topic, payload)

    def _listen(self) -> Iterator[bytes]:
        address = self._address or shared_at()
        if address is None:
            self._subscribed.set()  # nothing is worth waiting for
            logger.error(
                "Socket.IO's events have no way to other workers: start the server without --rooms none, or give "
                "RoomsManager an address"
            )
            return
        self._hub = current_hub()
        self._bus = make_bus(address)
        self._bus.open(self, (self._topic, b"{}"))
        self._bus.subscribe(self._topic)
        while True:
            yield self._came.get()

    @property
    def _topic(self) -> str:
        """No room's: these have no NUL in front, and no presence."""
        return f"\0socketio {self.channel}"

    # -- what the bus reports (rooms.bus.Subscriber)

    def on_message(self, channel: str, payload: bytes) -> None:
        """Another worker has sent an event."""
        self._came.put(payload)

    def on_subscribed(self, channel: str) -> None:
        """The bus is there."""
        self._subscribed.set()
