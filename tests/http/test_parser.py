"""RequestParser: when events come, what is kept, and what ends a connection."""

from __future__ import annotations

import ssl
import sys

import pytest

from greenserve import errors
from greenserve.http.head import RequestHead
from greenserve.http.known_heads import KnownHeads
from greenserve.http.limits import Limits
from greenserve.http.parser import CLOSED, NEED_DATA, EndOfMessage, ParserState, RequestParser

from .support import LIMITS, Begun, Message, Refused, octets, one_head, play, refusal

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def post(length: int, more: bytes = b"") -> bytes:
    return b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n%b\r\n" % (length, more)


@pytest.fixture
def parser():
    return RequestParser(LIMITS)


def test_a_request_without_a_body_is_its_own_end(parser):
    parser.receive_data(GET)
    assert isinstance(parser.next_event(), RequestHead)
    assert parser.next_event() is NEED_DATA
    assert parser.state is ParserState.IDLE


def test_a_body_has_data_and_one_end(parser):
    parser.receive_data(post(5) + b"he")
    assert parser.next_event().content_length == 5
    assert parser.next_event() == b"he"
    assert parser.next_event() is NEED_DATA
    parser.receive_data(b"llo")
    assert parser.next_event() == b"llo"
    assert parser.next_event() == EndOfMessage(())
    assert parser.next_event() is NEED_DATA


def test_a_chunked_body_has_data_and_one_end_with_the_trailers(parser):
    parser.receive_data(CHUNKED + b"2\r\nhe\r\n3\r\nllo\r\n0\r\nX-Sum: 1\r\n\r\n")
    head = parser.next_event()
    assert head.chunked
    assert head.content_length == 0
    assert parser.next_event() == b"hello"
    assert parser.next_event() == EndOfMessage((("x-sum", "1"),))
    assert head.fields.get("x-sum") is None


def test_a_large_piece_of_a_body_is_not_copied(parser):
    piece = b"x" * 65536
    parser.receive_data(post(3 * 65536))
    parser.next_event()
    for _ in range(3):
        parser.receive_data(piece)
        assert parser.next_event() is piece


@pytest.mark.parametrize("cut", range(7))
def test_octets_of_a_body_that_pass_the_parser_by_are_counted(parser, cut):
    """What has come of the body before, and what follows it, goes through the parser."""
    parser.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n" + b"abcdef"[:cut])
    assert parser.due == 0  # there may be some of it in the buffer
    parser.next_event()
    if cut:
        assert parser.due == 0
        assert parser.next_event() == b"abcdef"[:cut]
    assert parser.due == 6 - cut
    while parser.due:
        parser.pass_by(1)
    assert parser.next_event() == EndOfMessage()
    parser.receive_data(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
    assert parser.due == 0
    assert parser.next_event().target == "/next"


def test_a_peer_that_closes_within_what_passes_the_parser_by_has_not_sent_all(parser):
    parser.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n")
    parser.next_event()
    parser.pass_by(2)
    parser.receive_data(b"")
    with pytest.raises(errors.IncompleteMessage):
        parser.next_event()


def test_the_octets_of_a_chunk_do_not_pass_the_parser_by(parser):
    parser.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n")
    parser.next_event()
    assert parser.next_event() is NEED_DATA
    assert parser.due == 0


@pytest.mark.parametrize("cut", range(7))
def test_the_rest_of_a_body_is_taken_at_once_when_all_of_it_is_here(parser, cut):
    parser.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n" + b"abcdef"[:cut])
    parser.next_event()
    if cut < 6:
        assert parser.take_rest() == b""
        if cut:
            assert parser.next_event() == b"abcdef"[:cut]
        parser.receive_data(b"abcdef"[cut:] + b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
    assert parser.take_rest() == b"abcdef"[cut if cut < 6 else 0 :]
    assert parser.take_rest() == b""
    assert parser.idle is (cut == 6)
    if cut < 6:
        assert parser.next_event().target == "/next"


def test_a_chunked_body_is_never_taken_at_once(parser):
    parser.receive_data(CHUNKED + b"1\r\na\r\n0\r\n\r\n")
    parser.next_event()
    assert parser.take_rest() == b""


def test_after_the_last_request_of_a_connection_nothing_follows_what_was_taken_at_once(parser):
    parser.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\n\r\na")
    parser.next_event()
    assert parser.take_rest() == b"a"
    assert parser.next_event() is CLOSED


@pytest.mark.parametrize("begin", [post(3 * 65536), CHUNKED + b"30000\r\n"])
def test_what_was_handed_out_is_not_kept(parser, begin):
    parser.receive_data(begin)
    parser.next_event()
    parser.next_event()
    for _ in range(2):
        parser.receive_data(b"x" * 65536)
        assert len(parser.next_event()) == 65536
        assert parser._buffer == b""


def test_a_large_piece_of_a_chunk_is_not_copied(parser):
    piece = b"x" * 65536
    parser.receive_data(CHUNKED + b"20000\r\n")
    parser.next_event()
    assert parser.next_event() is NEED_DATA
    for _ in range(2):
        parser.receive_data(piece)
        assert parser.next_event() is piece
    parser.receive_data(b"\r\n0\r\n\r\n")
    assert parser.next_event() == EndOfMessage(())


@pytest.mark.parametrize("chunk", [b"1\r\nx\r\n", b"1;name=value\r\nx\r\n", b"00000001\r\nx\r\n"])
def test_one_event_stands_for_a_bounded_number_of_tiny_chunks(chunk):
    """So whoever asks for events can let others run in between."""
    parser = RequestParser(Limits(max_chunk_extensions=1 << 20))
    parser.receive_data(CHUNKED + chunk * 20_000 + b"0\r\n\r\n")
    parser.next_event()
    pieces = []
    while type(event := parser.next_event()) is bytes:
        pieces.append(event)
    assert event == EndOfMessage(())
    assert b"".join(pieces) == b"x" * 20_000
    assert max(map(len, pieces)) <= 500


class Spy:
    """A compiled pattern that counts the octets it is given."""

    octets = 0

    def __init__(self, pattern):
        self.pattern = pattern

    def __getattr__(self, name):
        def look(buffer, at=0, end=sys.maxsize):
            Spy.octets += min(end, len(buffer)) - at
            return getattr(self.pattern, name)(buffer, at, end)

        return look


@pytest.mark.parametrize(
    "end",
    [
        b"0\r\nX: %b\r\n\r\n" % (b"a" * 8000),
        b"0\r\n%b: a\r\n\r\n" % (b"X" * 8000),
        b"0\r\n%b\r\n" % (b"X: %b\r\n" % (b"a" * 60) * 120),
        b"1;%b\r\nx\r\n" % (b"a" * 1000) * 10 + b"0\r\n\r\n",
        b"1%b;a\r\nx\r\n" % (b" " * 1000) * 10 + b"0\r\n\r\n",
        b'1;a="%b"\r\nx\r\n' % (b"\\a" * 500) * 10 + b"0\r\n\r\n",
    ],
)
def test_what_comes_octet_by_octet_is_not_read_again_and_again(monkeypatch, end):
    from greenserve.http import chunked

    for name in ("CHUNK_LINE", "CHUNK_LINE_BEGUN", "BROKEN_LINE", "FIELD_LINES_BEGUN", "PLAIN_FIELD_LINES"):
        monkeypatch.setattr(chunked, name, Spy(getattr(chunked, name)))
    Spy.octets = 0
    (message,) = play(octets(CHUNKED + end))
    assert message.body in (b"", b"x" * 10)
    assert Spy.octets <= 120 * len(end)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"1;" + b"a" * 500_000, 400),
        (b"1" + b";a" * 250_000, 400),
        (b'1;a="' + b"\\a" * 250_000, 400),
        (b"0\r\n" + b"a:\r\n" * 250_000, 431),
    ],
)
def test_a_line_without_end_is_refused_by_its_beginning(monkeypatch, line, status):
    from greenserve.http import chunked

    for name in ("CHUNK_LINE", "CHUNK_LINE_BEGUN", "BROKEN_LINE", "FIELD_LINES_BEGUN", "PLAIN_FIELD_LINES"):
        monkeypatch.setattr(chunked, name, Spy(getattr(chunked, name)))
    Spy.octets = 0
    assert refusal(CHUNKED + line).status == status
    assert Spy.octets <= 3000


def test_a_short_chunk_line_may_follow_a_long_one_that_came_in_pieces():
    line = b"1;" + b"a" * 500
    (message,) = play([CHUNKED + line[:400], line[400:] + b"\r\nx\r\n1\r\ny\r\n", b"0\r\n\r\n"])
    assert message.body == b"xy"


@pytest.mark.parametrize("fault", [b"\n", b"\x00", b"\rx"])
def test_a_trailer_that_is_broken_is_refused_at_once(fault):
    refused = play([CHUNKED + b"0\r\nX: " + b"a" * 300, *octets(fault)])[-1]
    assert isinstance(refused, Refused)


def test_a_refusal_says_what_is_wrong_with_a_chunk_line():
    assert "not a chunk size" in refusal(CHUNKED + b"nonsense\r\n" + b"x" * 2000).text
    assert "longer than 1024" in refusal(CHUNKED + b"1;" + b"x" * 2000).text


@pytest.mark.parametrize("block", [b"a:\r\n" * 15_000, b"a:\x01\r\n" * 12_000])
def test_a_head_of_too_many_lines_is_refused_before_they_are_cut_up(monkeypatch, block):
    from greenserve.http import fields

    def refuse(_block):
        pytest.fail("ten thousand lines were cut up")

    monkeypatch.setattr(fields, "split_lines", refuse)
    assert refusal(b"GET /many HTTP/1.1\r\n%b\r\n" % block).status == 431


@pytest.mark.parametrize("member", [b"", b"a"])
@pytest.mark.parametrize("field", [b"Connection", b"Expect", b"Transfer-Encoding"])
def test_a_list_of_very_many_members_is_refused(field, member):
    """RFC 9110 §5.6.1: a reasonable number of empty members is read, and not so many that they are an attack."""
    head = b"POST / HTTP/1.1\r\nHost: a\r\n%b: %b\r\n\r\n"
    assert refusal(head % (field, member + (b"," + member) * 30_000)).status == 431
    assert one_head(head % (b"Connection", b"," * 127 + b"close")).keep_alive is False
    assert refusal(head % (b"Connection", b"," * 128 + b"close")).status == 431


def test_tiny_chunks_of_one_piece_come_as_one_event(parser):
    parser.receive_data(CHUNKED + b"1\r\nx\r\n" * 100 + b"0\r\n\r\n")
    parser.next_event()
    assert parser.next_event() == b"x" * 100
    assert parser.next_event() == EndOfMessage(())


def test_data_before_a_fault_is_handed_out_first(parser):
    parser.receive_data(CHUNKED + b"1\r\nx\r\nnonsense\r\n")
    parser.next_event()
    assert parser.next_event() == b"x"
    with pytest.raises(errors.BadRequest):
        parser.next_event()


def test_the_end_of_a_body_and_the_next_head_are_not_taken_for_a_head_seen_before(parser):
    """Together they look like a request that the cache knows."""
    known = b"xGET / HTTP/1.1\r\nHost: a\r\n\r\n"
    assert one_head(known).method == "xGET"
    parser.receive_data(post(1))
    parser.next_event()
    parser.receive_data(known)
    assert parser.next_event() == b"x"
    assert parser.next_event() == EndOfMessage(())
    assert parser.next_event().method == "GET"


def test_heads_are_not_shared_between_different_limits():
    line = b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"a" * 50)
    assert one_head(line).method == "GET"
    assert refusal(line, Limits(max_target=10)).status == 414
    assert refusal(line, Limits(max_head=20)).status == 431


def test_odd_heads_are_remembered_at_their_second_sight():
    odd = b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nX: second sight\r\n\r\n"
    first, second, third = one_head(odd), one_head(odd), one_head(odd)
    assert first is not second
    assert second is third


def test_what_is_remembered_is_bounded_in_bytes():
    known = KnownHeads()
    head = one_head(GET)
    for number in range(10_000):
        raw = b"%d" % number + b"x" * 200
        for _ in range(2):
            known.add(raw, head)
        assert known.get(raw) is head
    assert sum(map(len, known._kept)) <= 256 * 1024
    assert len(known._seen) <= 4096
    for _ in range(2):
        known.add(b"x" * 1025, head)
    assert known.get(b"x" * 1025) is None


def test_heads_that_never_come_again_are_not_all_looked_up():
    known = KnownHeads()
    head = one_head(GET)
    looked = 0
    for number in range(4000):
        raw = b"%d" % number
        assert known.get(raw) is None
        looked += known.looked
        if known.looked:
            known.add(raw, head)
    assert 1000 < looked < 1200
    found = 0
    for number in range(200 * 200):
        raw = b"again %d" % (number % 200)
        found += known.get(raw) is not None
        if known.looked:
            known.add(raw, head)
    assert found > 25_000, "those that do come again are found soon"


@pytest.mark.parametrize("last", [[GET[:20], GET[20:]], [post(3) + b"abc"], [post(3), b"abc"], [CHUNKED, b"0\r\n\r\n"]])
def test_an_idle_connection_is_small(last):
    parser = RequestParser(LIMITS)
    for piece in (CHUNKED, b"0\r\n\r\n", post(3), b"abc", *last):
        parser.receive_data(piece)
        while parser.next_event() is not NEED_DATA:
            pass
    assert sys.getsizeof(parser) < 200
    held = [getattr(parser, name) for name in RequestParser.__slots__ if name not in {"limits", "state", "_known"}]
    assert all(value in (b"", 0, None, False, True) for value in held), held


def test_idle_means_that_nothing_of_the_next_request_is_here(parser):
    assert parser.idle
    parser.receive_data(b"G")
    assert not parser.idle
    parser.next_event()
    assert not parser.idle
    assert parser.state is ParserState.HEAD
    parser.receive_data(GET[1:])
    parser.next_event()
    assert parser.idle


def test_blank_lines_alone_leave_a_connection_idle(parser):
    parser.receive_data(b"\r\n\r\n")
    assert parser.next_event() is NEED_DATA
    assert parser.idle


def test_blank_lines_are_counted_for_each_request(parser):
    for _ in range(5):
        parser.receive_data(b"\r\n" * 8 + GET)
        assert isinstance(parser.next_event(), RequestHead)
        assert parser.next_event() is NEED_DATA


def test_a_client_may_send_a_blank_line_after_every_request(parser):
    """Also when each head is one that was seen before."""
    for _ in range(30):
        parser.receive_data(GET)
        assert isinstance(parser.next_event(), RequestHead)
        parser.receive_data(b"\r\n")
        assert parser.next_event() is NEED_DATA
        assert parser.idle


def test_a_head_that_h11_refuses_is_refused_also_when_its_fields_were_seen_before():
    for path in (b"a", b"b"):
        refused = refusal(b"GET /%b HTTP/1.1\r\nHost: a\r\nX: vertical\x0btab\r\n\r\n" % path)
        assert refused.status == 400
        assert "h11 refuses" in refused.text


@pytest.mark.parametrize(
    ("line", "flaw"),
    [
        (b"X", "no colon"),
        (b"X : y", "whitespace between field name and colon"),
        (b" X: y", "line folding"),
        (b"(X): y", "not a token"),
        (b": y", "not a token"),
        (b"X: y\rz", "a CR or LF of its own"),
    ],
)
def test_a_refusal_says_what_is_wrong_with_the_line(line, flaw):
    assert flaw in refusal(b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % line).text


def test_what_follows_an_upgrade_is_there_for_the_next_protocol(parser):
    parser.receive_data(GET[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x00")
    head = parser.next_event()
    assert head.fields.upgrade == ("websocket",)
    assert parser.trailing_data == b"\x81\x00"


def test_nothing_is_read_after_a_last_request(parser):
    parser.receive_data(b"GET / HTTP/1.0\r\n\r\n" + GET)
    assert not parser.next_event().keep_alive
    assert parser.next_event() is CLOSED
    parser.receive_data(GET)
    assert parser.next_event() is CLOSED
    assert parser.state is ParserState.CLOSED


def test_a_peer_that_closes_between_requests_is_no_error(parser):
    parser.receive_data(GET)
    parser.next_event()
    parser.receive_data(b"")
    assert parser.next_event() is CLOSED
    assert parser.next_event() is CLOSED


def test_a_request_that_came_before_the_close_is_still_read(parser):
    parser.receive_data(GET)
    parser.receive_data(b"")
    assert isinstance(parser.next_event(), RequestHead)
    assert parser.next_event() is CLOSED


@pytest.mark.parametrize(
    "raw", [GET[:-1], b"\r", post(5) + b"hell", CHUNKED, CHUNKED + b"5\r\nhel", CHUNKED + b"0\r\n"]
)
def test_a_peer_that_closes_in_the_middle_is_both_at_fault_and_gone(raw):
    parser = RequestParser(LIMITS)
    parser.receive_data(raw)
    while parser.next_event() is not NEED_DATA:
        pass
    parser.receive_data(b"")
    with pytest.raises(errors.IncompleteMessage) as caught:
        parser.next_event()
    assert isinstance(caught.value, ConnectionError)
    assert caught.value.status == 400
    with pytest.raises(errors.IncompleteMessage):
        parser.next_event()


def test_an_error_holds_no_frames(parser):
    parser.receive_data(b"\x00")
    with pytest.raises(errors.BadRequest) as first:
        parser.next_event()
    with pytest.raises(errors.BadRequest) as second:
        parser.next_event()
    assert first.value is not second.value
    assert parser.state is ParserState.ERROR


def test_pipelined_requests_wait_until_they_are_asked_for(parser):
    parser.receive_data(GET * 1000)
    for _ in range(1000):
        assert isinstance(parser.next_event(), RequestHead)
    assert parser.next_event() is NEED_DATA


def test_data_may_come_while_pipelined_requests_wait(parser):
    parser.receive_data(GET + post(3) + b"a")
    parser.next_event()
    parser.receive_data(b"bc" + GET[:5])
    assert parser.next_event().content_length == 3
    parser.receive_data(GET[5:])
    assert parser.next_event() == b"abc"
    assert parser.next_event() == EndOfMessage(())
    assert parser.next_event().path == "/"


# Limits


def limited(**limits) -> Limits:
    return Limits(**limits)


@pytest.mark.parametrize("cut", [None, 1])
@pytest.mark.parametrize(
    ("limits", "raw", "status"),
    [
        (limited(max_head=100), b"GET / HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % (b"y" * 100), 431),
        (limited(max_head=100), b"GET / HTTP/1.1\r\nHost: a\r\nX: %b" % (b"y" * 100), 431),
        (limited(max_target=100), b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"y" * 100), 414),
        (limited(max_target=100), b"GET /%b" % (b"y" * 600), 414),
        (limited(max_target=100, max_head=300), b"GET /%b" % (b"y" * 301), 414),
        (limited(max_target=100), b"GET http://b/%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"y" * 100), 414),
        (limited(max_method=5), b"DELETE", 501),
        (limited(max_method=5), b"DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (limited(max_header_count=3), b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n" % (b"X: y\r\n" * 3), 431),
        (limited(max_header_count=3), CHUNKED + b"0\r\n" + b"X: y\r\n" * 4 + b"\r\n", 431),
        (limited(max_body=4), post(5), 413),
        (limited(max_body=4), CHUNKED + b"5\r\n", 413),
        (limited(max_body=4), CHUNKED + b"3\r\nabc\r\n2\r\n", 413),
        (limited(max_body=4), CHUNKED + b"FFFFFFFFFFFFFFFF\r\n", 413),
        (limited(max_blank_lines=2), b"\r\n" * 3, 400),
        (limited(max_chunk_line=20), CHUNKED + b"1;a=bbbbbbbbbbbbbbbbb\r\n", 400),
        (limited(max_chunk_line=20), CHUNKED + b"1;a=bbbbbbbbbbbbbbbbbbb", 400),
        (limited(max_chunk_extensions=20), CHUNKED + b"1;aaaaaaaa\r\nx\r\n" * 3, 400),
        (limited(max_trailer=20), CHUNKED + b"0\r\nX: yyyyyyyyyyyyyyyyyyyy", 431),
        (limited(max_trailer=20), CHUNKED + b"0\r\nX: yyyyyyyyyyyyyyy\r\n\r\n", 431),
    ],
)
def test_over_a_limit(limits, raw, status, cut):
    pieces = octets(raw) if cut else [raw]
    *before, last = play(pieces, limits=limits)
    assert isinstance(last, Refused)
    assert last.status == status
    assert all(isinstance(outcome, Begun) for outcome in before)


@pytest.mark.parametrize(
    ("limits", "raw"),
    [
        (limited(max_head=len(GET)), GET),
        (limited(max_target=1), GET),
        (limited(max_method=3), GET),
        (limited(max_header_count=1), GET),
        (limited(max_body=5), post(5) + b"hello"),
        (limited(max_body=5), CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"),
        (limited(max_body=0), CHUNKED + b"0\r\n\r\n"),
        (limited(max_blank_lines=2), b"\r\n\r\n" + GET),
        (limited(max_chunk_line=5), CHUNKED + b"1;a\r\nx\r\n0\r\n\r\n"),
        (limited(max_chunk_extensions=2), CHUNKED + b"1;a\r\nx\r\n0\r\n\r\n"),
        (limited(max_trailer=8), CHUNKED + b"0\r\nX: y\r\n\r\n"),
    ],
)
def test_just_within_a_limit(limits, raw):
    for pieces in ([raw], octets(raw)):
        assert [type(outcome) for outcome in play(pieces, limits=limits)] == [Message]


def test_a_length_that_is_too_large_is_refused_before_any_of_the_body(parser):
    parser = RequestParser(Limits(max_body=10))
    parser.receive_data(post(11))
    with pytest.raises(errors.ContentTooLarge):
        parser.next_event()


def test_a_large_head_is_read_octet_by_octet_in_one_pass(monkeypatch):
    """The watch looks at new octets only: its patterns never start at the beginning again."""
    from greenserve.http import head

    starts = []

    class Spy:
        def __init__(self, pattern):
            self.pattern = pattern

        def search(self, buffer, at):
            starts.append(len(buffer) - at)
            return self.pattern.search(buffer, at)

    monkeypatch.setattr(head, "BROKEN_LINE", Spy(head.BROKEN_LINE))
    monkeypatch.setattr(head, "NOT_IN_REQUEST_LINE", Spy(head.NOT_IN_REQUEST_LINE))
    raw = b"GET /%b HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % (b"a" * 2000, b"b" * 2000)
    (message,) = play(octets(raw))
    assert len(message.head.path) == 2001
    assert max(starts) <= 2


def client_hello() -> bytes:
    outgoing = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="a\n.example")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("stray", [b"", b"\n", b"\r\n", b"\r\n\r\n"])  # its random octets may be these
def test_a_client_that_speaks_tls_is_named(stray):
    hello = client_hello() + stray
    for pieces in ([hello], octets(hello), [hello[:1], hello[1:]], [hello[:5] + stray, hello[5:]]):
        (outcome,) = play(pieces)
        assert isinstance(outcome, Refused)
        assert outcome.status == 400
        assert "this is TLS, and the port speaks plain HTTP" in outcome.text


def test_a_proxy_that_speaks_the_proxy_protocol_is_named():
    (outcome,) = play([b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n" + GET])
    assert "a PROXY header is not expected here" in outcome.text
