"""What start_response is given: what is plain is found plain by both codecs, and is what the rules make of it."""

from __future__ import annotations

import sys
import tracemalloc
from enum import Enum

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from greenserve.errors import InvalidResponse
from greenserve.http import response_headers
from greenserve.http.response_headers import DATE, SERVER, HopByHop, checked, plain_response_in_python
from tests.conftest import require_codec

SITE = [
    ("Content-Type", "text/html; charset=utf-8"),
    ("Content-Length", "345"),
    ("ETag", '"1-ab"'),
    ("X-Empty", ""),
    ("Set-Cookie", "a=b; Path=/"),
    ("Set-Cookie", "c=d; Path=/"),
]


class Text(str):
    __slots__ = ()


class Name(str, Enum):  # noqa: UP042 - as programs have it
    TYPE = "Content-Type"


class Pair(tuple):
    __slots__ = ()


class Pairs(list):
    __slots__ = ()


@pytest.fixture(params=["python", "compiled"])
def plain_response(request):
    return plain_response_in_python if request.param == "python" else require_codec().plain_response


def test_a_plain_response(plain_response):
    status = "200 OK"
    assert plain_response(status, SITE) == (
        status,
        200,
        b'HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 345\r\nETag: "1-ab"\r\n'
        b"X-Empty: \r\nSet-Cookie: a=b; Path=/\r\nSet-Cookie: c=d; Path=/\r\n",
        345,
        0,
        None,
    )
    assert plain_response("404 Not Found", []) == ("404 Not Found", 404, b"HTTP/1.1 404 Not Found\r\n", None, 0, None)


@pytest.mark.parametrize(
    ("headers", "length", "given"),
    [
        ([("date", "then")], None, DATE),
        ([("SERVER", "mine"), ("Date", "then"), ("Server", "again")], None, SERVER | DATE),
        ([("content-LENGTH", "0")], 0, 0),
        ([("Content-Length", "007")], 7, 0),
        ([("Content-Length", "9" * 18)], 10**18 - 1, 0),
        ([("Dates", "x"), ("X-Date", "y"), ("Serve", "z"), ("T", "a")], None, 0),
    ],
)
def test_what_the_fields_say(plain_response, headers, length, given):
    assert plain_response("200 OK", headers)[3:] == (length, given, None)


@pytest.mark.parametrize("status", ["299 ", "999 a  b", "204 No Content", "304 Not Modified", "500 ~!"])
def test_a_plain_status(plain_response, status):
    assert plain_response(status, [])[:3] == (status, int(status[:3]), f"HTTP/1.1 {status}\r\n".encode())


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        *((status, []) for status in ("", "200", "2000 OK", "199 Low", "101 Switching", "200  OK", "200 OK ")),
        *((status, []) for status in ("200 O\nK", "200 O\tK", "200 \xe9", "200 \u20ac", "2\u0660\u0660 OK", b"200 OK")),
        *((status, []) for status in (None, 200, Text("200 OK"), "000 OK", "/00 OK", "2:0 OK", "20/ OK")),
        *(("200 OK", headers) for headers in (None, (), Pairs(), "", {}, {("a", "b")}, iter(()))),
        *(
            ("200 OK", [("X", "y"), pair])
            for pair in (
                *(None, "Xa", ("X",), ("X", "a", "b"), ["X", "a"], Pair(("X", "a")), (b"X", "a"), ("X", b"a"), ()),
                *(("X", None), (Text("X"), "a"), ("X", Text("a")), (Name.TYPE, "a"), ("X", 1), (1, "a")),
                *(("", "a"), ("X Y", "a"), ("X:", "a"), ("X\xe9", "a"), ("X\r\nY", "a"), ("X\0", "a"), ("X\x7f", "a")),
                *(("X", f"a{chr(code)}b") for code in (*range(32), 127, 0xE9, 0x20AC, 0xD800, 0x1F600)),
                *((name, "close") for name in ("Connection", "Keep-Alive", "TE", "Trailer", "Trailers", "Upgrade")),
                *((name, "close") for name in ("tRANSFER-eNCODING", "Proxy-Authenticate", "Proxy-Authorization")),
                *(("Content-Length", value) for value in ("", "-1", "+1", " 1", "1 ", "1,1", "1_0", "\u0665", "\xb2")),
                ("Content-Length", "1" * 19),
            )
        ),
        ("200 OK", [("Content-Length", "1"), ("content-length", "1")]),
        ("200 OK", [("Date", "a"), ("date", "a")]),
        ("204 No Content", [("Content-Length", "0")]),
    ],
)
def test_what_is_not_plain(plain_response, status, headers):
    assert plain_response(status, headers) is None


def test_a_name_is_one_to_both_codecs(plain_response):
    """Every character, in every name that has a meaning."""
    for code in range(256):
        for name in ("X{}", "{}ate", "s{}rver", "content{}length", "{}e", "keep{}alive", "{}pgrade"):
            header = (name.format(chr(code)), "1")
            try:
                expected = response_headers._check("200 OK", [header])
            except InvalidResponse:
                expected = None
            plain = plain_response("200 OK", [header])
            if plain is not None:
                assert plain[:5] == expected[:5]
            else:  # it is refused, or it is one of a hop
                assert expected is None or expected[5] != HopByHop()


# Statuses and headers as applications have them, with every mistake in some of them.

characters = st.one_of(
    st.characters(min_codepoint=0x20, max_codepoint=0x7E),
    st.sampled_from("\t\r\n\0\x1f\x7f\x80\xa0\xad\xff\u20ac\ud800:"),
)
names = st.one_of(
    st.sampled_from(["Content-Type", "content-type", "Set-Cookie", "ETag", "X-A", "Date", "Server", "Content-Length"]),
    st.sampled_from([*response_headers._SPECIAL]).flatmap(lambda name: st.sampled_from([name, name.title()])),
    st.text(characters, max_size=4),
)
values = st.one_of(
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=8),
    st.integers(-1, 10**20).map(str),
    st.sampled_from(["close", "keep-alive", "Upgrade", "websocket", "chunked", "a\r\nX: b", "x-sum"]),
    st.text(characters, max_size=6),
)
odd = st.sampled_from([None, 1, b"x", Text("x"), ("x",), ("a", "b", "c"), ["x", "y"], "xy", Pair(("x", "y"))])
pairs = st.tuples(names, values)
statuses = st.one_of(
    st.sampled_from(["200 OK", "404 Not Found", "204 No Content", "304 Not Modified", "101 Switching Protocols", "2 "]),
    st.from_regex(r"[0-9]{3} [A-Z ]{0,3}", fullmatch=True),
    st.text(characters, max_size=6).map("200 {}".format),
    odd,
)
header_lists = st.one_of(
    st.lists(pairs, max_size=5),
    st.lists(st.one_of(pairs, st.tuples(st.one_of(names, odd), st.one_of(values, odd)), odd), max_size=4),
    st.lists(pairs, max_size=3).map(tuple),
    odd,
)


@settings(max_examples=500, deadline=None)
@given(statuses, header_lists)
@example("200 OK", SITE)
def test_both_codecs_give_the_same(status, headers):
    plain, compiled = plain_response_in_python(status, headers), require_codec().plain_response(status, headers)
    assert plain == compiled
    assert list(map(type, plain or ())) == list(map(type, compiled or ()))


@settings(max_examples=500, deadline=None)
@given(statuses, header_lists)
@example("200 OK", SITE)
def test_what_is_plain_is_what_the_rules_make_of_it(status, headers):
    plain = plain_response_in_python(status, headers)
    try:
        expected = response_headers._check(status, headers)
    except InvalidResponse:
        assert plain is None
    else:
        assert plain is None or (plain[:5] == expected[:5] and expected[5] == HopByHop())
        assert checked(status, headers)[:5] == expected[:5]


def test_names_that_were_met_are_bounded(monkeypatch):
    monkeypatch.setattr(response_headers, "_names", {})
    for i in range(1000):
        plain_response_in_python("200 OK", [(f"X-{i}", "a"), ("Y" * (100 + i), "b")])
    assert len(response_headers._names) <= 256
    assert max(map(len, response_headers._names)) <= 64


def test_nothing_of_a_call_stays(plain_response):
    """Each way out of it, with texts of its own each time: not a byte may be left, nor a reference be lost."""

    def call():
        for i in range(200):
            for headers in (
                [("X-A", f"value {i}"), ("Content-Length", str(10**9 + i))],
                [("X-A", f"value {i}"), ("X-B", f"\xe9{i}")],
                [("X-A", f"value {i}"), ("Content-Length", f"{i}x")],
                [("X-A", f"value {i}"), None],
            ):
                plain_response(status, headers)
                plain_response(f"20 {i}", headers)

    status, header, headers = "400 " + "x" * 9, ("X-C", "c"), []
    call()
    before = sys.getrefcount(status), sys.getrefcount(header), sys.getrefcount(headers), sys.getrefcount(None)
    tracemalloc.start()
    try:
        call()
        start = tracemalloc.get_traced_memory()[0]
        call()
        assert abs(tracemalloc.get_traced_memory()[0] - start) < 2000
    finally:
        tracemalloc.stop()
    after = sys.getrefcount(status), sys.getrefcount(header), sys.getrefcount(headers), sys.getrefcount(None)
    assert after[:3] == before[:3]
    assert abs(after[3] - before[3]) < 200  # immortal since 3.12


@pytest.mark.parametrize("arguments", [(), ("200 OK",), ("200 OK", [], None)])
def test_the_compiled_function_takes_two_arguments(arguments):
    with pytest.raises(TypeError, match="a status and a list"):
        require_codec().plain_response(*arguments)
