"""Frames between a process and the broker, cut at every byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.rooms.protocol.envelope import ORIGIN_SIZE, MessageKind, decode, encode, encode_value
from greenserve.rooms.protocol.framing import MAX_FRAME, Frame, Op, Parser, frame

ORIGIN = bytes(range(ORIGIN_SIZE))

frames = st.lists(st.builds(Frame, st.sampled_from(Op), st.binary(max_size=300), st.binary(max_size=3000)), max_size=8)


def test_frames_survive_a_cut_at_every_byte() -> None:
    sent = [Frame(Op.SUBSCRIBE, b"a", b""), Frame(Op.MESSAGE, b"", b"hello"), Frame(Op.UNSUBSCRIBE, "ü".encode(), b"")]
    stream = b"".join(frame(*each) for each in sent)
    for cut in range(len(stream) + 1):
        parser = Parser()
        assert [*parser.feed(stream[:cut]), *parser.feed(stream[cut:])] == sent


@given(frames, st.integers(1, 700))
def test_frames_survive_any_pieces(sent: list[Frame], size: int) -> None:
    stream = b"".join(frame(*each) for each in sent)
    parser = Parser()
    assert [got for start in range(0, len(stream), size) for got in parser.feed(stream[start : start + size])] == sent


@pytest.mark.parametrize(
    "head",
    [
        b"\xff\xff\xff\xff\x03\x00\x00",
        (MAX_FRAME + 1).to_bytes(4, "big") + b"\x03\x00\x00",
        b"\x00\x00\x00\x02\x03\x00\x00",
        b"\x00\x00\x00\x04\x03\x00\x09",
        b"\x00\x00\x00\x03\x09\x00\x00",
    ],
)
def test_what_is_no_frame_ends_the_stream_before_it_fills_the_memory(head: bytes) -> None:
    with pytest.raises(ValueError):
        list(Parser().feed(head))


@given(st.sampled_from(MessageKind), st.binary(max_size=50))
def test_an_envelope_comes_back(kind: MessageKind, body: bytes) -> None:
    said = decode(encode(kind, ORIGIN, body))
    assert said is not None
    assert (said.kind, said.origin, said.body) == (kind, ORIGIN, body)


def test_a_value_comes_back() -> None:
    said = decode(encode_value(MessageKind.JOIN, ORIGIN, [1, "é", {"name": "Ada"}]))
    assert said is not None
    assert said.value == [1, "é", {"name": "Ada"}]


@pytest.mark.parametrize("payload", [b"", b"\x01", b"\x01\x01short", b"\x02\x01" + ORIGIN, b"\x01\xee" + ORIGIN])
def test_other_versions_and_kinds_are_ignored(payload: bytes) -> None:
    assert decode(payload) is None
