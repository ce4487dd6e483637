from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.websocket.protocol.errors import InvalidPayload
from greenserve.websocket.protocol.utf8 import Utf8Checker, decode

from .wire import each_byte


@given(st.text(), st.integers(1, 4))
def test_valid_text_passes_however_it_is_cut(value, step):
    data = value.encode()
    checker = Utf8Checker()
    for start in range(0, len(data), step):
        checker.feed(data[start : start + step])
    assert decode(data) == value


# Each sequence with the number of bytes after which no continuation can make it valid (Unicode 15, table 3-7).
@pytest.mark.parametrize(
    ("data", "bad_at"),
    [
        (b"\x80", 1),
        (b"\xc0\x80", 1),
        (b"\xc1\xbf", 1),
        (b"\xc3\x28", 2),
        (b"\xe0\x9f\xbf", 2),
        (b"\xe2\x82\x28", 3),
        (b"\xed\xa0\x80", 2),
        (b"\xf0\x8f\xbf\xbf", 2),
        (b"\xf4\x90\x80\x80", 2),
        (b"\xf5\x80\x80\x80", 1),
        (b"\xf8\x88\x80\x80\x80", 1),
        (b"\xff", 1),
        ("κόσμε".encode() + b"\xed\xa0\x80edited", 12),
    ],
)
def test_bad_text_fails_at_its_first_impossible_byte(data, bad_at):
    checker = Utf8Checker()
    for piece in each_byte(data[: bad_at - 1]):
        checker.feed(piece)
    with pytest.raises(InvalidPayload):
        checker.feed(data[bad_at - 1 : bad_at])
    with pytest.raises(InvalidPayload):
        decode(data)


def test_text_that_ends_inside_a_character_is_refused_as_a_whole():
    data = "€".encode()[:2]
    Utf8Checker().feed(data)
    with pytest.raises(InvalidPayload):
        decode(data)


@given(st.binary(max_size=12), st.integers(1, 3))
def test_checking_piecewise_agrees_with_decoding_the_whole(data, step):
    checker = Utf8Checker()
    try:
        for start in range(0, len(data), step):
            checker.feed(data[start : start + step])
        passed = True
    except InvalidPayload:
        passed = False
    # What passes is either valid or the valid beginning of something.
    completions = [b"", b"\x80", b"\x80\x80", b"\x80\x80\x80", b"\xa0\x80", b"\x90\x80\x80", b"\x90\x80", b"\xbf"]
    assert passed == any(_valid(data + end) for end in completions)


def _valid(data):
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
