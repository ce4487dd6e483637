"""Response heads: what is added, what is refused, and how the body is framed."""

from __future__ import annotations

from enum import Enum

import pytest

from greenserve.errors import InvalidResponse
from greenserve.http.body_writer import BodyWriter, ChunkedWriter, CloseWriter, LengthWriter
from greenserve.http.response import DefaultHeaders, check_switch, early_hints, response_head, trailers
from greenserve.http.response_headers import checked

from .support import Head

DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"
DEFAULTS = DefaultHeaders(date=DATE)
TEXT = ("Content-Type", "text/plain")


def make(
    status="200 OK",
    headers=(TEXT,),
    *,
    method="GET",
    http_version="1.1",
    keep_alive=True,
    body_length=5,
    defaults=DEFAULTS,
):
    section = checked(status, list(headers))
    return Head(*response_head(section, method == "HEAD", http_version, keep_alive, body_length, defaults))


def lines(head):
    assert head.data.endswith(b"\r\n\r\n")
    return head.data[:-4].decode("latin-1").split("\r\n")


def test_a_plain_response():
    head = make()
    assert lines(head) == [
        "HTTP/1.1 200 OK",
        "Content-Type: text/plain",
        "Server: greenserve",
        "Date: Sun, 06 Nov 1994 08:49:37 GMT",
        "Content-Length: 5",
    ]
    assert (head.framing, head.length, head.keep_alive) == (LengthWriter, 5, True)


def test_a_length_of_the_application_is_sent_once():
    head = make(headers=[TEXT, ("content-length", "5")])
    assert head.data.lower().count(b"content-length") == 1
    assert head.length == 5


def test_a_length_of_the_application_frames_a_body_of_unknown_length():
    head = make(headers=[("Content-Length", "7")], body_length=None)
    assert (head.framing, head.length) == (LengthWriter, 7)


def test_an_unknown_length_is_chunked():
    head = make(body_length=None)
    assert (head.framing, head.length, head.keep_alive) == (ChunkedWriter, None, True)
    assert "Transfer-Encoding: chunked" in lines(head)


def test_an_unknown_length_ends_an_http_1_0_connection():
    head = make(body_length=None, http_version="1.0")
    assert (head.framing, head.keep_alive) == (CloseWriter, False)
    assert "Connection: close" in lines(head)
    assert not any(line.startswith("Transfer-Encoding") for line in lines(head))


def test_keep_alive_is_said_to_http_1_0_and_close_to_both():
    assert "Connection: keep-alive" in lines(make(http_version="1.0"))
    assert "Connection: close" in lines(make(keep_alive=False))
    assert "Connection: close" in lines(make(keep_alive=False, http_version="1.0"))
    assert not any(line.startswith("Connection") for line in lines(make()))


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
@pytest.mark.parametrize("body_length", [None, 0, 5])
def test_no_body_and_no_framing(status, body_length):
    head = make(status, body_length=body_length)
    assert (head.framing, head.length, head.keep_alive) == (BodyWriter, None, True)
    assert not any(line.startswith(("Content-Length", "Transfer-Encoding")) for line in lines(head))


def test_204_drops_a_length_and_304_keeps_it():
    assert "Content-Length: 0" not in lines(make("204 No Content", [("Content-Length", "0")], body_length=0))
    assert "Content-Length: 9" in lines(make("304 Not Modified", [("Content-Length", "9")], body_length=0))


def test_205_of_unknown_length_has_none():
    head = make("205 Reset Content", body_length=None)
    assert "Content-Length: 0" in lines(head)
    assert (head.framing, head.length) == (LengthWriter, 0)
    assert not any(
        line.startswith("Transfer-Encoding") for line in lines(make("205 A", method="HEAD", body_length=None))
    )


def test_205_has_a_length_of_zero_and_nothing_else():
    head = make("205 Reset Content", body_length=0)
    assert "Content-Length: 0" in lines(head)
    assert head.length == 0
    with pytest.raises(InvalidResponse, match="205"):
        make("205 Reset Content", body_length=1)
    with pytest.raises(InvalidResponse, match="205"):
        make("205 Reset Content", [("Content-Length", "1")], body_length=None)


@pytest.mark.parametrize(
    ("headers", "body_length", "version", "line"),
    [
        ([("Content-Length", "9")], 0, "1.1", "Content-Length: 9"),
        ([("Content-Length", "9")], 4, "1.1", "Content-Length: 9"),
        ([], 4, "1.1", "Content-Length: 4"),
        ([], None, "1.1", "Transfer-Encoding: chunked"),
        ([], None, "1.0", None),
        ([], 0, "1.1", None),
    ],
)
def test_head_says_what_get_would_and_has_no_body(headers, body_length, version, line):
    head = make(headers=headers, method="HEAD", body_length=body_length, http_version=version)
    assert (head.framing, head.length, head.keep_alive) == (BodyWriter, None, True)
    framing = [other for other in lines(head) if other.startswith(("Content-Length", "Transfer-Encoding"))]
    assert framing == ([line] if line else [])


def test_date_and_server_of_the_application_stay():
    head = make(headers=[("Date", "then"), ("server", "mine")])
    assert [line for line in lines(head) if line.startswith(("Date", "Server", "server"))] == [
        "Date: then",
        "server: mine",
    ]


def test_connection_close_of_the_application_is_honoured():
    head = make(headers=[("Connection", "Close")])
    assert not head.keep_alive
    assert lines(head)[-1] == "Connection: close"


def test_connection_keep_alive_of_the_application_means_nothing():
    assert make(headers=[("Connection", "keep-alive")]).data == make(headers=[]).data
    assert not make(headers=[("Connection", "keep-alive")], keep_alive=False).keep_alive


def test_101_switches():
    head = make("101 Switching Protocols", [("Upgrade", "websocket"), ("Connection", "Upgrade")])
    assert lines(head) == [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Server: greenserve",
        "Date: Sun, 06 Nov 1994 08:49:37 GMT",
        "Connection: Upgrade",
    ]
    assert (head.framing, head.keep_alive) == (BodyWriter, False)  # no further request may be read from it


@pytest.mark.parametrize("headers", [[("Connection", "Upgrade")], [("Upgrade", "websocket")], []])
def test_101_names_what_it_switches_to(headers):
    with pytest.raises(InvalidResponse, match="101 needs the headers"):
        make("101 Switching Protocols", headers)


@pytest.mark.parametrize(
    ("upgrade", "offered", "flaw"),
    [
        ("websocket", ("websocket",), None),
        ("WebSocket", ("h2c", "websocket"), None),
        ("websocket", (), "asks for an upgrade"),
        ("websocket", ("h2c",), "the client offered"),
        ("websocket, h2c", ("h2c",), "the client offered"),
    ],
)
def test_101_switches_to_nothing_that_was_not_offered(upgrade, offered, flaw):
    section = checked("101 Switching Protocols", [("Connection", "Upgrade"), ("Upgrade", upgrade)])
    if flaw is None:
        check_switch(section, offered)
    else:
        with pytest.raises(InvalidResponse, match=flaw):
            check_switch(section, offered)


def test_426_names_what_to_upgrade_to():
    head = make("426 Upgrade Required", [("Upgrade", "websocket"), ("Connection", "upgrade")], keep_alive=False)
    assert "Upgrade: websocket" in lines(head)
    assert "Connection: Upgrade, close" in lines(head)


def test_latin_1_and_an_empty_reason():
    assert "HTTP/1.1 299 " in lines(make("299 "))
    head = make("200 Gr\xfcn", [("X", "\xe9\xff\t\x80")])
    assert b"HTTP/1.1 200 Gr\xfcn\r\n" in head.data
    assert b"X: \xe9\xff\t\x80\r\n" in head.data


@pytest.mark.parametrize(
    "status",
    [
        "200",
        "200OK",
        "2000 OK",
        "20 OK",
        "OK",
        "",
        " 200 OK",
        "200  OK",
        "200 OK ",
        "099 Low",
        "2O0 OK",
        "200 OK\r\nX: y",
        "200 O\x00K",
        "200 \u20ac",
        "\u0662\u0660\u0660 OK",
        "100 Continue",
        "103 Early Hints",
        b"200 OK",
        200,
        None,
        ["200 OK"],
    ],
)
def test_a_status_that_is_none(status):
    with pytest.raises(InvalidResponse):
        make(status)


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ([("X", "a\r\nY: b")], "X"),
        ([("X", "a\n")], "X"),
        ([("X", "a\rb")], "X"),
        ([("X", "a\x00")], "X"),
        ([("X", "a\x1f")], "X"),
        ([("X", "a\x7f")], "X"),
        ([("X", "\u20ac")], "latin-1"),
        ([("X\r\nY", "a")], "token"),
        ([("X Y", "a")], "token"),
        ([("X:", "a")], "token"),
        ([("", "a")], "token"),
        ([("X\xe9", "a")], "token"),
        ([(b"X", "a")], "str"),
        ([("X", b"a")], "str"),
        ([("X", 1)], "str"),
        ([("X", None)], "str"),
        ([("X",)], "tuple"),
        ([("X", "a", "b")], "tuple"),
        (["X: a"], "tuple"),
        ([["X", "a"]], "tuple"),
        (["Xa"], "tuple"),
        ([None], "tuple"),
        ([("Transfer-Encoding", "chunked")], "chunks"),
        ([("transfer-encoding", "gzip")], "Transfer-Encoding"),
        ([("Keep-Alive", "timeout=5")], "keep-alive"),
        ([("TE", "trailers")], "te"),
        ([("Proxy-Authenticate", "Basic")], "proxy-authenticate"),
        ([("Upgrade", "h2c")], "Upgrade"),
        ([("Connection", "Upgrade")], "Connection"),
        ([("Connection", "x-mine")], "Connection"),
        ([("Content-Length", "-1")], "Content-Length"),
        ([("Content-Length", "5, 5")], "Content-Length"),
        ([("Content-Length", "5" * 5000)], "Content-Length"),  # int() would raise an error of its own
        ([("Content-Length", "")], "Content-Length"),
        ([("Content-Length", "\u0665")], "latin-1"),
        ([("Content-Length", "\xb2")], "Content-Length"),
        ([("Content-Length", "5"), ("Content-Length", "6")], "twice"),
        ([("Content-Length", "6")], "5 bytes"),
        ([("Date", "a"), ("date", "b")], "Date"),
    ],
)
def test_headers_that_are_refused(headers, name):
    for _ in range(2):
        with pytest.raises(InvalidResponse, match=name):
            make(headers=headers)


def test_headers_that_are_no_list():
    with pytest.raises(InvalidResponse, match="list"):
        checked("200 OK", None)


def test_101_without_upgrade():
    with pytest.raises(InvalidResponse, match="101"):
        make("101 Switching Protocols", [])


def test_the_same_length_twice_is_sent_once():
    head = make(headers=[("Content-Length", "5"), ("Content-Length", "5")])
    assert head.data.count(b"Content-Length") == 1


def test_the_date_is_that_of_the_second():
    later = DEFAULTS.at(b"Sun, 06 Nov 1994 08:49:38 GMT")
    assert b"08:49:38" in make(defaults=later).data
    assert DATE in make().data


def test_server_and_date_can_be_left_out_and_server_renamed():
    assert lines(make(defaults=DefaultHeaders(None))) == [
        "HTTP/1.1 200 OK",
        "Content-Type: text/plain",
        "Content-Length: 5",
    ]
    assert "Server: Fridge/1 (kitchen)" in lines(make(defaults=DefaultHeaders("Fridge/1 (kitchen)")))
    assert "Date" not in make(defaults=DEFAULTS.at(None)).data.decode()


def test_default_headers_are_sent_unless_the_application_has_set_them():
    defaults = DefaultHeaders(others=[("X-Frame-Options", "DENY"), ("Link", "</a>"), ("Link", "</b>"), ("Frame", "x")])
    assert lines(make(defaults=defaults))[2:6] == [
        "Server: greenserve",
        "X-Frame-Options: DENY",
        "Link: </a>",
        "Link: </b>",
    ]
    own = lines(make(headers=[("x-frame-options", "SAMEORIGIN"), ("X-Link", "a: link: b")], defaults=defaults))
    assert "X-Frame-Options: DENY" not in own
    assert {"Link: </a>", "Link: </b>", "Frame: x", "x-frame-options: SAMEORIGIN"} <= set(own)
    assert "Link: </a>" not in lines(make(headers=[("Link", "</c>")], defaults=defaults))


def test_two_servers_of_a_process_keep_their_heads_apart():
    one, two = DefaultHeaders("one"), DefaultHeaders("two")
    for _ in range(2):
        assert b"Server: one" in make(defaults=one).data
        assert b"Server: two" in make(defaults=two).data


@pytest.mark.parametrize("header", [("Content-Length", "1"), ("a b", "c"), ("X", "a\r\nY: b"), ("Date", "x"), ("X", 1)])
def test_default_headers_are_checked(header):
    with pytest.raises(InvalidResponse):
        DefaultHeaders(others=[header])


def test_early_hints_are_a_whole_response():
    hints = [("Link", "</a.css>; rel=preload; as=style"), ("Link", "</b.js>; rel=preload; as=script")]
    assert early_hints(hints) == (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload; as=style\r\n"
        b"Link: </b.js>; rel=preload; as=script\r\n\r\n"
    )


@pytest.mark.parametrize(
    "headers",
    [
        [("Link", "</a>\r\n\r\nHTTP/1.1 200 OK")],
        [("Li nk", "</a>")],
        [("Link", b"</a>")],
        [["Link", "</a>"]],
        ["Link"],
        [("Content-Length", "5")],
        [("Transfer-Encoding", "chunked")],
        [("Connection", "close")],
        [("Upgrade", "h2c")],
    ],
)
def test_early_hints_and_trailers_are_checked_like_any_header(headers):
    with pytest.raises(InvalidResponse):
        early_hints(headers)
    with pytest.raises(InvalidResponse):
        trailers(headers, ("link", "li nk", "content-length", "transfer-encoding", "connection", "upgrade"))


def test_a_trailer_must_be_announced():
    head = make(headers=[TEXT, ("Trailer", "Server-Timing , X-Sum"), ("trailer", "X-Other")], body_length=5)
    assert head.framing is ChunkedWriter
    assert lines(head)[-2:] == ["Transfer-Encoding: chunked", "Trailer: server-timing, x-sum, x-other"]
    names = checked("200 OK", [TEXT, ("Trailer", "Server-Timing")])[-1].trailers
    assert trailers([("Server-Timing", "db;dur=5")], names) == b"Server-Timing: db;dur=5\r\n"
    with pytest.raises(InvalidResponse, match="X-Sum was not announced"):
        trailers([("X-Sum", "1")], names)


def test_trailers_are_announced_only_where_there_is_room_for_them():
    """A body of a length that the application has set, HTTP/1.0, HEAD, and a status without content have none."""
    for made in (
        make(headers=[("Trailer", "X-Sum"), ("Content-Length", "5")]),
        make(headers=[("Trailer", "X-Sum")], http_version="1.0"),
        make(headers=[("Trailer", "X-Sum")], method="HEAD"),
        make("304 Not Modified", [("Trailer", "X-Sum")]),
    ):
        assert b"Trailer" not in made.data
    assert make(headers=[("Trailer", "X-Sum")], http_version="1.0").length == 5


@pytest.mark.parametrize("name", ["Content-Length", "Transfer-Encoding", "Host", "Set-Cookie", "Content-Type", "a b"])
def test_what_must_be_known_before_the_body_is_not_for_its_trailer(name):
    with pytest.raises(InvalidResponse):
        make(headers=[("Trailer", name)])


def test_a_subclass_of_str_is_a_str():
    class Text(str):
        __slots__ = ()

    assert "X: a" in lines(make(Text("200 OK"), [(Text("X"), Text("a"))]))


class Shown(str):
    """Text that shows itself as something else."""

    __slots__ = ()

    def __str__(self):
        return "x\r\nSet-Cookie: a=b"

    def __format__(self, spec):
        return "x\r\nSet-Cookie: a=b"

    def lower(self):
        return "x"


class ContentType(str, Enum):  # noqa: UP042 - as programs have it
    HTML = "text/html"
    OK = "200 OK"
    NAME = "Content-Type"


def test_members_of_an_enum_are_the_text_that_they_are():
    expected = make("200 OK", [("Content-Type", "text/html")])
    assert make(ContentType.OK, [(ContentType.NAME, ContentType.HTML)]).data == expected.data
    status = checked(ContentType.OK, [])[0]
    assert status == "200 OK"
    assert type(status) is str


def test_a_subclass_of_str_is_checked_and_sent_as_the_text_that_it_is():
    assert lines(make(Shown("200 OK"), [(Shown("X"), Shown("fine"))]))[:2] == ["HTTP/1.1 200 OK", "X: fine"]
    with pytest.raises(InvalidResponse):
        make("200 OK", [(Shown("Transfer-Encoding"), Shown("chunked"))])
    with pytest.raises(InvalidResponse):
        make("200 OK", [("X", Shown("a\r\nb"))])
    assert make("200 OK", [(Shown("Content-Length"), Shown("5"))]).length == 5
