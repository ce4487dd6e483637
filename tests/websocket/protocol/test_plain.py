"""The short way in and out: what is plain, by hand, and the compiled codec held to Python's verdict on anything."""

from __future__ import annotations

import sys
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenserve.websocket.protocol import Limits, Protocol, Role, encode_message
from greenserve.websocket.protocol.deflate import DeflateParameters
from greenserve.websocket.protocol.plain import MAX_PLAIN, plain_frame_in_python, plain_message_in_python
from tests.conftest import require_codec
from tests.wire import BINARY, CONTINUATION, PING, TEXT, frame

from .wire import KEY, run

KEYS = (KEY, None)
SIZES = [0, 1, 31, 32, 33, 125, 126, 127, 1024, 1025, MAX_PLAIN]


@pytest.fixture(params=["python", "compiled"])
def plain_message(request):
    return plain_message_in_python if request.param == "python" else require_codec().plain_message


@pytest.fixture(params=["python", "compiled"])
def plain_frame(request):
    return plain_frame_in_python if request.param == "python" else require_codec().plain_frame


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("opcode", "message"), [(TEXT, "t"), (TEXT, "é"), (BINARY, b"\xff")])
def test_a_whole_message_is_taken_wherever_it_stands(plain_message, key, size, opcode, message):
    payload = (message.encode() if isinstance(message, str) else message) * size
    payload = payload[: MAX_PLAIN // 2 * 2 if message == "é" else MAX_PLAIN]
    data = frame(opcode, payload, key=key)
    expected = payload.decode() if opcode == TEXT else payload
    for before in (b"", b"?", b"\x81\x7f???"):
        found = plain_message(before + data + b"\x81", len(before), key is not None, MAX_PLAIN)
        assert found == (expected, len(before) + len(data))
        assert type(found[0]) is type(expected)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("size", [0, 1, 125, 126, 300])
def test_what_is_cut_is_not_plain(plain_message, key, size):
    data = frame(BINARY, b"x" * size, key=key)
    for cut in range(len(data)):
        assert plain_message(data[:cut], 0, key is not None, MAX_PLAIN) is None
        assert plain_message(b"?" + data[:cut], 1, key is not None, MAX_PLAIN) is None
    assert plain_message(data, len(data), key is not None, MAX_PLAIN) is None


@pytest.mark.parametrize(
    "data",
    [
        frame(TEXT, b"x", key=KEY, fin=False),
        frame(CONTINUATION, b"x", key=KEY),
        frame(PING, b"x", key=KEY),
        frame(TEXT, b"x", key=KEY, rsv=4),
        frame(TEXT, b"x", key=KEY, rsv=1),
        frame(BINARY, b"x", key=None),
        frame(BINARY, b"x" * 5, key=KEY, wide=2),
        frame(BINARY, b"x" * 5, key=KEY, wide=8),
        frame(BINARY, b"x" * (MAX_PLAIN + 1), key=KEY),
        frame(TEXT, b"\xed\xa0\x80", key=KEY),
        frame(TEXT, b"x" * 2000 + b"\xc3", key=KEY),
        frame(TEXT, b"\xf4\x90\x80\x80", key=KEY),
    ],
)
def test_all_else_is_left_to_the_state_machine(plain_message, data):
    assert plain_message(data, 0, True, MAX_PLAIN) is None


def test_a_masked_frame_of_a_server_is_not_plain(plain_message):
    assert plain_message(frame(BINARY, b"x", key=KEY), 0, False, MAX_PLAIN) is None


def test_the_limit_is_of_bytes(plain_message):
    data = frame(TEXT, "éé".encode(), key=KEY)
    assert plain_message(data, 0, True, 4) == ("éé", len(data))
    assert plain_message(data, 0, True, 3) is None


@pytest.mark.parametrize("limits", [Limits(max_message=9), Limits(max_frame=9), Limits(9, None)])
def test_the_limits_of_a_connection_hold(limits):
    assert run(Protocol(Role.SERVER, limits=limits), frame(BINARY, b"123456789", key=KEY)).events == [b"123456789"]
    assert run(Protocol(Role.SERVER, limits=limits), frame(BINARY, b"1234567890", key=KEY)).failure == 1009


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("key", [b"", KEY])
def test_the_frame_of_a_message(plain_frame, key, size):
    assert plain_frame(b"x" * size, key) == frame(BINARY, b"x" * size, key=key or None)
    assert plain_frame("x" * size, key) == frame(TEXT, b"x" * size, key=key or None)
    text = "é" * (size // 2)
    assert plain_frame(text, key) == frame(TEXT, text.encode(), key=key or None)


class Bytes(bytes):
    pass


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "message",
    [
        *(b"x" * (MAX_PLAIN + 1), "x" * (MAX_PLAIN + 1), "é" * (MAX_PLAIN // 2 + 1)),
        *("\ud800", "ab\udfffc", bytearray(2), memoryview(b"ab"), None, 5, Bytes(b"x"), Text("x")),
    ],
    ids=lambda message: repr(message)[:20],
)
@pytest.mark.parametrize("key", [b"", KEY])
def test_other_messages_have_no_plain_frame(plain_frame, message, key):
    assert plain_frame(message, key) is None


def test_a_text_sent_does_not_keep_its_encoded_bytes(plain_frame):
    text = "é" * 100
    before = sys.getsizeof(text)
    plain_frame(text, b"")
    assert sys.getsizeof(text) == before


@pytest.mark.parametrize("size", [0, 5, 99, 100, 101, 125, 126, 5000])
@pytest.mark.parametrize("kind", [b"a", "a"])
def test_what_is_compressed_is_decided_by_the_threshold_alone(size, kind):
    deflate = DeflateParameters(threshold=100, server_no_context_takeover=True)
    compressed = encode_message(kind * size, deflate)[0] & 0x40
    assert bool(compressed) is (size >= 100)


def test_the_compiled_functions_refuse_other_arguments():
    compiled = require_codec()
    for arguments in ((), (b"", 0, True), (bytearray(9), 0, True, 9), (b"", 0, True, 9, 9), (b"", "0", True, 9)):
        with pytest.raises(TypeError):
            compiled.plain_message(*arguments)
    for arguments in ((), (b"x",), (b"x", b"123"), (b"x", b"12345"), (b"x", "1234"), (b"x", None)):
        with pytest.raises(TypeError):
            compiled.plain_frame(*arguments)
    for huge in (1 << 64, -1 << 64):
        with pytest.raises(OverflowError):
            compiled.plain_message(b"", huge, True, 9)
        with pytest.raises(OverflowError):
            compiled.plain_message(b"", 0, True, huge)
    data = frame(BINARY, b"x", key=KEY)
    for start in (-1, -9, len(data) - 1, len(data) + 1, sys.maxsize, -sys.maxsize - 1):
        assert compiled.plain_message(data, start, True, 9) is None


# The compiled functions against Python's

payloads = st.one_of(
    st.binary(max_size=150),
    st.text(max_size=60).map(str.encode),
    st.builds(
        lambda piece, size: (piece * size)[:size],
        st.sampled_from([b"x", "é".encode(), b"\xff\x00", "€".encode()]),
        st.sampled_from([124, 125, 126, 127, 1023, 1024, 1025, 3000, 65535, 65536]),
    ),
)
frames = st.builds(
    frame,
    st.sampled_from([TEXT, TEXT, BINARY, BINARY, CONTINUATION, PING, 3]),
    payloads,
    fin=st.sampled_from([True, True, True, False]),
    rsv=st.sampled_from([0, 0, 0, 0, 4, 1]),
    key=st.sampled_from([KEY, b"\x00\x00\x00\x00", b"\x80\x01\xff\x7f", None]),
    wide=st.sampled_from([0, 0, 0, 0, 2, 8]),
)
mutations = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=3)


@given(st.one_of(frames, st.binary(max_size=40)), mutations, st.binary(max_size=5), st.booleans(), st.data())
@settings(max_examples=500)
def test_the_compiled_codec_takes_what_python_takes(data, mutations, before, masked, drawn):
    compiled = require_codec().plain_message
    stream = bytearray(before + data)
    for place, value in mutations:
        if place < len(stream):
            stream[place] = value
    limit = drawn.draw(st.sampled_from([0, 5, 125, 126, 1024, MAX_PLAIN]))
    start = len(before)
    ends = range(len(stream) + 1) if len(stream) < 60 else [len(stream) - 1, len(stream)]
    for end in ends:
        piece = bytes(stream[:end])
        if start <= end:
            assert compiled(piece, start, masked, limit) == plain_message_in_python(piece, start, masked, limit)


@given(
    st.one_of(st.text(), st.text(st.characters(categories=["Cs", "L"])), payloads, payloads.map(lambda p: p.hex())),
    st.one_of(st.just(b""), st.binary(min_size=4, max_size=4)),
)
@settings(max_examples=300)
def test_the_compiled_codec_makes_the_frames_that_python_makes(message, key):
    assert require_codec().plain_frame(message, key) == plain_frame_in_python(message, key)


def test_the_compiled_functions_keep_nothing():
    compiled = require_codec()
    message, text, key = b"x" * 3000, "é" * 3000, bytes(bytearray(KEY))
    good = [frame(opcode, payload, key=KEY) for opcode, payload in ((BINARY, message), (TEXT, text.encode()))]
    bad = [frame(TEXT, b"\xff" * 3000, key=KEY), good[0][:100], frame(TEXT, b"\xff", key=None)]

    def work():
        for data in (*good, *bad):
            compiled.plain_message(data, 0, True, MAX_PLAIN)
            compiled.plain_message(data, 0, False, MAX_PLAIN)
            compiled.apply_mask(data, key)
        for each in (message, text, "x" * 200, "\ud800" * 3000, None):
            compiled.plain_frame(each, key)
            compiled.plain_frame(each, b"")

    work()
    held = [message, text, key, *good, *bad, None]
    counts = [sys.getrefcount(each) for each in held[:-1]]
    tracemalloc.start()
    try:
        work()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(50):
            work()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 2000
    assert [sys.getrefcount(each) for each in held[:-1]] == counts
