"""wsgi.input behaves as a file does, however the body was cut on its way."""

from __future__ import annotations

from io import BufferedReader, BytesIO, TextIOWrapper

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.errors import ClientDisconnected
from greenserve.wsgi.input import EMPTY, Input
from tests.wsgi.fakes import Pieces

CALLS = st.one_of(
    st.tuples(st.sampled_from(["read", "readline"]), st.integers(-1, 12)),
    st.tuples(st.just("readlines"), st.integers(-1, 12)),
    st.tuples(st.just("next"), st.just(0)),
)


def do(file, name, argument):
    return next(file, b"") if name == "next" else getattr(file, name)(argument)


@given(st.lists(st.sampled_from([b"a", b"\n", b"bc\nd", b"efg", b"\n\n"]), max_size=10), st.lists(CALLS, max_size=12))
def test_any_calls_give_what_a_file_gives(pieces, calls):
    body, file = Input(Pieces(*pieces)), BytesIO(b"".join(pieces))
    for name, argument in calls:
        assert do(body, name, argument) == do(file, name, argument)


@given(st.lists(st.binary(min_size=1, max_size=5), max_size=6))
def test_reading_to_the_end_gives_everything(pieces):
    assert Input(Pieces(*pieces)).read() == b"".join(pieces)
    assert b"".join(Input(Pieces(*pieces))) == b"".join(pieces)


def test_nothing_is_read_before_the_application_asks():
    source = Pieces(b"one", b"two")
    body = Input(source)
    assert len(source.pieces) == 2
    assert body.read(2) == b"on"
    assert len(source.pieces) == 1


def test_read1_does_not_wait_for_more_than_has_come():
    source = Pieces(b"one", b"two")
    body = Input(source)
    assert body.read1() == b"one"
    assert len(source.pieces) == 1
    assert body.read1(1) == b"t"
    assert body.read1(9) == b"wo"
    assert body.read1() == b""


def test_readinto_fills_a_buffer():
    buffer = bytearray(4)
    body = Input(Pieces(b"abcdef"))
    assert body.readinto(buffer) == 4
    assert bytes(buffer) == b"abcd"
    assert body.readinto(buffer) == 2


def test_io_wrappers_take_it():
    assert TextIOWrapper(Input(Pieces("grün\nzwei".encode())), "utf-8").readlines() == ["grün\n", "zwei"]
    reader = BufferedReader(Input(Pieces(b"ab", b"cd")))
    assert reader.read() == b"abcd"
    reader.close()


def test_an_error_of_the_peer_reaches_the_application():
    class Broken:
        def read_body(self):
            raise ClientDisconnected("gone")

    with pytest.raises(ConnectionError):
        Input(Broken()).read()


def test_the_empty_body_is_always_at_its_end():
    assert EMPTY.read() == EMPTY.read(5) == EMPTY.readline() == EMPTY.read1() == b""
    assert list(EMPTY) == EMPTY.readlines() == []
