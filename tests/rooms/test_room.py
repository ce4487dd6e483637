"""Rooms of one process, without sockets."""

from __future__ import annotations

import gc
import itertools
import os
import threading
import tracemalloc
from typing import Any

import pytest

import greenserve
from greenserve.errors import BlockingInHub
from greenserve.hub.core.hub import current_hub
from greenserve.rooms import broadcast
from greenserve.rooms.registry import Rooms
from greenserve.testing import VirtualClock
from greenserve.websocket.protocol import encode_message
from greenserve.websocket.protocol.deflate import DeflateParameters
from greenserve.websocket.protocol.errors import ConnectionClosed
from tests.rooms.support import websocket

pytestmark = pytest.mark.usefixtures("clock")


@pytest.fixture
def rooms() -> Rooms:
    return Rooms()


def test_a_broadcast_reaches_every_member_and_nobody_else(rooms: Rooms) -> None:
    room, one, two, other = rooms.get("a"), websocket(), websocket(), websocket()
    room.join(one)
    room.join(two)
    rooms.get("b").join(other)
    assert room.broadcast("hello") == 2
    assert one.texts == two.texts == ["hello"]
    assert other.texts == []


def test_who_is_excluded_gets_nothing(rooms: Rooms) -> None:
    room, one, two, three = rooms.get("a"), websocket(), websocket(), websocket()
    for ws in (one, two, three):
        room.join(ws)
    assert room.broadcast("1", exclude=one) == 2
    assert room.broadcast("2", exclude=[one, two]) == 1
    assert (one.texts, two.texts, three.texts) == ([], ["1"], ["1", "2"])


def test_who_has_left_gets_nothing_more(rooms: Rooms) -> None:
    room, ws = rooms.get("a"), websocket()
    room.join(ws)
    assert ws in room
    assert room.leave(ws)
    assert not room.leave(ws)
    assert ws not in room
    assert room.broadcast("hello") == 0
    assert ws.connection.at_end == []


def test_a_member_that_closes_leaves_every_room_by_itself(rooms: Rooms) -> None:
    one, two, ws = rooms.get("a"), rooms.get("b"), websocket()
    one.join(ws)
    two.join(ws)
    ws.connection.end()
    assert (len(one), len(two), rooms.occupied()) == (0, 0, [])


def test_a_closed_websocket_cannot_join(rooms: Rooms) -> None:
    ws = websocket()
    ws.connection.end()
    with pytest.raises(ConnectionClosed):
        rooms.get("a").join(ws)
    assert rooms.occupied() == []


def test_joined_joins_for_a_block_and_leaves_also_after_an_error(rooms: Rooms) -> None:
    room, ws = rooms.get("a"), websocket()

    def stay() -> None:
        with room.joined(ws, "Ada") as member:
            assert room.members == [member]
            assert (member.info, member.ws, member.local) == ("Ada", ws, True)
            raise KeyError

    with pytest.raises(KeyError):
        stay()
    assert room.members == []


def test_to_join_again_is_harmless_and_changes_the_info(rooms: Rooms) -> None:
    room, ws = rooms.get("a"), websocket()
    first = room.join(ws, "Ada")
    assert room.join(ws, "Ada") is first
    second = room.join(ws, "Grace")
    assert (second.id, second.info, len(room)) == (first.id, "Grace", 1)
    assert len(ws.connection.at_end) == 1
    assert room.broadcast("once") == 1


def test_what_is_no_websocket_of_ours_is_refused_in_a_clear_sentence(rooms: Rooms) -> None:
    with pytest.raises(TypeError, match=r"what greenserve.websocket.accept\(\) returns, not for object"):
        rooms.get("a").join(object())  # type: ignore[arg-type]


def test_an_info_that_other_processes_could_not_be_told_is_refused(rooms: Rooms) -> None:
    with pytest.raises(TypeError):
        rooms.get("a").join(websocket(), object())
    assert rooms.occupied() == []


@pytest.mark.parametrize("name", ["", "x" * 256, "ü" * 128])
def test_a_name_has_its_limits(rooms: Rooms, name: str) -> None:
    with pytest.raises(ValueError, match="1 to 255 bytes"):
        rooms.get(name)


def test_a_message_that_is_neither_text_nor_bytes_is_refused(rooms: Rooms) -> None:
    with pytest.raises(TypeError):
        rooms.get("a").broadcast(7)  # type: ignore[arg-type]


def test_those_who_hold_a_room_of_one_name_hold_the_same(rooms: Rooms) -> None:
    room, ws = rooms.get("a"), websocket()
    room.join(ws)
    room.leave(ws)
    assert rooms.get("a") is room
    rooms.get("a").join(ws)
    assert room.broadcast("hello") == 1


def test_a_room_that_has_members_is_kept_though_nobody_holds_it(rooms: Rooms) -> None:
    ws = websocket()
    rooms.get("a").join(ws)
    gc.collect()
    assert rooms.get("a").broadcast("hello") == 1


def test_a_great_many_room_names_leave_nothing_behind(rooms: Rooms) -> None:
    ws = websocket()

    def visit(count: int) -> None:
        for number in range(count):
            with rooms.get(f"room-{number}").joined(ws):
                pass

    visit(1000)
    tracemalloc.start()
    try:
        visit(20_000)
        gc.collect()
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert rooms.occupied() == []
    assert grown < 100_000  # bytes; five for each name


# -- encoding


def test_a_message_is_encoded_once_for_all(rooms: Rooms, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []

    def counted(message: Any, deflate: Any = None) -> bytes:
        calls.append(deflate)
        return encode_message(message, deflate)

    monkeypatch.setattr(broadcast, "encode_message", counted)
    room, message = rooms.get("a"), "x" * 5000
    members = [websocket(deflate=DeflateParameters()) for _ in range(50)] + [websocket() for _ in range(50)]
    for ws in members:
        room.join(ws)
    assert room.broadcast(message) == 100
    assert calls == [None, DeflateParameters()]
    compressed, plain = members[0].connection.frames[0], members[-1].connection.frames[0]
    assert compressed == encode_message(message, DeflateParameters())
    assert plain == encode_message(message)
    assert len(compressed) < 200
    assert all(ws.connection.frames[0] is compressed for ws in members[:50])


def test_a_short_message_is_not_compressed(rooms: Rooms) -> None:
    room, ws = rooms.get("a"), websocket(deflate=DeflateParameters())
    room.join(ws)
    room.broadcast("hello")
    assert ws.texts == ["hello"]


# -- large rooms


def crowd(rooms: Rooms, count: int) -> tuple[Any, list[Any]]:
    room = rooms.get("crowd")
    members = [websocket() for _ in range(count)]
    for ws in members:
        room.join(ws)
    return room, members


def test_others_run_between_the_slices_of_a_large_broadcast(rooms: Rooms) -> None:
    room, members = crowd(rooms, 5 * broadcast.SLICE)
    progress: list[int] = []

    def other() -> None:
        while not members[-1].texts:
            progress.append(sum(bool(ws.connection.frames) for ws in members))
            greenserve.sleep(0)

    watcher = greenserve.spawn(other)
    assert room.broadcast("hello") == len(members)
    watcher.wait()
    assert all(ws.texts == ["hello"] for ws in members)
    assert {broadcast.SLICE, 2 * broadcast.SLICE, 3 * broadcast.SLICE} <= set(progress)
    assert max(after - before for before, after in itertools.pairwise(progress)) <= broadcast.SLICE


def test_every_member_gets_the_broadcasts_in_their_order(rooms: Rooms) -> None:
    room, members = crowd(rooms, 3 * broadcast.SLICE)
    threads = [greenserve.spawn(room.broadcast, str(number)) for number in range(5)]
    for thread in threads:
        assert thread.wait() == len(members)
    assert all(ws.texts == ["0", "1", "2", "3", "4"] for ws in members)


def test_a_small_broadcast_does_not_overtake_a_large_one_in_its_room(rooms: Rooms) -> None:
    room, members = crowd(rooms, 2 * broadcast.SLICE)
    first = greenserve.spawn(room.broadcast, "1")
    greenserve.sleep(0)
    for ws in members[10:]:
        room.leave(ws)
    room.broadcast("2")
    first.wait()
    assert all(ws.texts == ["1", "2"] for ws in members[:10])


def test_who_leaves_while_a_broadcast_is_under_way_is_left_out(rooms: Rooms) -> None:
    room, members = crowd(rooms, 3 * broadcast.SLICE)
    sending = greenserve.spawn(room.broadcast, "hello")
    while not members[0].texts:
        greenserve.sleep(0)
    last = members[-1]
    last.connection.end()
    assert sending.wait() == len(members) - 1
    assert last.texts == []


def test_a_broadcast_goes_on_when_the_one_who_made_it_is_killed(rooms: Rooms) -> None:
    room, members = crowd(rooms, 3 * broadcast.SLICE)
    sending = greenserve.spawn(room.broadcast, "hello")
    while not members[0].texts:
        greenserve.sleep(0)
    sending.kill()
    for _ in range(10):
        greenserve.sleep(0)
    assert all(ws.texts == ["hello"] for ws in members)


def test_a_callback_of_the_hub_may_broadcast_and_never_waits(rooms: Rooms) -> None:
    room, members = crowd(rooms, 2 * broadcast.SLICE)
    counts: list[Any] = []

    def callback() -> None:
        try:
            counts.append(room.broadcast("1"))
            counts.append(room.broadcast("2", exclude=members[0]))
        except BlockingInHub as error:
            counts.append(error)

    current_hub().call_soon(callback)
    while not members[-1].texts[1:]:
        greenserve.sleep(0)
    assert counts == [len(members), len(members) - 1]
    assert members[0].texts == ["1"]
    assert members[1].texts == ["1", "2"]


def test_another_os_thread_may_join_broadcast_and_leave(rooms: Rooms) -> None:
    hub = current_hub()
    room, staying, passing = rooms.get("a"), websocket(hub), websocket(hub)
    room.join(staying)
    found: list[Any] = []

    def elsewhere() -> None:
        room.join(passing)
        found.append(room.broadcast("hello"))
        found.append(len(room.members))
        hub.call_soon_threadsafe(finished.set)

    finished = greenserve.hub.sync.event.Flag()
    thread = threading.Thread(target=elsewhere)
    thread.start()
    assert finished.wait(10)
    thread.join()
    greenserve.sleep(0)
    assert found == [2, 2]
    assert staying.texts == passing.texts == ["hello"]
    room.leave(passing)
    assert len(room) == 1


# -- callbacks


def test_callbacks_hear_of_coming_and_going_in_order_and_may_block(rooms: Rooms, clock: VirtualClock) -> None:
    heard: list[tuple[str, str, object]] = []

    @rooms.on_join
    def joined(room: Any, member: Any) -> None:
        greenserve.sleep(1)
        heard.append(("join", room.name, member.info))

    @rooms.on_leave
    def left(room: Any, member: Any) -> None:
        heard.append(("leave", room.name, member.info))

    room, ws, other = rooms.get("a"), websocket(), websocket()
    room.join(ws, "Ada")
    room.join(other, "Grace")
    ws.connection.end()
    greenserve.sleep(5)
    assert heard == [("join", "a", "Ada"), ("join", "a", "Grace"), ("leave", "a", "Ada")]


def test_a_callback_that_raises_is_logged_and_the_others_go_on(rooms: Rooms, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[str] = []

    @rooms.on_join
    def fails(room: Any, member: Any) -> None:
        raise KeyError("mine")

    rooms.on_join(lambda room, member: heard.append(room.name))
    room = rooms.get("a")
    room.join(websocket())
    room.join(websocket())
    greenserve.sleep(0.1)
    assert heard == ["a", "a"]
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert "a callback of room 'a' raised" in caplog.text


def test_a_callback_may_broadcast_to_the_room(rooms: Rooms) -> None:
    rooms.on_join(lambda room, member: room.broadcast(f"welcome {member.info}"))
    ws = websocket()
    rooms.get("a").join(ws, "Ada")
    greenserve.sleep(0.1)
    assert ws.texts == ["welcome Ada"]


# -- forks


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_begins_without_members(rooms: Rooms) -> None:
    room, ws = rooms.get("a"), websocket()
    room.join(ws)
    origin = rooms.new_id()
    rooms.start_afresh()  # what the child does
    assert (room.members, rooms.occupied()) == ([], [])
    assert rooms.get("a") is room
    assert rooms.new_id().partition("-")[0] != origin.partition("-")[0]
