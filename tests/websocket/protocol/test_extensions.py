from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.websocket.protocol.deflate import DeflateParameters
from greenserve.websocket.protocol.extensions import accept_deflate, check_answer, offer_deflate, parse_extensions

PLAIN = DeflateParameters(
    server_no_context_takeover=False,
    client_no_context_takeover=False,
    server_max_window_bits=15,
    client_max_window_bits=15,
)
DEFAULT = DeflateParameters()


def accept(offer, wanted=PLAIN):
    agreed = accept_deflate(parse_extensions([offer]), wanted)
    return None if agreed is None else agreed[1]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], []),
        (["foo"], [("foo", ())]),
        (["foo, bar;a;b=1"], [("foo", ()), ("bar", (("a", None), ("b", "1")))]),
        (["foo", " bar ; a = 1 "], [("foo", ()), ("bar", (("a", "1"),))]),
        ([", ,foo,, bar,"], [("foo", ()), ("bar", ())]),
        ([""], []),
        (['foo; a="1"; b="x\\y"'], [("foo", (("a", "1"), ("b", "xy")))]),
        (['foo; a="b\\,c"'], None),
        (['foo; a="b c"'], None),
        (['foo; a=""'], None),
        (["foo;"], None),
        (["foo; =1"], None),
        (["foo; a="], None),
        (["foo; a=1 2"], None),
        (["foo=1"], None),
        (["foo bar"], None),
        (["foo; a=b=c"], None),
        (["; a"], None),
        (["fo\x00o"], None),
        (['foo; a="1'], None),
    ],
)
def test_the_header_is_read_by_its_grammar(values, expected):
    if expected is None:
        with pytest.raises(ValueError, match="Sec-WebSocket-Extensions"):
            parse_extensions(values)
    else:
        assert parse_extensions(values) == expected


@given(st.text(alphabet='ab;=," \\\t-\x00é', max_size=30))
def test_any_header_is_read_or_refused_with_a_value_error(value):
    with suppress(ValueError):
        parse_extensions([value])


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        ("permessage-deflate", "permessage-deflate"),
        ("permessage-deflate; client_max_window_bits", "permessage-deflate"),
        ("permessage-deflate; client_max_window_bits=10", "permessage-deflate; client_max_window_bits=10"),
        ("permessage-deflate; client_max_window_bits=8", "permessage-deflate; client_max_window_bits=8"),
        ("permessage-deflate; server_max_window_bits=15", "permessage-deflate; server_max_window_bits=15"),
        ("permessage-deflate; server_max_window_bits=9", "permessage-deflate; server_max_window_bits=9"),
        ("permessage-deflate; server_max_window_bits=8", "permessage-deflate; server_max_window_bits=8"),
        ('permessage-deflate; server_max_window_bits="10"', "permessage-deflate; server_max_window_bits=10"),
        ("permessage-deflate; server_no_context_takeover", "permessage-deflate; server_no_context_takeover"),
        ("permessage-deflate; client_no_context_takeover", "permessage-deflate; client_no_context_takeover"),
        ("permessage-deflate; server_max_window_bits=1, permessage-deflate", "permessage-deflate"),
        ("x-webkit-deflate-frame, permessage-deflate", "permessage-deflate"),
        # RFC 7692 §7.1: an offer with any of these is declined.
        ("permessage-deflate; unknown", None),
        ("permessage-deflate; unknown=1", None),
        ("permessage-deflate; server_max_window_bits", None),
        ("permessage-deflate; server_max_window_bits=7", None),
        ("permessage-deflate; server_max_window_bits=16", None),
        ("permessage-deflate; server_max_window_bits=08", None),
        ("permessage-deflate; server_max_window_bits=ten", None),
        ("permessage-deflate; client_max_window_bits=16", None),
        ("permessage-deflate; server_no_context_takeover=1", None),
        ("permessage-deflate; client_no_context_takeover=true", None),
        ("permessage-deflate; server_no_context_takeover; server_no_context_takeover", None),
        ("permessage-deflate; client_max_window_bits; client_max_window_bits=10", None),
        ("permessage-deflate-2", None),
        ("", None),
    ],
)
def test_an_offer_is_accepted_as_it_stands_or_declined(offer, answer):
    assert accept(offer) == answer


def test_the_servers_own_wishes_stand_in_the_answer():
    wanted = DeflateParameters(server_max_window_bits=12, client_max_window_bits=11)
    flags = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    assert accept("permessage-deflate", wanted) == f"{flags}; server_max_window_bits=12"
    assert accept("permessage-deflate; server_max_window_bits=10", wanted) == f"{flags}; server_max_window_bits=10"
    # A client that did not name client_max_window_bits must not be given one (RFC 7692 §7.1.2.2).
    assert (
        accept("permessage-deflate; client_max_window_bits", wanted)
        == f"{flags}; server_max_window_bits=12; client_max_window_bits=11"
    )


def test_what_is_agreed_keeps_how_this_side_compresses():
    wanted = DeflateParameters(level=9, memory_level=2, threshold=7)
    agreed = accept_deflate(parse_extensions(["permessage-deflate; server_max_window_bits=10"]), wanted)
    assert agreed is not None
    assert agreed[0] == DeflateParameters(server_max_window_bits=10, level=9, memory_level=2, threshold=7)


parameters = st.builds(
    DeflateParameters,
    server_no_context_takeover=st.booleans(),
    client_no_context_takeover=st.booleans(),
    server_max_window_bits=st.integers(8, 15),
    client_max_window_bits=st.integers(8, 15),
)


@given(parameters, parameters)
def test_client_and_server_agree_whatever_each_wants(client, server):
    agreed = accept_deflate(parse_extensions([offer_deflate(client)]), server)
    assert agreed is not None
    theirs, answer = agreed
    ours = check_answer(parse_extensions([answer]), client)
    assert ours is not None
    assert ours.server_no_context_takeover is theirs.server_no_context_takeover
    assert ours.client_no_context_takeover is theirs.client_no_context_takeover
    assert ours.server_max_window_bits == theirs.server_max_window_bits
    assert ours.client_max_window_bits == theirs.client_max_window_bits
    assert ours.server_max_window_bits <= min(client.server_max_window_bits, server.server_max_window_bits)


def test_no_answer_means_no_compression():
    assert check_answer([], DEFAULT) is None
    assert check_answer([], None) is None


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("permessage-deflate", None),
        ("foo", PLAIN),
        ("permessage-deflate, permessage-deflate", PLAIN),
        ("permessage-deflate; client_max_window_bits", PLAIN),
        ("permessage-deflate; server_max_window_bits=7", PLAIN),
        ("permessage-deflate; foo", PLAIN),
        ("permessage-deflate", DeflateParameters(server_no_context_takeover=True, server_max_window_bits=15)),
        ("permessage-deflate", DeflateParameters(server_no_context_takeover=False, server_max_window_bits=10)),
        (
            "permessage-deflate; client_max_window_bits=12",
            DeflateParameters(server_no_context_takeover=False, server_max_window_bits=15, client_max_window_bits=10),
        ),
    ],
)
def test_an_answer_that_the_offer_does_not_allow_is_refused(answer, wanted):
    with pytest.raises(ValueError, match="server"):
        check_answer(parse_extensions([answer]), wanted)
