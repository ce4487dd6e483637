"""The judges themselves: that they read what they are given, and that a difference is found."""

from __future__ import annotations

import pytest

from . import peers
from .cases import ALL
from .peers import TUNNELS, Read, check_peers, h11_reads, httptools_reads, we_read

TWO = (
    b"POST /a?b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nhi\r\n0\r\nT: v\r\n\r\n"
    b"GET http://y/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    b"PUT /half HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhi"
)
FIRST = ("POST", "/a?b", "1.1", [("host", "x"), ("transfer-encoding", "chunked")], b"hi", [("t", "v")])
SECOND = ("GET", "http://y/", "1.0", [("connection", "keep-alive")], b"", [])


@pytest.mark.parametrize("reads", [httptools_reads, h11_reads, lambda data: (we_read(data), "")])
def test_each_parser_reads_every_whole_request_and_no_other(reads):
    found, why = reads(TWO)
    assert [request.plain() for request in found] == [FIRST, SECOND]
    assert why == ""


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_what_we_accept_of_the_known_cases_is_read_in_the_same_way(case):
    check_peers(case.raw)


def test_what_follows_an_upgrade_is_not_looked_at_by_llhttp():
    upgrade = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
    found, why = httptools_reads(upgrade + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (len(found), why) == (1, TUNNELS)
    check_peers(upgrade + b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n")


@pytest.mark.parametrize(
    "theirs",
    [
        ([], "a reason of which we know nothing"),
        ([], ""),
        ([Read("GET", "/", [("host", "a")])], ""),
        ([Read("POST", "/", [("host", "a"), ("content-length", "2")], b"h")], ""),
        ([Read("POST", "/", [("host", "b"), ("content-length", "2")], b"hi")], ""),
        ([Read("POST", "/x", [("host", "a"), ("content-length", "2")], b"hi")], ""),
    ],
)
@pytest.mark.parametrize("peer", ["httptools_reads", "h11_reads"])
def test_a_peer_that_reads_something_else_is_noticed(peer, theirs, monkeypatch):
    data = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"
    check_peers(data)
    reads = lambda _data: theirs  # noqa: E731 - it needs a name to be told by
    reads.__name__ = peer
    monkeypatch.setattr(peers, peer, reads)
    with pytest.raises(AssertionError):
        check_peers(data)
