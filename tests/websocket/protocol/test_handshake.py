from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.errors import ProtocolError
from greenserve.websocket.protocol.deflate import DeflateParameters
from greenserve.websocket.protocol.errors import HandshakeFailed, HandshakeRejected
from greenserve.websocket.protocol.handshake import (
    CLIENT_DEFLATE,
    Agreement,
    ClientHandshake,
    accept_upgrade,
    check_origin,
    read_upgrade,
    select_subprotocol,
    wants_websocket,
)

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 §1.3
PLAIN = {
    "host": "server.example.com",
    "upgrade": "websocket",
    "connection": "Upgrade",
    "sec-websocket-key": KEY,
    "sec-websocket-version": "13",
}


def headers(**changes):
    """The plain request's headers with changes: None removes a field, a list repeats it."""
    fields = PLAIN | {name.replace("_", "-"): value for name, value in changes.items()}
    pairs = []
    for name, value in fields.items():
        values = value if isinstance(value, list) else [] if value is None else [value]
        pairs += [(name, each) for each in values]
    return pairs


def request(**changes):
    return read_upgrade("GET", "1.1", headers(**changes))


def rejection(method="GET", version="1.1", **changes):
    with pytest.raises(HandshakeRejected) as caught:
        read_upgrade(method, version, headers(**changes))
    return caught.value


def test_a_plain_request_is_accepted_with_the_response_of_the_rfc():
    accepted = accept_upgrade(request())
    assert accepted.response == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )
    assert accepted.subprotocol is None
    assert accepted.deflate is None


@pytest.mark.parametrize(
    "changes",
    [
        {"upgrade": "WebSocket"},
        {"upgrade": "h2c, websocket"},
        {"connection": "keep-alive, Upgrade"},
        {"connection": ["keep-alive", "upgrade"]},
        {"sec_websocket_version": " 13 "},
        {"sec_websocket_key": "AAAAAAAAAAAAAAAAAAAAAA=="},
        {"host": None},
        {"content_length": "0"},
    ],
)
def test_other_spellings_of_a_valid_request_are_accepted(changes):
    assert request(**changes).key in {KEY, "AAAAAAAAAAAAAAAAAAAAAA=="}


@pytest.mark.parametrize(
    ("status", "changes"),
    [
        (426, {"upgrade": None}),
        (426, {"upgrade": "h2c"}),
        (405, {"method": "POST"}),
        (400, {"version": "1.0"}),
        (400, {"connection": None}),
        (400, {"connection": "keep-alive"}),
        (400, {"content_length": "8"}),
        (400, {"transfer_encoding": "chunked"}),
        (426, {"sec_websocket_version": None}),
        (426, {"sec_websocket_version": "8"}),
        (426, {"sec_websocket_version": "13, 8"}),
        (426, {"sec_websocket_version": ["13", "13"]}),
        (400, {"sec_websocket_key": None}),
        (400, {"sec_websocket_key": [KEY, KEY]}),
        (400, {"sec_websocket_key": ""}),
        (400, {"sec_websocket_key": "dGhlIHNhbXBsZSBub25jZQ"}),
        (400, {"sec_websocket_key": "dGhlIHNhbXBsZSBub25jZQAA"}),
        (400, {"sec_websocket_key": "dGhlIHNhbXBsZSBub25jZR=="}),
        (400, {"sec_websocket_key": "dGhlIHNhbXBsZSBub25j*Q=="}),
        (400, {"sec_websocket_protocol": "chat, chat"}),
        (400, {"sec_websocket_protocol": ["chat", "chat"]}),
        (400, {"sec_websocket_protocol": "ch@t"}),
        (400, {"sec_websocket_protocol": ",".join(map(str, range(5000)))}),
        (400, {"sec_websocket_extensions": "permessage-deflate;"}),
        (400, {"sec_websocket_extensions": ["a," * 300, "b," * 300]}),
        (400, {"origin": ["http://a.example", "http://b.example"]}),
    ],
)
def test_an_invalid_request_is_rejected_with_an_http_response(status, changes):
    refused = rejection(**changes)
    assert refused.status == status
    assert isinstance(refused, ProtocolError)
    assert ("Content-Length", str(len(refused.body))) in refused.response_headers
    assert refused.body.decode().strip() == str(refused)
    assert refused.status_line.startswith(f"{status} ")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["foo"], ("foo",)),
        (["foo, bar;a;b=1"], ("foo", "bar;a;b=1")),
        (["foo", " bar ; a = 1 "], ("foo", "bar ; a = 1")),
        ([", ,foo,, bar,"], ("foo", "bar")),
        ([""], ()),
        (['foo; a="1"; b="x\\y"'], ('foo; a="1"; b="x\\y"',)),
        (['foo; a="b\\,c"'], None),
        (['foo; a="b c"'], None),
        (['foo; a=""'], None),
        (['foo; a="1'], None),
        (["foo;"], None),
        (["foo; =1"], None),
        (["foo; a="], None),
        (["foo; a=1 2"], None),
        (["foo=1"], None),
        (["foo bar"], None),
        (["foo; a=b=c"], None),
        (["; a"], None),
        (["fo\x00o"], None),
        (["föö"], None),
    ],
)
def test_extensions_are_read_by_their_grammar(values, expected):
    if expected is None:
        assert rejection(sec_websocket_extensions=values).status == 400
    else:
        assert request(sec_websocket_extensions=values).extensions == expected


def test_a_rejection_names_what_would_be_accepted():
    assert ("Sec-WebSocket-Version", "13") in rejection(sec_websocket_version="8").headers
    assert ("Upgrade", "websocket") in rejection(upgrade=None).headers
    assert ("Allow", "GET") in rejection(method="PUT").headers


def test_only_a_request_that_names_websocket_wants_one():
    assert wants_websocket(headers())
    assert not wants_websocket(headers(upgrade="h2c"))
    assert not wants_websocket(headers(upgrade=None))
    assert not wants_websocket(headers(upgrade="websockets"))


@pytest.mark.parametrize(
    ("origin", "allowed", "passes"),
    [
        (None, ["same-origin"], True),
        (None, [], True),
        ("https://evil.example", ["*"], True),
        ("https://evil.example", [], False),
        ("https://evil.example", ["same-origin"], False),
        ("https://server.example.com", ["same-origin"], True),
        ("HTTPS://Server.Example.com:443", ["same-origin"], True),
        ("http://server.example.com", ["same-origin"], False),
        ("http://server.example.com:80", ["same-origin"], False),
        ("http://server.example.com:443", ["same-origin"], False),
        ("https://server.example.com:80", ["same-origin"], False),
        ("wss://server.example.com", ["same-origin"], False),
        ("http://server.example.com:8080", ["same-origin"], False),
        ("https://server.example.com.evil.example", ["same-origin"], False),
        ("https://evil.example/server.example.com", ["same-origin"], False),
        ("https://server.example.com@evil.example", ["same-origin"], False),
        ("null", ["same-origin"], False),
        ("null", ["null"], True),
        ("same-origin", ["same-origin"], False),
        ("https://a.example", ["https://a.example"], True),
        ("https://a.example", ["https://b.example", "https://A.example:443"], True),
        ("http://a.example", ["https://a.example"], False),
        ("https://a.example:444", ["https://a.example"], False),
        ("", ["same-origin"], False),
    ],
)
def test_only_pages_of_allowed_origins_may_connect(origin, allowed, passes):
    asked = request(origin=origin)
    if passes:
        check_origin(asked, allowed, "https")
    else:
        with pytest.raises(HandshakeRejected) as caught:
            check_origin(asked, allowed, "https")
        assert caught.value.status == 403


@pytest.mark.parametrize(
    ("origin", "host", "passes"),
    [
        ("http://localhost:", "localhost", True),
        ("http://localhost:65536", "localhost:65536", True),
        ("http://localhost:999999", "localhost:999999", True),
        ("http://localhost:0080", "localhost", True),
        ("http://localhost:\u0661", "localhost:1", False),
        ("http://localhost", "local host", False),
        ("http://a.example", "a.example@evil.example", False),
        ("http://localhost:8000", "localhost:8000", True),
        ("http://localhost:8000", "LOCALHOST:8000", True),
        ("http://localhost", "localhost:80", True),
        ("https://localhost", "localhost:443", False),
        ("https://localhost", "localhost:80", False),
        ("http://[::1]:8000", "[::1]:8000", True),
        ("http://[::1]", "[::1]:80", True),
        ("http://localhost:8000", None, False),
        ("http://localhost:8000", ["localhost:8000", "localhost:8000"], False),
    ],
)
def test_same_origin_compares_host_and_port_with_the_host_field(origin, host, passes):
    asked = request(origin=origin, host=host)
    if passes:
        check_origin(asked, ["same-origin"], "http")
    else:
        with pytest.raises(HandshakeRejected):
            check_origin(asked, ["same-origin"], "http")


def test_a_refused_origin_is_shown_without_what_would_steer_a_terminal():
    asked = request(origin="http://x\x1b[2J\x9b\x85" + "y" * 60_000)
    with pytest.raises(HandshakeRejected) as caught:
        check_origin(asked, ["same-origin"], "http")
    said = str(caught.value)
    assert said.isprintable()
    assert said.isascii()
    assert len(said) < 1000


def test_subprotocols_are_read_in_the_clients_order_and_chosen_in_the_servers():
    asked = request(sec_websocket_protocol=["soap, wamp", "chat"])
    assert asked.subprotocols == ("soap", "wamp", "chat")
    assert select_subprotocol(asked.subprotocols, ["chat", "soap"]) == "chat"
    assert select_subprotocol(asked.subprotocols, ["other"]) is None
    assert b"\r\nSec-WebSocket-Protocol: chat\r\n" in accept_upgrade(asked, subprotocol="chat").response


def test_a_subprotocol_that_was_not_offered_cannot_be_accepted():
    with pytest.raises(ValueError, match="did not offer"):
        accept_upgrade(request(), subprotocol="chat")


def test_compression_is_agreed_when_both_want_it():
    asked = request(sec_websocket_extensions="permessage-deflate; client_max_window_bits")
    accepted = accept_upgrade(asked, deflate=DeflateParameters())
    assert accepted.deflate == DeflateParameters()
    assert b"\r\nSec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover;" in accepted.response
    assert accept_upgrade(asked).deflate is None
    assert b"Extensions" not in accept_upgrade(asked).response


def test_further_headers_stand_in_the_response_but_cannot_split_it():
    assert b"\r\nSet-Cookie: a=b\r\n" in accept_upgrade(request(), headers=[("Set-Cookie", "a=b")]).response
    for name, value in (("X", "a\r\nY: b"), ("X\r\nY", "b"), ("X", "a\x00"), ("", "a"), ("X:", "a")):
        with pytest.raises(ValueError, match="header"):
            accept_upgrade(request(), headers=[(name, value)])


class Shown(str):
    """Text that shows itself as something else, as a member of an Enum does."""

    __slots__ = ()

    def __str__(self):
        return "x\r\nSet-Cookie: a=b"

    def __format__(self, spec):
        return "x\r\nSet-Cookie: a=b"


def test_what_an_application_names_is_sent_as_the_text_that_it_is():
    accepted = accept_upgrade(
        request(sec_websocket_protocol="chat"), subprotocol=Shown("chat"), headers=[(Shown("X"), Shown("y"))]
    )
    assert accepted.response.endswith(b"\r\nSec-WebSocket-Protocol: chat\r\nX: y\r\n\r\n")


@given(st.lists(st.tuples(st.sampled_from(sorted(PLAIN)), st.text(max_size=20)), max_size=4))
def test_any_headers_are_accepted_or_rejected_but_never_crash(extra):
    with suppress(HandshakeRejected):
        accept_upgrade(read_upgrade("GET", "1.1", headers() + extra), deflate=DeflateParameters())


def parse(data):
    head, _, rest = data.partition(b"\r\n\r\n")
    assert rest == b""
    first, *lines = head.decode("latin-1").split("\r\n")
    return first, [(name.lower(), value) for name, value in (line.split(": ", 1) for line in lines)]


def open_both(deflate=None, server_deflate=None, **options):
    ours = ClientHandshake("server.example.com", "/chat?a=1", deflate=deflate, **options)
    line, fields = parse(ours.request)
    assert line == "GET /chat?a=1 HTTP/1.1"
    asked = read_upgrade("GET", "1.1", fields)
    subprotocol = asked.subprotocols[0] if asked.subprotocols else None
    accepted = accept_upgrade(asked, subprotocol=subprotocol, deflate=server_deflate)
    ours.receive(accepted.response)
    return accepted, ours.outcome


def test_our_client_and_our_server_understand_each_other():
    theirs, ours = open_both(
        DeflateParameters(), DeflateParameters(), subprotocols=["chat"], origin="http://x", headers=[("cookie", "a=b")]
    )
    assert ours.subprotocol == theirs.subprotocol == "chat"
    assert ours.deflate == theirs.deflate == DeflateParameters()
    assert open_both()[1].deflate is None


def test_keys_are_random():
    assert len({dict(parse(ClientHandshake("h", "/").request)[1])["sec-websocket-key"] for _ in range(50)}) == 50


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (("h", "/a b"), {}),
        (("h", "/é"), {}),
        (("h", "/a\r\nb"), {}),
        (("h\r\nX: y", "/"), {}),
        (("a..b", "/"), {}),
        (("h", "/"), {"subprotocols": ["a b"]}),
        (("h", "/"), {"subprotocols": ["a", "a"]}),
        (("h", "/"), {"headers": [("a b", "c")]}),
        (("h", "/"), {"headers": [("é", "c")]}),
        (("h", "/"), {"headers": [("a", "€")]}),
        (("h", "/"), {"headers": [("Host", "g")]}),
        (("h", "/"), {"origin": "http://x\n"}),
    ],
)
def test_a_request_that_cannot_be_sent_is_a_value_error(arguments, options):
    with pytest.raises(ValueError, match=r"no request can be made|subprotocols"):
        ClientHandshake(*arguments, **options)


def test_a_request_carries_text_beyond_ascii_where_http_can():
    request = ClientHandshake("bücher.example:8000", "/", headers=[("X", "é")]).request
    assert b"\r\nHost: xn--bcher-kva.example:8000\r\n" in request
    assert b"\r\nX: \xe9\r\n" in request


def answer(handshake, status=101, **changes):
    """A server's answer that accepts, with changes as of `headers`; `handshake` receives it. Returns its outcome."""
    key = dict(parse(handshake.request)[1])["sec-websocket-key"]
    accepted = accept_upgrade(request(sec_websocket_key=key)).response.decode()
    fields = dict(parse(accepted.encode())[1]) | {name.replace("_", "-"): value for name, value in changes.items()}
    lines = [f"HTTP/1.1 {status} X"]
    for name, value in fields.items():
        values = value if isinstance(value, list) else [] if value is None else [value]
        lines += [f"{name}: {each}" for each in values]
    handshake.receive("\r\n".join([*lines, "", ""]).encode("latin-1"))
    return handshake.outcome


def client(**options):
    return ClientHandshake("h", "/", subprotocols=["chat", "chat2"], **options)


KEY_ACCEPTED = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # the answer to another key


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"upgrade": "h2c"}, "Upgrade"),
        ({"upgrade": None}, "Upgrade"),
        ({"connection": "close"}, "Upgrade"),
        ({"sec_websocket_accept": KEY_ACCEPTED}, "accept token"),
        ({"sec_websocket_accept": ""}, "accept token"),
        ({"sec_websocket_accept": None}, "accept token"),
        ({"sec_websocket_accept": [KEY_ACCEPTED, KEY_ACCEPTED]}, "sec-websocket-accept is there twice"),
        ({"sec_websocket_protocol": "other"}, "other"),
        ({"sec_websocket_protocol": "chat, chat2"}, "subprotocol"),
        ({"sec_websocket_protocol": ["chat", "chat2"]}, "sec-websocket-protocol is there twice"),
        ({"sec_websocket_extensions": "foo"}, "foo"),
        ({"sec_websocket_extensions": "foo;"}, "foo"),
        ({"sec_websocket_extensions": "permessage-deflate; foo"}, "does not allow"),
        ({"sec_websocket_extensions": "permessage-deflate; server_max_window_bits=ten"}, "does not allow"),
        ({"sec_websocket_extensions": "permessage-deflate, permessage-deflate"}, "does not allow"),
        ({"sec_websocket_extensions": ["permessage-deflate", "foo"]}, "sec-websocket-extensions is there twice"),
        ({"sec_websocket_extensions": "grüße"}, "ascii"),
        ({"x": "a\x00b"}, "illegal header"),
    ],
)
def test_an_answer_that_is_no_acceptance_is_refused_and_says_why(changes, named):
    with pytest.raises(HandshakeFailed, match=named) as caught:
        answer(client(), **changes)
    assert caught.value.status == 101
    assert dict(caught.value.headers).keys() >= {name.replace("_", "-") for name, value in changes.items() if value}


def test_the_reason_of_a_refusal_is_its_own_also_while_another_error_is_handled():
    try:
        raise KeyError(3000)
    except KeyError:
        with pytest.raises(HandshakeFailed, match="Upgrade"):
            answer(client(), upgrade="h2c")


def test_an_answer_to_an_offer_that_was_not_made_is_refused():
    with pytest.raises(HandshakeFailed, match="permessage-deflate"):
        answer(client(deflate=None), sec_websocket_extensions="permessage-deflate")


@pytest.mark.parametrize("status", [200, 403])
def test_any_other_status_is_a_refusal(status):
    refusal = answer(client(), status=status)
    assert isinstance(refusal, HandshakeFailed)
    assert refusal.status == status
    assert str(status) in str(refusal)


def test_what_was_chosen_is_what_was_offered():
    assert answer(client(), sec_websocket_protocol="chat2") == Agreement("chat2", None)
    assert answer(client(), sec_websocket_extensions='permessage-deflate; server_max_window_bits="10"').deflate == (
        replace(CLIENT_DEFLATE, server_max_window_bits=10)
    )


def test_interim_responses_in_any_pieces_are_passed_over_and_frames_behind_the_answer_are_kept():
    handshake = client()
    for octet in b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n":
        handshake.receive(bytes([octet]))
    assert handshake.outcome is None
    accepted = accept_upgrade(request(sec_websocket_key=dict(parse(handshake.request)[1])["sec-websocket-key"]))
    handshake.receive(accepted.response + b"\x81\x02hi")
    assert handshake.outcome == Agreement(None, None)
    assert handshake.early == b"\x81\x02hi"


@given(
    st.lists(
        st.sampled_from(
            [
                b"HTTP/1.1 101 X\r\n",
                b"HTTP/1.1 103 X\r\n",
                b"HTTP/1.1 200 X\r\n",
                b"\r\n",
                b"a: b\r\n",
                b"connection: upgrade\r\n",
                b"upgrade: websocket\r\n",
                b"transfer-encoding: chunked\r\n",
                b"content-length: 1\r\n",
                b"1\r\n",
                b"\xff",
                b"",
                b"sec-websocket-accept: \xe9\r\n",
            ]
        )
    )
)
def test_any_answer_is_an_outcome_or_a_failure_but_never_crashes(pieces):
    handshake = client()
    with suppress(HandshakeFailed):
        for piece in pieces:
            handshake.receive(piece)
            if handshake.complete:
                break
