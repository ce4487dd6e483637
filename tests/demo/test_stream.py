"""The streamed response: one piece at a time, each before the sleep that precedes the next."""

from __future__ import annotations

import pytest

from greenserve.demo import stream as stream_module
from tests.demo.support import Clock, begun, call


def test_each_piece_is_there_before_the_next_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(stream_module, "time", clock)
    with begun("GET", "/stream?pieces=3&interval=0.5") as (answer, pieces):
        assert (answer.status, clock.sleeps) == (200, [])
        for sleeps in range(3):
            assert next(pieces).endswith(b"\n")
            assert clock.sleeps == [0.5] * sleeps
        assert list(pieces) == []


def test_the_pieces_say_when_they_left() -> None:
    lines = call("GET", "/stream?pieces=12&interval=0").lines
    assert [line["number"] for line in lines] == list(range(1, 13))
    assert all(line["of"] == 12 and line["text"] and line["sent"] >= 0 for line in lines)


@pytest.mark.parametrize("query", ["pieces=0", "pieces=101", "interval=6", "interval=-1"])
def test_a_stream_out_of_bounds_is_refused(query: str) -> None:
    assert call("GET", f"/stream?{query}").status == 400
