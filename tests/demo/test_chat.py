"""The chat without sockets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from greenserve import rooms
from greenserve.demo import chat
from greenserve.demo.chat import BURST, MAX_TEXT, PACE, Allowance, cleaned, talk, visitors
from greenserve.hub.core.hub import current_hub
from greenserve.testing import virtual_time
from tests.demo.support import Clock, call
from tests.rooms.support import FakeWebSocket


class Talker(FakeWebSocket):
    """A WebSocket whose messages are there from the beginning."""

    def __init__(self, *messages: str | bytes) -> None:
        super().__init__()
        self.sent: list[Any] = []
        self._messages = messages

    def __iter__(self) -> Any:
        return iter(self._messages)

    def send_json(self, value: Any) -> None:
        self.sent.append(value)


def test_what_somebody_says_reaches_the_room_with_the_name() -> None:
    current_hub()  # so that there is one to go back to
    with virtual_time():
        room, listener = rooms.get("elsewhere"), FakeWebSocket()
        talker: Any = Talker("hello", b"binary", "  ", "x" * (MAX_TEXT + 10))
        with room.joined(listener):  # type: ignore[arg-type]
            talk(talker, room, "Ada")
        said = [json.loads(text) for text in [listener.texts[0]]]
        assert len(listener.connection.frames) == 2
        assert said == [{"id": talker.sent[0]["you"], "name": "Ada", "text": "hello"}]
        assert room.members == []


def test_who_speaks_too_fast_is_refused_and_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(chat, "monotonic", clock.monotonic)
    allowance = Allowance()
    assert [allowance.take() for _ in range(BURST + 1)] == [True] * BURST + [False]
    clock.sleep(PACE)
    assert [allowance.take(), allowance.take()] == [True, False]


def test_a_text_is_freed_from_what_cannot_be_seen() -> None:
    assert cleaned(" a\r\nb\x00\u202ec\u2028 ") == "a b c"


def test_an_unknown_room_is_refused() -> None:
    answer = call("GET", "/chat?room=cellar")
    assert answer.status == 404
    assert "lobby, kitchen, garden" in answer.text


def test_only_so_many_people_talk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitors, "most", 0)
    answer = call("GET", "/chat")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert visitors.taken == 0
