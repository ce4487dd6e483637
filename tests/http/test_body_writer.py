"""The four ways to frame a body: what leaves, and what is refused."""

from __future__ import annotations

import pytest

from greenserve.errors import InvalidResponse
from greenserve.http.body_writer import BodyWriter, ChunkedWriter, CloseWriter, LengthWriter
from greenserve.http.response import CONTINUE


def test_a_length_is_kept_to_the_octet():
    writer = LengthWriter(5)
    assert (writer.write(b"abc"), writer.is_whole) == (b"abc", False)
    assert (writer.write(b"de"), writer.is_whole) == (b"de", True)
    assert (writer.end(), writer.sent) == (b"", 5)


def test_what_goes_beyond_the_length_does_not_leave_and_is_an_error():
    writer = LengthWriter(5)
    assert [writer.write(piece) for piece in (b"abc", b"defg", b"h")] == [b"abc", b"de", b""]
    assert (writer.is_whole, writer.sent) == (True, 5)
    with pytest.raises(InvalidResponse, match="3 bytes longer than its Content-Length; they were not sent"):
        writer.end()


def test_what_is_short_of_the_length_is_an_error():
    writer = LengthWriter(5)
    writer.write(b"abc")
    with pytest.raises(InvalidResponse, match="2 bytes shorter than its Content-Length"):
        writer.end()
    assert not writer.is_whole


def test_a_length_of_nothing_is_whole_at_once():
    assert LengthWriter(0).is_whole
    assert LengthWriter(0).end() == b""


def test_chunks():
    writer = ChunkedWriter()
    assert writer.write(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"
    assert (writer.sent, writer.is_whole) == (26, False)
    assert writer.end() == b"0\r\n\r\n"
    assert CONTINUE == b"HTTP/1.1 100 Continue\r\n\r\n"


def test_until_the_close_everything_leaves_as_it_is():
    writer = CloseWriter()
    assert (writer.write(b"abc"), writer.end(), writer.sent) == (b"abc", b"", 3)
    assert (writer.is_whole, writer.ends_by_close) == (False, True)


def test_where_there_is_no_body_nothing_leaves():
    writer = BodyWriter()
    assert (writer.write(b"abc"), writer.end(), writer.sent) == (b"", b"", 0)
    assert (writer.is_whole, writer.bodyless, writer.ends_by_close) == (True, True, False)
