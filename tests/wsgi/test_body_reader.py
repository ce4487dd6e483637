"""wsgi.input behaves as a file does, however the body was cut on its way."""

from __future__ import annotations

import weakref
from io import BufferedReader, BytesIO, TextIOWrapper
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.errors import ClientDisconnected
from greenserve.wsgi.body_reader import EMPTY, GROWTH, ROOM, BodyReader, Source
from tests.wsgi.fakes import Pieces


class Declared(Pieces):
    """A body of declared length: behind its first piece, bytes are received straight into a buffer."""

    def __init__(self, *pieces, after=lambda: None):
        super().__init__(*pieces)
        self.after = after
        self.begun = False
        self.rooms = []  # what had come, and how much the buffer held, for each time

    def read_body(self):
        self.begun = True
        return super().read_body()

    @property
    def due(self):
        return sum(map(len, self.pieces)) if self.begun else 0

    def receive_into(self, buffer, start, end):
        piece = self.pieces.pop(0)
        taken = min(len(piece), end - start)
        if piece[taken:]:
            self.pieces.insert(0, piece[taken:])
        self.rooms.append((start, len(buffer.getvalue())))
        with buffer.getbuffer() as view:
            view[start : start + taken] = piece[:taken]
        self.after()
        return taken


CALLS = st.one_of(
    st.tuples(st.sampled_from(["read", "readline"]), st.integers(-1, 12)),
    st.tuples(st.just("readlines"), st.integers(-1, 12)),
    st.tuples(st.just("next"), st.just(0)),
    st.tuples(st.just("lines"), st.integers(1, 3)),
)


def do(file, name, argument):
    if name == "lines":
        return list(islice(file, argument))
    return next(file, b"") if name == "next" else getattr(file, name)(argument)


@given(
    st.sampled_from([Pieces, Declared]),
    st.lists(st.sampled_from([b"a", b"\n", b"bc\nd", b"efg", b"\n\n"]), max_size=10),
    st.lists(CALLS, max_size=12),
)
def test_any_calls_give_what_a_file_gives(source, pieces, calls):
    body, file = BodyReader(source(*pieces)), BytesIO(b"".join(pieces))
    for name, argument in calls:
        assert do(body, name, argument) == do(file, name, argument)


@given(st.lists(st.binary(min_size=1, max_size=5), max_size=6))
def test_reading_to_the_end_gives_everything(pieces):
    assert BodyReader(Pieces(*pieces)).read() == b"".join(pieces)
    assert b"".join(BodyReader(Pieces(*pieces))) == b"".join(pieces)


def test_nothing_is_read_before_the_application_asks():
    source = Pieces(b"one", b"two")
    body = BodyReader(source)
    assert len(source.pieces) == 2
    assert body.read(2) == b"on"
    assert len(source.pieces) == 1


def test_read1_does_not_wait_for_more_than_has_come():
    source = Pieces(b"one", b"two")
    body = BodyReader(source)
    assert body.read1() == b"one"
    assert len(source.pieces) == 1
    assert body.read1(1) == b"t"
    assert body.read1(9) == b"wo"
    assert body.read1() == b""


def test_readinto_fills_a_buffer():
    buffer = bytearray(4)
    body = BodyReader(Pieces(b"abcdef"))
    assert body.readinto(buffer) == 4
    assert bytes(buffer) == b"abcd"
    assert body.readinto(buffer) == 2


def test_io_wrappers_take_it():
    assert TextIOWrapper(BodyReader(Pieces("grün\nzwei".encode())), "utf-8").readlines() == ["grün\n", "zwei"]
    reader = BufferedReader(BodyReader(Pieces(b"ab", b"cd")))
    assert reader.read() == b"abcd"
    reader.close()


def test_an_error_of_the_peer_reaches_the_application():
    class Broken(Source):
        def read_body(self):
            raise ClientDisconnected("gone")

    with pytest.raises(ConnectionError):
        BodyReader(Broken()).read()


def test_the_empty_body_is_always_at_its_end():
    assert EMPTY.read() == EMPTY.read(5) == EMPTY.readline() == EMPTY.read1() == b""
    assert list(EMPTY) == EMPTY.readlines() == []


def test_a_read_asks_for_no_piece_that_it_does_not_need():
    source = Pieces(b"ab", b"cd", b"ef")
    body = BodyReader(source)
    assert body.read(1) == b"a"
    assert body.read(1) == b"b"  # all that has come
    assert body.read(2) == b"cd"  # exactly a piece
    assert body.read(0) == body.readline(0) == b""
    assert len(source.pieces) == 1
    assert body.readline(2) == b"ef"
    assert body.read(9) == b""


def test_after_the_request_a_body_is_closed_also_when_it_was_read_to_its_end():
    body = BodyReader(Pieces(b"all"))
    assert body.read() == b"all"
    assert body.read() == b""
    body.release()
    assert body.closed
    for read in (body.read, body.read1, body.readline, body.readlines):
        with pytest.raises(ValueError, match="the request is over"):
            read()


def test_after_the_request_a_body_holds_nothing_of_its_connection():
    class Source(Pieces):
        def give_way(self):
            pass

    source = Source(b"a")
    body = BodyReader(source, source.give_way)
    body.release()
    gone = weakref.ref(source)
    del source
    assert gone() is None


@pytest.mark.parametrize(
    ("line", "size", "read"),
    [
        (b"abcdefghijklmno\n", 8 << 20, lambda body: body.readline()),
        (b"abcdefghijklmno\n", 8 << 20, lambda body: next(body, b"")),
        (b"abcdefghijklmno\n", 8 << 20, lambda body: body.readline(1000)),
        (b"abcdefghijklmno\n", 8 << 20, lambda body: body.read(10)),
        (b"abcdefghijklmno\n", 8 << 20, lambda body: body.read1(10)),
        (b"x", 4 << 20, lambda body: body.readline(10)),
        (b"x", 1 << 20, lambda body: body.read(1)),
    ],
)
def test_small_reads_from_a_large_piece_cost_its_bytes_once(line, size, read):
    """A copy or a search of the rest with each read would take many minutes."""
    body = BodyReader(Pieces(line * (size // len(line))))
    got = 0
    while part := read(body):
        got += len(part)
    assert got == size


@pytest.mark.parametrize("read", [BodyReader.read, BodyReader.read1, lambda body: body.read(1000)])
def test_a_piece_that_is_read_as_a_whole_is_not_copied(read):
    piece = b"x" * 1000
    assert read(BodyReader(Pieces(piece))) is piece


def test_many_reads_from_one_piece_give_way_now_and_then():
    ways_given = []
    body = BodyReader(Pieces(b"a\n" * 1000), lambda: ways_given.append(1))
    assert len(list(body)) == 1000
    assert 10 <= len(ways_given) <= 100


def test_what_another_green_thread_reads_meanwhile_is_not_read_twice():
    others = []
    body = BodyReader(Pieces(b"".join(b"%d\n" % i for i in range(500))), lambda: others.append(body.readline()))
    own = list(body)
    assert others
    assert sorted([*own, *others], key=int) == [b"%d\n" % i for i in range(500)]


@pytest.mark.parametrize("octets", [100, 65536, 300_000])
def test_a_buffer_grows_with_what_has_come_not_with_what_was_announced(octets):
    source = Declared(*[b"x" * octets] * 20, b"y" * 50_000_000)
    body = BodyReader(source)

    def go():
        if len(source.pieces) == 1:
            raise ClientDisconnected("gone")

    source.after = go
    with pytest.raises(ClientDisconnected):
        body.read()
    assert len(source.rooms) >= 19
    for come, room in source.rooms:
        assert room <= max(ROOM, GROWTH * come)


def test_a_read_that_others_have_shortened_ends():
    source = Declared(b"a", b"b", b"c", b"d", b"e")
    body = BodyReader(source)
    source.after = source.pieces.pop  # what another green thread has read
    assert body.read() == b"abc"


def test_a_read_goes_no_further_when_its_request_is_over():
    source = Declared(b"a", b"b", b"of the next request")
    body = BodyReader(source)
    source.after = body.release
    with pytest.raises(ValueError, match="the request is over"):
        body.read()
    assert source.pieces == [b"of the next request"]


@pytest.mark.parametrize("meanwhile", [lambda body: body.read(3), lambda body: body.readline(), next])
def test_what_is_read_between_two_lines_is_not_a_line_too(meanwhile):
    body, file = BodyReader(Pieces(b"a\nbc\nd", b"ef\ngh", b"i\nj\nk")), BytesIO(b"a\nbc\ndef\nghi\nj\nk")
    assert [(line, meanwhile(body)) for line in islice(body, 3)] == [
        (line, meanwhile(file)) for line in islice(file, 3)
    ]


def test_lines_end_when_the_request_is_over():
    body = BodyReader(Pieces(b"a\nb\nc\n"))
    lines = iter(body)
    assert next(lines) == b"a\n"
    assert next(lines) == b"b\n"
    body.release()
    with pytest.raises(ValueError, match="the request is over"):
        next(lines)
