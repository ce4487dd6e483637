"""Two processes that share rooms, in one: over a bus that loses what it is told to lose."""

from __future__ import annotations

from functools import partial
from typing import Any, cast
from unittest.mock import Mock

import pytest

import greenserve
from greenserve.errors import ConfigurationError
from greenserve.hub.core.hub import current_hub
from greenserve.hub.core.originals import get_ident
from greenserve.rooms import broadcast, sync
from greenserve.rooms.protocol import MAX_PAYLOAD
from greenserve.rooms.protocol.envelope import MessageKind, decode
from greenserve.rooms.registry import Rooms
from greenserve.testing import VirtualClock
from tests.rooms.support import ADDRESS, FakeBroker, FakeBus, Process, meet, settle, websocket


def names(process: Process, room: str = "a") -> list[Any]:
    return sorted(member.info for member in process.rooms.get(room).members)


def test_a_broadcast_reaches_the_members_of_both_processes_once(here: Process, there: Process) -> None:
    ours, theirs = websocket(), websocket()
    here.rooms.get("a").join(ours)
    there.rooms.get("a").join(theirs)
    settle()
    assert here.rooms.get("a").broadcast("hello") == 1  # here
    assert there.rooms.get("a").broadcast("grüß") == 1
    assert ours.texts == theirs.texts == ["hello", "grüß"]


def test_a_binary_broadcast_stays_binary(here: Process, there: Process) -> None:
    theirs = websocket()
    there.rooms.get("a").join(theirs)
    settle()
    here.rooms.get("a").broadcast(b"\xff\x00")
    assert theirs.connection.frames == [b"\x82\x02\xff\x00"]


def test_a_local_broadcast_stays_here(here: Process, there: Process, broker: FakeBroker) -> None:
    theirs = websocket()
    there.rooms.get("a").join(theirs)
    settle()
    here.rooms.get("a").broadcast("hello", local=True)
    assert theirs.texts == []


def test_a_process_without_members_may_broadcast_and_hears_nothing(here: Process, there: Process) -> None:
    theirs = websocket()
    there.rooms.get("a").join(theirs)
    settle()
    assert here.rooms.get("a").broadcast("hello") == 0
    assert theirs.texts == ["hello"]
    assert here.bus.channels == {sync.CONTROL}
    assert here.rooms.get("a").members == []


def test_a_process_hears_only_the_rooms_that_it_has_members_in(here: Process) -> None:
    ws = websocket()
    here.rooms.get("a").join(ws)
    here.rooms.get("b").join(ws)
    assert here.bus.channels == {sync.CONTROL, "a", "b"}
    ws.connection.end()
    assert here.bus.channels == {sync.CONTROL}


def test_members_are_known_in_both_processes(here: Process, there: Process) -> None:
    ours, theirs = websocket(), websocket()
    here.rooms.get("a").join(ours, "Ada")
    settle()
    there.rooms.get("a").join(theirs, "Grace")
    settle()
    here.rooms.get("a").join(websocket(), "Alan")
    settle()
    assert names(here) == names(there) == ["Ada", "Alan", "Grace"]
    local, remote = there.rooms.get("a").members[:2]
    assert (local.ws, local.local) == (theirs, True)
    assert (remote.ws, remote.local) == (None, False)
    assert {member.id for member in here.rooms.get("a").members} == {m.id for m in there.rooms.get("a").members}
    theirs.connection.end()
    ours.connection.end()
    settle()
    assert names(here) == ["Alan"]
    assert names(there) == []  # no member is left here, so that Alan's going would not be heard of


def test_callbacks_hear_of_members_elsewhere(here: Process, there: Process) -> None:
    heard: list[tuple[str, Any, bool]] = []
    here.rooms.on_join(lambda room, member: heard.append(("join", member.info, member.local)))
    here.rooms.on_leave(lambda room, member: heard.append(("leave", member.info, member.local)))
    here.rooms.get("a").join(websocket(), "Ada")
    theirs = websocket()
    there.rooms.get("a").join(theirs, "Grace")
    settle()
    there.rooms.get("a").join(theirs, "Grace Hopper")
    there.rooms.get("a").leave(theirs)
    settle()
    assert heard == [
        ("join", "Ada", True),
        ("join", "Grace", False),
        ("join", "Grace Hopper", False),
        ("leave", "Grace Hopper", False),
    ]


def test_what_was_lost_is_mended_with_the_next_word(here: Process, there: Process) -> None:
    meet(here, there)
    there.bus.lose = 1
    there.rooms.get("a").join(websocket(), "lost")
    assert names(here) == ["Ada", "Grace"]
    there.rooms.get("a").join(websocket(), "next")
    settle()
    assert names(here) == ["Ada", "Grace", "lost", "next"]


def test_a_process_that_falls_silent_is_taken_for_dead(here: Process, there: Process, clock: VirtualClock) -> None:
    left: list[Any] = []
    here.rooms.on_leave(lambda room, member: left.append(member.info))
    meet(here, there)
    there.bus.connected = False
    greenserve.sleep(sync.EXPIRY - sync.HEARTBEAT - 1)
    assert names(here) == ["Ada", "Grace"]
    greenserve.sleep(2 * sync.HEARTBEAT + 1)
    assert names(here) == ["Ada"]
    assert left == ["Grace"]


def test_who_does_not_come_back_after_a_loss_that_all_have_noticed_is_soon_taken_for_dead(
    here: Process, there: Process, clock: VirtualClock
) -> None:
    meet(here, there)
    there.bus.connected = False
    here.bus.reconnect()
    greenserve.sleep(2 * sync.HEARTBEAT)
    assert names(here) == ["Ada"]


def test_a_process_that_was_only_slow_is_asked_for_its_members_again(
    here: Process, there: Process, clock: VirtualClock
) -> None:
    meet(here, there)
    there.bus.lose = 4  # its heartbeats
    greenserve.sleep(sync.EXPIRY + sync.HEARTBEAT)
    assert names(here) == ["Ada"]
    greenserve.sleep(2 * sync.HEARTBEAT)
    assert names(here) == names(there) == ["Ada", "Grace"]


def test_a_process_that_ends_says_goodbye(here: Process, there: Process) -> None:
    meet(here, there)
    there.end()
    settle()
    assert names(here) == ["Ada"]
    assert there.bus.calls["close"] == 1
    assert there.rooms.get("a").broadcast("here alone") == 1


def test_after_an_outage_the_members_are_known_again_and_the_loss_is_said(
    here: Process, there: Process, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = meet(here, there)
    here.bus.connected = False
    here.rooms.get("a").broadcast("lost")
    here.rooms.get("a").join(websocket(), "Alan")
    here.bus.reconnect()
    settle()
    here.rooms.get("a").broadcast("heard")
    assert theirs.texts == ["heard"]
    assert ours.texts == ["lost", "heard"]
    assert names(there) == ["Ada", "Alan", "Grace"]
    greenserve.sleep(sync.HEARTBEAT + 1)
    assert [record.getMessage() for record in caplog.records] == ["rooms: 1 broadcasts did not leave this process"]


def test_a_broadcast_to_a_large_room_of_another_process_does_not_hold_it_up(here: Process, there: Process) -> None:
    members = [websocket() for _ in range(3 * broadcast.SLICE)]
    for ws in members:
        there.rooms.get("a").join(ws)
    settle()
    sending = greenserve.spawn(here.rooms.get("a").broadcast, "hello")
    greenserve.sleep(0)
    assert not members[-1].texts
    sending.wait()
    assert members[-1].texts == ["hello"]


def test_what_makes_no_sense_is_ignored_and_logged(
    here: Process, broker: FakeBroker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    ws = websocket()
    here.rooms.get("a").join(ws)
    settle()
    origin = b"strange!"
    for kind, body in [
        (MessageKind.JOIN, b"{"),
        (MessageKind.JOIN, b"[1]"),
        (MessageKind.LEAVE, b"7"),
        (MessageKind.ROSTER, b"[1, 7, true, true, false]"),
        (MessageKind.TEXT, b"\xff"),
    ]:
        broker.pass_on("a", bytes((1, kind)) + origin + body)
    broker.pass_on("a", b"\x63\x01" + origin)
    assert len(caplog.records) == 5
    assert all("is malformed" in record.getMessage() for record in caplog.records)
    assert ws.texts == []
    assert names(here) == [None]


def test_the_first_member_is_told_with_the_list_and_not_before(here: Process, broker: FakeBroker) -> None:
    here.rooms.get("a").join(websocket(), "Ada")
    assert [channel for channel, _ in broker.said] == []
    settle()
    said = [decode(payload) for channel, payload in broker.said if channel == "a"]
    assert [(envelope.kind, envelope.value[1].popitem()[1]) for envelope in said if envelope] == [
        (MessageKind.ROSTER, "Ada")
    ]


def test_a_message_that_no_bus_carries_is_refused(here: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="at most"):
        here.rooms.get("a").broadcast(b"x" * MAX_PAYLOAD)
    here.rooms.get("a").broadcast(b"x" * MAX_PAYLOAD, local=True)


def test_the_servers_of_a_process_share_one_bus(here: Process, broker: FakeBroker) -> None:
    here.rooms.attach(current_hub(), ADDRESS)
    assert broker.buses == [here.bus]
    with pytest.raises(ConfigurationError, match="the same `rooms`"):
        here.rooms.attach(current_hub(), "other:")


def test_a_forked_child_leaves_its_parents_connection_alone(here: Process) -> None:
    here.rooms.get("a").join(websocket())
    here.rooms.start_afresh()
    assert here.bus.calls == {"abandon": 1}
    assert here.rooms.get("a").broadcast("to no member") == 0


# -- servers in several OS threads of one process


class FakeHub:
    """The hub of another OS thread, which runs when it is told to."""

    def __init__(self) -> None:
        self.thread_id = get_ident()  # so that it passes nothing on to itself
        self.clock = float
        self.calls: list[partial[Any]] = []

    def call_later(self, seconds: float, call: Any) -> Any:
        return Mock()

    def call_soon_threadsafe(self, call: Any, *args: Any) -> None:
        self.calls.append(partial(call, *args))

    def run(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()


def test_the_bus_passes_from_server_to_server_and_there_is_one_at_a_time(
    clock: VirtualClock, broker: FakeBroker
) -> None:
    rooms = Rooms(lambda _: FakeBus(broker))
    first, second, third, fourth = (cast("Any", FakeHub()) for _ in range(4))
    for hub in (first, second):
        rooms.attach(hub, ADDRESS)
    assert len(broker.buses) == 1
    rooms.detach(first)
    assert broker.buses == []
    rooms.attach(third, ADDRESS)  # while the second has not taken the bus over yet
    second.run()
    assert len(broker.buses) == 1
    rooms.attach(fourth, ADDRESS)
    rooms.detach(second)
    rooms.detach(third)  # before it could
    third.run()
    assert broker.buses == []
    fourth.run()
    assert len(broker.buses) == 1
    rooms.detach(fourth)
    assert broker.buses == []
