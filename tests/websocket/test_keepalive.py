"""The keepalive: one timer for all, which nobody is kept alive by."""

from __future__ import annotations

import gc
import weakref

import pytest

from greenserve import sleep
from greenserve.hub.core.hub import Hub, current_hub
from greenserve.websocket.keepalive import Keepalive, keepalive_of


class Member:
    """Counts the seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def tick(self, seconds: float) -> None:
        self.seconds += seconds


def test_members_are_told_the_time_that_passes(clock):
    keepalive = keepalive_of(current_hub())
    early, late = Member(), Member()
    keepalive.add(early)
    sleep(5.5)
    keepalive.add(late)
    sleep(5)
    assert (early.seconds, late.seconds) == (10, 5)
    keepalive.discard(early)
    sleep(5)
    assert (early.seconds, late.seconds) == (10, 10)


def test_without_members_there_is_no_timer(clock):
    hub = current_hub()
    keepalive, member = keepalive_of(hub), Member()
    keepalive.add(member)
    keepalive.discard(member)
    sleep(3)
    assert hub.timers.next_deadline() is None
    keepalive.add(member)
    sleep(3)
    assert member.seconds == 3


def test_a_member_may_leave_and_others_come_while_it_is_told(clock):
    keepalive = keepalive_of(current_hub())

    class Leaving(Member):
        def tick(self, seconds: float) -> None:
            keepalive.discard(self)
            keepalive.add(other)

    leaving, other = Leaving(), Member()
    keepalive.add(leaving)
    sleep(3.5)
    assert other.seconds == 2


@pytest.mark.parametrize(("shortest", "beat"), [(0.0, 1.0), (20.0, 1.0), (2.0, 0.5), (0.2, 0.05), (0.001, 0.01)])
def test_it_beats_four_times_in_the_shortest_interval_and_once_a_second_at_least(clock, shortest, beat):
    keepalive, member = keepalive_of(current_hub(), shortest), Member()
    keepalive.add(member)
    sleep(beat * 1.5)
    assert member.seconds == beat
    assert keepalive_of(current_hub(), shortest) is keepalive


def test_it_keeps_neither_its_members_nor_its_hub(hub):
    fresh = Hub()
    keepalive, member = Keepalive(fresh, 1.0), Member()
    keepalive.add(member)
    gone = weakref.ref(member)
    del member
    gc.collect()
    assert gone() is None
    assert len(keepalive) == 0
    fresh.close()
