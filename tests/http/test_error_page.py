"""Error responses of the server's own: whole, checked, harmless, and in the type that the client prefers."""

from __future__ import annotations

import json
from http import HTTPStatus

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.errors import InvalidResponse
from greenserve.http.error_page import error_response, preferred
from greenserve.http.head import parse_head
from greenserve.http.limits import Limits
from greenserve.http.response import DefaultHeaders, status_line

DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"
TEXT, HTML, PROBLEM = "text/plain", "text/html", "application/problem+json"
# What Firefox, Chromium, curl, and axios send.
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
AXIOS = "application/json, text/plain, */*"


def request(accept=None, *, method="GET"):
    field = f"Accept: {accept}\r\n" if accept is not None else ""
    return parse_head(f"{method} / HTTP/1.1\r\nHost: a\r\n{field}\r\n".encode("latin-1"), Limits())


def body_of(answer):
    return answer.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (400, "Bad Request"),
        (413, "Content Too Large"),
        (414, "URI Too Long"),
        (431, "Request Header Fields Too Large"),
        (505, "HTTP Version Not Supported"),
    ],
)
def test_an_error_response_is_whole_and_last(status, reason):
    answer = error_response(status, "say why: \u20ac", defaults=DefaultHeaders(date=DATE))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} {reason}\r\n".encode())
    assert b"\r\nConnection: close" in head
    assert b"\r\nDate: " + DATE in head
    assert b"\r\nContent-Length: %d\r\n" % len(body) in head
    assert body.decode() == f"{status} {reason}\n\nsay why: \u20ac\n"


def test_an_error_response_to_head_has_no_body():
    assert error_response(400, "why", request=request(method="HEAD")).endswith(b"\r\n\r\n")
    assert b"Date" not in error_response(400, "why")


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (403, [("Location", "/x\r\nSet-Cookie: admin=1")]),
        (403, [("Lo cation", "/x")]),
        (401, [("WWW-Authenticate", 'Basic realm="\u20ac"')]),
        (403, [("X", 1)]),
        (403, ["X"]),
        (403, [("Content-Length", "1")]),
        (403, [("Transfer-Encoding", "chunked")]),
        (400, [("Upgrade", "websocket")]),
        (101, []),
        (101, [("Upgrade", "websocket"), ("Connection", "Upgrade")]),
        (100, []),
        (99, []),
        (1000, []),
        ("403\r\nX: y", []),
        ("\u20ac", []),
        (None, []),
    ],
)
def test_an_error_response_is_checked_like_any_other(status, headers):
    with pytest.raises(InvalidResponse):
        error_response(status, "why", headers=headers)


def test_an_error_response_may_have_a_status_that_nobody_knows():
    assert error_response(499, "why").startswith(b"HTTP/1.1 499 Unknown\r\n")
    assert status_line(499) == "499 Unknown"
    assert status_line(404) == "404 Not Found"
    assert status_line(HTTPStatus.CONTENT_TOO_LARGE if hasattr(HTTPStatus, "CONTENT_TOO_LARGE") else 413) == (
        "413 Content Too Large"
    )


def test_an_error_response_has_the_fields_that_its_status_asks_for():
    head, _, body = error_response(
        426, "why", headers=[("Upgrade", "websocket"), ("Connection", "Upgrade"), ("content-type", "text/html")]
    ).partition(b"\r\n\r\n")
    assert b"\r\nUpgrade: websocket\r\n" in head
    assert b"\r\nConnection: Upgrade, close" in head
    assert head.lower().count(b"content-type") == 1
    assert body


def test_an_error_response_of_a_status_without_content_has_none():
    assert error_response(304, "why").endswith(b"\r\n\r\n")


def test_an_error_response_holds_whatever_the_reader_is_told():
    assert error_response(400, "lone \ud800 surrogate").endswith(b"lone ? surrogate\n")


@pytest.mark.parametrize(
    ("accept", "plain", "with_page"),
    [
        (None, TEXT, HTML),
        ("*/*", TEXT, HTML),
        ("text/*", TEXT, HTML),
        (BROWSER, HTML, HTML),
        (AXIOS, PROBLEM, PROBLEM),
        ("application/json", PROBLEM, PROBLEM),
        ("application/problem+json;q=0.5, text/html;q=0.4", PROBLEM, PROBLEM),
        ("text/html;q=0.4, application/*;q=0.5", PROBLEM, PROBLEM),
        ("text/plain, text/html", HTML, HTML),
        ("text/html;level=1;q=0, text/plain;q=0.1", TEXT, TEXT),
        ("TEXT/HTML ; q=1.000", HTML, HTML),
        ("image/webp", TEXT, TEXT),
        ("image/avif,*/*;q=0.1", TEXT, HTML),
        ("text/html;q=abc, ,;;,q=1", TEXT, TEXT),
        ("text/html;q=\xb2", TEXT, TEXT),
        ("*/*;q=0", TEXT, TEXT),
    ],
)
def test_the_type_is_the_one_that_the_client_prefers(accept, plain, with_page):
    assert preferred(accept) == plain
    assert preferred(accept, html=True) == with_page


@given(st.text(st.characters(max_codepoint=255), max_size=60), st.booleans())
def test_whatever_accept_says_one_of_the_three_is_chosen(accept, html):
    assert preferred(accept, html=html) in (TEXT, HTML, PROBLEM)


def test_an_endless_accept_costs_no_more_than_a_long_one():
    assert preferred(",".join(f"a/{i}" for i in range(5000)) + ",text/html") == TEXT


WILD = "<script>alert('&\x85\"')</script>\r\n\r\nHTTP/1.1 200 OK \x1b]0; \u20ac \ud800"


@pytest.mark.parametrize("accept", [TEXT, HTML, PROBLEM])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_a_client_has_sent_comes_back_harmless(accept, method):
    answer = error_response(400, WILD, request=request(accept, method=method))
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "a"), ("Connection", "close")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(answer)
    response = connection.next_event()
    fields = dict(response.headers)
    assert response.status_code == 400
    assert fields[b"content-type"].decode().partition(";")[0] == accept
    assert fields[b"vary"] == b"Accept"
    body = b""
    while type(event := connection.next_event()) is h11.Data:
        body += event.data
    assert type(event) is h11.EndOfMessage
    assert connection.trailing_data == (b"", False)
    assert body.replace(b"\n", b"").decode().isprintable()
    if method == "HEAD":
        assert not body
        assert int(fields[b"content-length"]) > 70
    elif accept == HTML:
        assert b"<script" not in body
        assert b"&lt;script&gt;alert(&#x27;&amp;" in body
    elif accept == PROBLEM:
        problem = json.loads(body)
        assert "HTTP/1.1 200 OK \\x1b" in problem.pop("detail")
        assert problem == {"type": "about:blank", "title": "Bad Request", "status": 400}


def test_an_operators_page_stands_for_its_status_alone_and_for_clients_that_take_html():
    pages = {503: b"<p>back soon</p>"}
    assert body_of(error_response(503, "why", request=request(BROWSER), pages=pages)) == b"<p>back soon</p>"
    assert body_of(error_response(503, "why", request=request("*/*"), pages=pages)) == b"<p>back soon</p>"
    assert json.loads(body_of(error_response(503, "why", request=request(AXIOS), pages=pages)))["detail"] == "why"
    assert b"back soon" not in error_response(500, "why", request=request(BROWSER), pages=pages)
    assert body_of(error_response(503, "why", pages=pages)) == b"503 Service Unavailable\n\nwhy\n"


def test_default_headers_are_there_too():
    defaults = DefaultHeaders(None, others=[("Strict-Transport-Security", "max-age=1")])
    answer = error_response(400, "why", defaults=defaults)
    assert b"\r\nStrict-Transport-Security: max-age=1\r\n" in answer
    assert b"\r\nServer:" not in answer
