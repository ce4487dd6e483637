"""What must hold for every input: generated requests, and the same with octets changed."""

from __future__ import annotations

import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from greenserve.errors import ProtocolError
from greenserve.http.head import RequestHead
from greenserve.http.limits import Limits
from greenserve.http.parser import CLOSED, NEED_DATA, RequestParser
from greenserve.http.response import DefaultHeaders, response_head
from greenserve.http.response_headers import checked

from .cases import ALL
from .peers import check_peers
from .support import LIMITS, Closed, Head, Player, Refused, outlines, play

DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


# Octets that mean something somewhere in a head or between chunks.
TELLING = st.sampled_from(
    [bytes([octet]) for octet in b'\r\n\t :,;="#?*/\\@[]0159aAfFxX%-_.\x00\x01\x0b\x7f\x80\xa0\xff']
)

methods = st.sampled_from(["GET", "HEAD", "POST", "PUT", "OPTIONS", "CONNECT", "get", "M-SEARCH", "G@T", ""])
targets = st.sampled_from(
    [
        "/",
        "/a?b=c",
        "/a/%20",
        "//a",
        "/a#b",
        "*",
        "http://b/c",
        "http://b?c",
        "https://[::1]:1/",
        "a:1",
        "/\x7f",
        "",
        "/a b",
    ]
)
versions = st.sampled_from(
    ["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "HTTP/1", "http/1.1"]
)
lines = st.sampled_from(
    [
        "Host: a",
        "host:[::1]:80",
        "Host:",
        "Host: a b",
        "Content-Length: 5",
        "content-length:  05\t",
        "Content-Length: 0",
        "Content-Length: 5, 5",
        "Content-Length: -1",
        "Transfer-Encoding: chunked",
        "transfer-encoding:Chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding:",
        "Connection: close",
        "Connection: keep-alive, Upgrade",
        "Upgrade: websocket",
        "Expect: 100-continue",
        "Expect: more",
        "X: y",
        "X: \xfc \t z \t",
        "X : y",
        " X: y",
        "X: \x01",
        "X",
        "",
        "X_Y: z",
        "!#$%&'*+-.^_`|~: 1",
    ]
)
bodies = st.sampled_from(
    ["", "hello", "5\r\nhello\r\n0\r\n\r\n", "2;a=b\r\nhi\r\n0\r\nX: y\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"]
)


@st.composite
def requests(draw):
    """A request that is often right and often a little wrong."""
    head = [f"{draw(methods)} {draw(targets)} {draw(versions)}"]
    if draw(st.integers(0, 4)):
        head.append("Host: a")
    head += draw(st.lists(lines, max_size=4))
    return ("\r\n".join(head) + "\r\n\r\n" + draw(bodies)).encode("latin-1")


@st.composite
def mutated(draw, base):
    raw = bytearray(draw(base))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(raw)))
        width = draw(st.integers(0, 2))
        raw[at : at + width] = draw(st.one_of(TELLING, st.just(b""), st.binary(max_size=2)))
    return bytes(raw)


@settings(max_examples=100, deadline=None)
@given(mutated(requests()))
@example(b"GET / HTTP/1.1\r\nHost: a\r\nX: \x0b\r\n\r\n")
def test_whatever_is_accepted_h11_and_httptools_read_in_the_same_way(raw):
    check_peers(raw)


@settings(max_examples=100, deadline=None)
@given(mutated(st.sampled_from([case.raw for case in ALL])))
def test_whatever_is_accepted_of_the_changed_cases_h11_and_httptools_read_in_the_same_way(raw):
    check_peers(raw)


@settings(max_examples=100, deadline=None)
@given(mutated(st.lists(requests(), min_size=1, max_size=3).map(b"".join)), st.data())
def test_the_cuts_of_the_network_change_nothing(raw, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    pieces = [raw[i:j] for i, j in zip([0, *cuts], [*cuts, len(raw)], strict=True) if i < j]
    whole = outlines(play([raw], eof=True))
    assert outlines(play(pieces, eof=True)) == whole
    assert outlines(play([raw[i : i + 1] for i in range(len(raw))], eof=True)) == whole


@settings(max_examples=100, deadline=None)
@given(mutated(requests()), st.binary(max_size=20))
def test_after_an_error_the_same_error_and_nothing_else_comes_out(raw, more):
    player = Player()
    player.feed(raw)
    if not player.events or not isinstance(player.events[-1], Refused):
        return
    for piece in (more or b"x", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b""):
        player.parser.receive_data(piece)
        for _ in range(2):
            with pytest.raises(ProtocolError) as caught:
                player.parser.next_event()
            assert (caught.value.status, str(caught.value)) == (player.events[-1].status, player.events[-1].text)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 40), st.lists(st.binary(min_size=1, max_size=20), max_size=6))
def test_data_never_exceeds_the_declared_length(length, pieces):
    parser = RequestParser(LIMITS)
    parser.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % length)
    head = parser.next_event()
    assert isinstance(head, RequestHead)
    received = b""
    for piece in pieces if length else []:
        parser.receive_data(piece)
        while type(event := parser.next_event()) is bytes:
            received += event
        if event is not NEED_DATA:
            break  # EndOfMessage
    assert received == b"".join(pieces)[:length] or not length


# Pipelining, against a model: a list of messages that are right.

names = st.sampled_from(["X", "Accept", "x-y", "Cookie"])
values = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=8)


@st.composite
def messages(draw):
    """(octets, method, path, fields, body) of one good request."""
    method = draw(st.sampled_from(["GET", "POST", "PUT", "DELETE"]))
    path = "/" + draw(st.text("abc/%20", max_size=5))
    fields = [("Host", "a"), *draw(st.lists(st.tuples(names, values), max_size=3))]
    body = draw(st.binary(max_size=30))
    framing = draw(st.sampled_from(["none", "length", "chunked"]))
    wire = b""
    if framing == "length":
        fields.append(("Content-Length", str(len(body))))
        wire = body
    elif framing == "chunked":
        fields.append(("Transfer-Encoding", "chunked"))
        step = draw(st.integers(1, 10))
        pieces = [chunk(body[i : i + step]) for i in range(0, len(body), step)]
        wire = b"".join(pieces) + draw(st.sampled_from([b"0\r\n\r\n", b"00;a=b\r\nX: y\r\n\r\n"]))
    else:
        body = b""
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{n}: {v}\r\n" for n, v in fields) + "\r\n"
    blank = draw(st.sampled_from([b"", b"", b"\r\n"]))
    items = tuple((n.lower(), v) for n, v in fields)
    return blank + head.encode("latin-1") + wire, method, path, items, body


@settings(max_examples=100, deadline=None)
@given(st.lists(messages(), max_size=6), st.data())
def test_pipelined_messages_come_out_as_they_went_in(sent, data):
    raw = b"".join(message[0] for message in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    pieces = [raw[i:j] for i, j in zip([0, *cuts], [*cuts, len(raw)], strict=True) if i < j]
    *got, last = play(pieces, eof=True)
    assert last == Closed()
    assert [(m.head.method, m.head.path, m.head.fields.items, m.body) for m in got] == [message[1:] for message in sent]


@settings(max_examples=100, deadline=None)
@given(st.lists(messages(), min_size=1, max_size=4))
def test_all_received_before_the_first_event_is_the_same(sent):
    parser = RequestParser(LIMITS)
    for message in sent:
        parser.receive_data(message[0])
    paths = []
    while (event := parser.next_event()) is not NEED_DATA:
        if isinstance(event, RequestHead):
            paths.append(event.path)
    assert paths == [message[2] for message in sent]
    assert parser.idle


# Chunked bodies, against other parsers.

CHUNKED_HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
chunk_parts = st.sampled_from(
    [b"5\r\nhello\r\n", b"1;a=b\r\nx\r\n", b"0\r\n", b"\r\n", b"X: y\r\n", b"00a\r\n0123456789\r\n", b"3\r\n", b"abc"]
)


@settings(max_examples=100, deadline=None)
@given(mutated(st.lists(chunk_parts, max_size=5).map(b"".join).map(lambda wire: wire + b"0\r\n\r\n")))
def test_every_chunked_body_that_is_accepted_h11_and_httptools_read_in_the_same_way(wire):
    check_peers(CHUNKED_HEAD + wire)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=12), max_size=8), st.integers(0, 60))
def test_a_chunked_body_is_bounded_like_any_other(pieces, bound):
    body = b"".join(pieces)
    raw = CHUNKED_HEAD + b"".join(map(chunk, pieces)) + b"0\r\n\r\n"
    last = play([raw], limits=Limits(max_body=bound))[-1]
    if len(body) <= bound:
        assert last.body == body
    else:
        assert isinstance(last, Refused)
        assert last.status == 413


# Response heads, read back by h11's client.

response_values = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f\x85\xa0"), max_size=8
)
response_headers = st.lists(
    st.tuples(st.sampled_from(["X-A", "Content-Type", "Set-Cookie", "Vary", "Date", "Server"]), response_values),
    max_size=4,
    unique_by=lambda h: h[0],
)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(
        ["200 OK", "201 Created", "204 No Content", "205 Reset Content", "304 Not Modified", "404 Not Found", "299 "]
    ),
    response_headers,
    st.sampled_from(["GET", "HEAD", "POST"]),
    st.sampled_from(["1.1", "1.0"]),
    st.booleans(),
    st.one_of(st.none(), st.integers(0, 20)),
    st.booleans(),
)
def test_every_response_head_is_what_h11_understands(status, headers, method, version, keep_alive, length, declared):
    code = int(status[:3])
    if code == 205:
        length = 0
    if declared and length is not None:
        headers = [*headers, ("Content-Length", str(length))]
    section = checked(status, headers)
    head = Head(*response_head(section, method == "HEAD", version, keep_alive, length, DefaultHeaders(date=DATE)))
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    writer, body = head.framing(head.length), b"x" * length if length is not None else b"abc"
    client.receive_data(head.data + (writer.write(body) if body else b"") + writer.end())
    response = client.next_event()
    assert (response.status_code, response.reason) == (code, status[4:].encode())
    got = [(name.decode(), value.decode("latin-1")) for name, value in response.headers]
    for name, value in headers:
        if (code, name) != (204, "Content-Length"):
            assert (name.lower(), value) in got
    assert [name for name, _ in got].count("date") == 1
    assert [name for name, _ in got].count("server") == 1
    if writer.ends_by_close:
        client.receive_data(b"")
    received = b""
    while type(event := client.next_event()) is h11.Data:
        received += event.data
    assert type(event) is h11.EndOfMessage
    assert received == (b"" if writer.bodyless else body)
    assert writer.sent == len(received)
    assert head.length == (None if writer.bodyless else length)
    options = [value for name, value in got if name == "connection"]
    assert options == ([] if head.keep_alive and version == "1.1" else ["keep-alive"] if head.keep_alive else ["close"])
    assert head.keep_alive == (keep_alive and not writer.ends_by_close)


def test_closed_is_not_an_event_of_an_open_connection():
    assert RequestParser(LIMITS).next_event() is NEED_DATA is not CLOSED
