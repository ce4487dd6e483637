"""Each limit on what a client may send: its status, what the client and the log are told, and that nothing follows."""

from __future__ import annotations

import logging

import pytest

from greenserve.server import worker
from tests.server.live import Client, echo, serving

POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

# What is sent, with which settings, and the status and the words of the answer. docs/security.md has the same rows.
LIMITS = {
    "max_target": (
        b"GET /" + b"x" * 100 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        {"max_target": 100},
        414,
        "max_target, 100",
    ),
    "max_head": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 200, {"max_head": 200}, 431, "max_head, 200"),
    "max_header_count": (
        b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nC: d\r\n\r\n",
        {"max_header_count": 2},
        431,
        "max_header_count, 2",
    ),
    "max_header_count (trailers)": (
        CHUNKED + b"0\r\nA: b\r\nC: d\r\nE: f\r\n\r\n",
        {"max_header_count": 2},
        431,
        "max_header_count, 2",
    ),
    "trailers": (CHUNKED + b"0\r\nA: " + b"x" * 9000, {}, 431, "trailer"),
    "max_body": (POST + b"Content-Length: 11\r\n\r\n", {"max_body": 10}, 413, "max_body, 10"),
    "max_body (chunked)": (CHUNKED + b"b\r\n", {"max_body": 10}, 413, "max_body, 10"),
    "max_body (chunked, read as it comes)": (
        CHUNKED + b"b\r\n",
        {"max_body": 10, "buffer_chunked": None},
        413,
        "max_body, 10",
    ),
    "buffer_chunked": (CHUNKED + b"b\r\n" + b"x" * 11, {"buffer_chunked": 10}, 413, "buffer_chunked, 10"),
    "buffer_chunked_total": (
        CHUNKED + b"b\r\n" + b"x" * 11,
        {"buffer_chunked_total": 10},
        413,
        "buffer_chunked_total",
    ),
    "header_timeout": (b"GET / HT", {"header_timeout": 0.1}, 408, "head did not arrive in time"),
    "body_timeout": (POST + b"Content-Length: 9\r\n\r\nabc", {"body_timeout": 0.1}, 408, "body did not arrive in time"),
    "body_timeout (chunked)": (CHUNKED + b"5\r\nabc", {"body_timeout": 0.1}, 408, "body did not arrive in time"),
    "an expectation": (POST + b"Expect: 200-ok\r\nContent-Length: 1\r\n\r\n", {}, 417, "100-continue"),
    "a transfer coding": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", {}, 501, "chunked"),
    "a method": (b"M" * 33 + b" / HTTP/1.1\r\nHost: a\r\n\r\n", {}, 501, "32 characters"),
    "CONNECT": (b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", {}, 501, "proxy"),
    "a version": (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", {}, 505, "HTTP/1.1"),
}
LATER = {"buffer_chunked_total": "30"}


@pytest.mark.parametrize("limit", LIMITS)
def test_each_limit_has_its_status_is_named_and_ends_the_connection(limit, monkeypatch, caplog):
    monkeypatch.setattr(worker, "SWEEP_SECONDS", 0.05)
    caplog.set_level(logging.INFO, "greenserve")
    sent, options, status, words = LIMITS[limit]
    with serving(echo, **options) as server, Client(server) as client:
        client.send(sent)
        found, fields, text = client.response()
        assert (found, fields["connection"], fields.get("retry-after")) == (status, "close", LATER.get(limit))
        assert words in text.decode()
        client.socket.shutdown(1)
        assert client.at_end()
    said = [record for record in caplog.records if f"{status}: " in record.getMessage()]
    assert [(record.levelname, words in record.getMessage(), record.exc_info) for record in said] == [
        ("INFO", True, None)
    ]
