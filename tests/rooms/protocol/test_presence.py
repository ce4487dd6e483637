"""Presence: messages in, changes out; and what is lost on the way is made up for with the next message that comes."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from greenserve.rooms.protocol.envelope import Envelope, MessageKind
from greenserve.rooms.protocol.presence import ASK_AGAIN, PART, Change, Presence

THEM = b"themthem"
JOIN, LEAVE, ROSTER = MessageKind.JOIN, MessageKind.LEAVE, MessageKind.ROSTER


def heard(presence: Presence, kind: MessageKind, body: Any, now: float = 0.0) -> Change:
    return presence.receive(Envelope(kind, THEM, json.dumps(body).encode()), now)


def told(speaker: Presence, listener: Presence) -> Change:
    """The whole list, told to a listener."""
    for body in speaker.rosters(ask=False):
        last = heard(listener, ROSTER, body)
    return last


def known(listener: Presence) -> dict[str, Any]:
    return listener.peers[THEM].members


def test_a_list_then_changes() -> None:
    them, us = Presence(), Presence()
    them.join("1", "Ada")
    assert told(them, us).joined == {"1": "Ada"}
    assert heard(us, JOIN, them.join("2", None)).joined == {"2": None}
    assert heard(us, LEAVE, them.leave("1")).left == ["1"]
    assert known(us) == {"2": None} == them.local


def test_a_change_of_somebody_whose_list_is_unknown_asks_for_it_once_in_a_while() -> None:
    them, us = Presence(), Presence()
    them.join("0", None)
    assert heard(us, JOIN, them.join("1", None), 10.0).missing
    assert not heard(us, JOIN, them.join("2", None), 10.0 + ASK_AGAIN / 2).missing
    assert heard(us, JOIN, them.join("3", None), 10.0 + ASK_AGAIN).missing
    assert known(us) == {}
    assert set(told(them, us).joined) == {"0", "1", "2", "3"}
    assert heard(us, LEAVE, them.leave("0"), 11.0).left == ["0"]


def test_a_lost_change_is_noticed_with_the_next() -> None:
    them, us = Presence(), Presence()
    told(them, us)
    them.join("lost", None)
    assert heard(us, JOIN, them.join("2", None)) == Change(missing=True)
    assert told(them, us).joined == {"lost": None, "2": None}


def test_a_new_list_tells_who_has_come_and_gone_and_changed() -> None:
    them, us = Presence(), Presence()
    for name in "abc":
        them.join(name, name)
    told(them, us)
    them.leave("a")
    them.join("b", "B")
    them.join("d", "d")
    found = told(them, us)
    assert (found.joined, found.left) == ({"b": "B", "d": "d"}, ["a"])


def test_a_process_that_left_the_room_and_came_back_does_not_seem_to_go_on() -> None:
    us, before = Presence(), Presence()
    told(before, us)
    for _ in range(100):
        again = Presence()
        assert heard(us, JOIN, again.join("1", None), 1e9).missing or again.version == before.version + 1
        us.forget(THEM)
        told(before, us)


def test_a_long_list_comes_in_parts_and_changes_nothing_before_the_last() -> None:
    them, us = Presence(), Presence()
    for number in range(2 * PART + 1):
        them.join(str(number), None)
    *parts, last = list(them.rosters(ask=True))
    assert len(parts) == 2
    assert [part[-1] for part in parts] == [False, False]
    assert last[-1] is True
    for part in parts:
        assert heard(us, ROSTER, part) == Change()
    change = heard(us, ROSTER, last)
    assert (len(change.joined), change.asked) == (2 * PART + 1, True)


def test_the_members_of_a_process_that_is_gone_are_gone() -> None:
    them, us = Presence(), Presence()
    them.join("1", None)
    told(them, us)
    assert us.forget(THEM).left == ["1"]
    assert us.forget(THEM) == Change()
    assert us.peers == {}


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans())))
def test_whatever_is_lost_the_members_agree_once_a_word_and_its_answer_have_come(
    steps: list[tuple[int, bool]],
) -> None:
    them, us = Presence(), Presence()
    told(them, us)
    seen: dict[str, Any] = {}

    def apply(found: Change) -> None:
        for name in found.left:
            del seen[name]
        seen.update(found.joined)

    now = 0.0
    for number, lost in [*steps, (6, False)]:
        now += ASK_AGAIN
        name = str(number)
        kind, body = (LEAVE, them.leave(name)) if name in them.local else (JOIN, them.join(name, number))
        if lost:
            continue
        found = heard(us, kind, body, now)
        apply(found)
        if found.missing:
            apply(told(them, us))
    assert known(us) == them.local == seen
