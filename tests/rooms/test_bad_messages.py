"""What makes no sense on a bus is refused, one message at a time: rooms hear the next one."""

from __future__ import annotations

import json
import logging
import socket
from pathlib import Path
from typing import Any

import pytest

from greenserve.green.socket import socket as GreenSocket
from greenserve.hub.core.hub import Hub, current_hub
from greenserve.rooms import sync
from greenserve.rooms.bus import Bus
from greenserve.rooms.protocol.envelope import MessageKind, encode, encode_value
from greenserve.rooms.protocol.framing import Op, frame
from greenserve.rooms.registry import Rooms, make_bus
from tests.rooms.redis_server import RedisServer
from tests.rooms.support import FakeBroker, Process, meet, settle, websocket
from tests.waiting import until

THEM = b"them" * 2

DEEP = b"[" * 20_000
BODIES: dict[str, bytes] = {
    "nested too deeply": DEEP,
    "nested too deeply, in a list": b'[1,"m",' + DEEP + b"]" * 20_001,
    "objects nested too deeply": b'{"a":' * 20_000,
    "not UTF-8": b"\xff\xfe\xfd",
    "UTF-16 cut": b"\xff\xfe[",
    "nothing": b"",
    "no JSON": b"[1,",
    "a number of 5,000 digits": b"[" + b"9" * 5000 + b',"m",1]',
    "NaN": b'[1,"m",NaN]',
    "infinity": b'[Infinity,"m",1]',
    "a version that is a float": b'[1e999,"m",1]',
    "a version that is text": b'["1","m",1]',
    "a version that is true": b'[true,"m",1]',
    "a member that is a list": b'[1,["m"],1]',
    "a member that is null": b"[1,null,1]",
    "too short": b"[1]",
    "too long": b'[1,"m",1,1,1,1,1]',
    "an object": b'{"version":1,"member":"m","info":1}',
    "text": b'"abc"',
    "null": b"null",
    "a roster of pairs": b'[1,[["m",1]],true,true,false]',
    "a roster of text": b'[1,"ab",true,true,false]',
    "a roster whose switches are numbers": b'[1,{"m":1},1,1,0]',
}


def heard(ws: Any) -> list[str]:
    """The messages that a WebSocket was sent; the short texts among them, the others have a longer head."""
    return [each[2:].decode("latin-1") for each in ws.connection.frames]


@pytest.mark.parametrize(
    "kind", [MessageKind.JOIN, MessageKind.LEAVE, MessageKind.ROSTER, MessageKind.TEXT], ids=lambda kind: kind.name
)
@pytest.mark.parametrize("body", BODIES)
def test_a_message_that_makes_no_sense_changes_nothing(
    here: Process, there: Process, broker: FakeBroker, kind: MessageKind, body: str, caplog: pytest.LogCaptureFixture
) -> None:
    ours, _ = meet(here, there)
    with caplog.at_level(logging.INFO, "greenserve.rooms"):
        broker.pass_on("a", encode(kind, THEM, BODIES[body]))
        broker.pass_on(sync.CONTROL, encode(kind, THEM, BODIES[body]))
    if kind is not MessageKind.TEXT:
        assert [record.levelname for record in caplog.records] == ["INFO", "INFO"]  # in both processes
    settle()
    assert [member.info for member in here.rooms.get("a").members] == ["Ada", "Grace"]
    # A process that speaks sense goes on where it was.
    broker.pass_on("a", encode_value(MessageKind.ROSTER, THEM, [7, {"m": "Alan"}, True, True, False]))
    broker.pass_on("a", encode(kind, THEM, BODIES[body]))
    broker.pass_on("a", encode_value(MessageKind.JOIN, THEM, [8, "n", "Edith"]))
    assert [member.info for member in here.rooms.get("a").members] == ["Ada", "Grace", "Alan", "Edith"]
    there.rooms.get("a").broadcast("on")
    assert heard(ours)[-1] == "on"


@pytest.mark.parametrize("error", [MemoryError, RecursionError, RuntimeError, AttributeError])
def test_whatever_fails_with_one_message_the_next_one_is_heard(
    here: Process, there: Process, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    ours = websocket()
    room = here.rooms.get("a")
    room.join(ours)
    settle()

    def fail(self: Any, message: str) -> int:
        raise error("here")

    with monkeypatch.context() as patch:
        patch.setattr(type(room), "deliver", fail)
        there.rooms.get("a").broadcast("one")
    there.rooms.get("a").broadcast("two")
    assert ours.texts == ["two"]


def test_an_info_that_json_cannot_say_any_more_keeps_nobody_from_hearing(here: Process, there: Process) -> None:
    ours, info = websocket(), {"name": "Ada"}
    here.rooms.get("a").join(ours, info)
    info["name"] = object()  # type: ignore[assignment]  # on purpose
    settle()
    there.rooms.get("a").broadcast("hello")
    assert ours.texts == ["hello"]


def test_an_info_that_is_not_a_number_is_refused(here: Process) -> None:
    with pytest.raises(ValueError, match="JSON"):
        here.rooms.get("a").join(websocket(), {"x": float("nan")})
    assert here.rooms.get("a").members == []


# -- on real sockets


class RealProcess:
    """Rooms over a bus with real sockets."""

    def __init__(self, address: str) -> None:
        self.buses: list[Bus] = []
        self.rooms = Rooms(self._make)
        self.rooms.attach(current_hub(), address)

    def _make(self, address: str) -> Bus:
        self.buses.append(make_bus(address))
        return self.buses[-1]

    def end(self) -> None:
        self.rooms.detach(current_hub())


def send_nonsense_between(address: str, publish: Any) -> None:
    """Two processes hear each other after each message that makes no sense."""
    one, two = RealProcess(address), RealProcess(address)
    ours, theirs = websocket(), websocket()
    one.rooms.get("a").join(ours, 1)
    two.rooms.get("a").join(theirs, 2)
    until(lambda: len(one.rooms.get("a")) == len(two.rooms.get("a")) == 2)
    for number, body in enumerate(BODIES.values()):
        for kind in (MessageKind.JOIN, MessageKind.ROSTER, MessageKind.TEXT):
            publish(encode(kind, THEM, body))
        one.rooms.get("a").broadcast(f"on {number}")
        until(lambda: f"on {number}" in heard(theirs))  # noqa: B023 - called at once
        two.rooms.get("a").broadcast(f"back {number}")
        until(lambda: f"back {number}" in heard(ours))  # noqa: B023 - called at once
    third = websocket()
    one.rooms.get("b").join(third)  # and a new room is heard, too
    until(lambda: "b" in one.buses[0].channels)  # type: ignore[attr-defined]  # of every bus here
    assert len(one.buses) == 1
    one.end()
    two.end()


def test_nonsense_over_redis(hub: Hub) -> None:
    pytest.importorskip("redis")
    with RedisServer() as server:
        connection = GreenSocket()
        connection.connect(("127.0.0.1", server.port))
        channel = b"greenserve:3:a"

        def publish(payload: bytes) -> None:
            words = (b"PUBLISH", channel, payload)
            connection.sendall(b"*3\r\n" + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
            assert connection.recv(100) == b":2\r\n"  # both processes hear it

        send_nonsense_between(server.url, publish)
        connection.close()


def test_nonsense_over_a_unix_socket(hub: Hub, tmp_path: Path) -> None:
    path = str(tmp_path / "rooms.sock")
    connection: list[GreenSocket] = []

    def publish(payload: bytes) -> None:
        if not connection:
            connection.append(GreenSocket(socket.AF_UNIX))
            connection[0].connect(path)
        connection[0].sendall(frame(Op.MESSAGE, b"a", payload))

    send_nonsense_between(f"unix:{path}", publish)
    connection[0].close()


def test_what_is_no_frame_costs_only_who_sent_it(hub: Hub, tmp_path: Path) -> None:
    path = str(tmp_path / "rooms.sock")

    def publish(payload: bytes) -> None:
        with GreenSocket(socket.AF_UNIX) as connection:
            connection.connect(path)
            connection.sendall(json.dumps(payload.decode("latin-1")).encode() + b"\xff" * 100)

    send_nonsense_between(f"unix:{path}", publish)
