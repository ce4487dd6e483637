"""Stand-ins for processes, buses and WebSockets: what rooms need of each, and no socket."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import greenserve
from greenserve.hub.core.hub import Hub, current_hub
from greenserve.rooms.bus import Subscriber
from greenserve.rooms.registry import Rooms
from greenserve.websocket.protocol.deflate import DeflateParameters
from greenserve.websocket.protocol.errors import ConnectionClosed
from greenserve.websocket.stages import Stage

ADDRESS = "fake:"


class FakeProtocol:
    def __init__(self, deflate: DeflateParameters | None) -> None:
        self.deflate = deflate


class FakeConnection:
    """A connection whose frames end in a list. reads: whether the peer takes what it is sent."""

    def __init__(self, hub: Hub, deflate: DeflateParameters | None = None) -> None:
        self.hub = hub
        self.protocol = FakeProtocol(deflate)
        self.stage = Stage.OPEN
        self.frames: list[bytes] = []
        self.at_end: list[Any] = []

    def post(self, frame: bytes) -> bool:
        if self.stage is not Stage.OPEN:
            return False
        self.frames.append(frame)
        return True

    def call_at_end(self, callback: Any) -> None:
        self.at_end.append(callback)

    def forget_at_end(self, callback: Any) -> None:
        if callback in self.at_end:
            self.at_end.remove(callback)

    def error(self) -> ConnectionClosed:
        return ConnectionClosed(1006)

    def end(self) -> None:
        """The peer is gone."""
        self.stage = Stage.CLOSED
        callbacks, self.at_end = self.at_end, []
        for callback in callbacks:
            callback(self)


class FakeWebSocket:
    def __init__(self, hub: Hub | None = None, deflate: DeflateParameters | None = None) -> None:
        self.connection = FakeConnection(hub or current_hub(), deflate)

    @property
    def texts(self) -> list[str]:
        """What it was sent, as short plain text frames."""
        return [frame[2:].decode() for frame in self.connection.frames]


def websocket(hub: Hub | None = None, deflate: DeflateParameters | None = None) -> Any:
    return FakeWebSocket(hub, deflate)


class FakeBroker:
    """Passes on at once what buses publish, to their own process as well; keeps a record of all that was said."""

    def __init__(self) -> None:
        self.buses: list[FakeBus] = []
        self.said: list[tuple[str, bytes]] = []

    def pass_on(self, channel: str, payload: bytes) -> None:
        self.said.append((channel, payload))
        for bus in list(self.buses):
            if bus.connected and channel in bus.channels:
                bus.subscriber.on_message(channel, payload)


class FakeBus:
    """lose: how many of the next payloads are lost on their way, without a sign."""

    subscriber: Subscriber

    def __init__(self, broker: FakeBroker) -> None:
        self.broker = broker
        self.channels: set[str] = set()
        self.connected = True
        self.lose = 0
        self.calls: dict[str, int] = defaultdict(int)

    def open(self, subscriber: Subscriber, will: tuple[str, bytes]) -> None:
        self.subscriber = subscriber
        self.broker.buses.append(self)

    def subscribe(self, channel: str) -> None:
        self.channels.add(channel)
        if self.connected:
            current_hub().call_soon(self.subscriber.on_subscribed, channel)

    def unsubscribe(self, channel: str) -> None:
        self.channels.discard(channel)

    def publish(self, channel: str, payload: bytes) -> bool:
        if not self.connected:
            return False
        if self.lose:
            self.lose -= 1
            return True
        self.broker.pass_on(channel, payload)
        return True

    def reconnect(self) -> None:
        self.connected = True
        for channel in list(self.channels):
            self.subscriber.on_subscribed(channel)

    def close(self) -> None:
        self.calls["close"] += 1
        self.connected = False
        self.broker.buses.remove(self)

    def abandon(self) -> None:
        self.calls["abandon"] += 1


class Process:
    """The rooms of a process of its own, and its bus."""

    def __init__(self, broker: FakeBroker) -> None:
        self.bus = FakeBus(broker)
        self.rooms = Rooms(lambda _: self.bus)
        self.rooms.attach(current_hub(), ADDRESS)

    def end(self) -> None:
        self.rooms.detach(current_hub())


def settle() -> None:
    """Let the green threads run that are ready, and those that they make ready."""
    for _ in range(5):
        greenserve.sleep(0)


def meet(here: Process, there: Process) -> tuple[Any, Any]:
    """Two WebSockets in room "a": Ada here, Grace there; both processes know of both."""
    ours, theirs = websocket(), websocket()
    here.rooms.get("a").join(ours, "Ada")
    there.rooms.get("a").join(theirs, "Grace")
    settle()
    return ours, theirs
