"""What both sides agree on about permessage-deflate: our rules in front of wsproto, held against `websockets`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import InvalidHeaderFormat, NegotiationError
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, ServerPerMessageDeflateFactory
from websockets.headers import build_extension, parse_extension

from greenserve.websocket.protocol.deflate import DeflateParameters, PerMessageDeflate, accept_offers

PLAIN = DeflateParameters(
    server_no_context_takeover=False,
    client_no_context_takeover=False,
    server_max_window_bits=15,
    client_max_window_bits=15,
)
DEFAULT = DeflateParameters()


def accept(offer, wanted=PLAIN):
    return accept_offers(tuple(offer.split(", ")), wanted)[1] or None


def check_answer(answer, wanted):
    deflate = PerMessageDeflate(wanted)
    deflate.finalize(answer)
    return deflate.agreed


def offered(wanted):
    return f"permessage-deflate; {PerMessageDeflate(wanted).offer()}"


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
    agreed, _ = accept_offers(("permessage-deflate; server_max_window_bits=10",), wanted)
    assert agreed == DeflateParameters(server_max_window_bits=10, level=9, memory_level=2, threshold=7)


def parameters(smallest):
    return st.builds(
        DeflateParameters,
        server_no_context_takeover=st.booleans(),
        client_no_context_takeover=st.booleans(),
        server_max_window_bits=st.integers(smallest, 15),
        client_max_window_bits=st.integers(smallest, 15),
    )


@given(parameters(8), parameters(8))
def test_client_and_server_agree_whatever_each_wants(client, server):
    theirs, answer = accept_offers((offered(client),), server)
    ours = check_answer(answer, client)
    assert terms(ours) == terms(theirs)
    assert ours.server_max_window_bits <= min(client.server_max_window_bits, server.server_max_window_bits)


def terms(parameters):
    return (
        parameters.server_no_context_takeover,
        parameters.client_no_context_takeover,
        parameters.server_max_window_bits,
        parameters.client_max_window_bits,
    )


def their_terms(extension, *, client):
    server, ours = extension.remote_no_context_takeover, extension.local_no_context_takeover
    bits, our_bits = extension.remote_max_window_bits, extension.local_max_window_bits
    return (server, ours, bits, our_bits) if client else (ours, server, our_bits, bits)


# `websockets` does not know a window of 256 bytes.
bits_or_none = st.sampled_from([None, 9, 12, 15])
their_client = st.builds(
    ClientPerMessageDeflateFactory,
    server_no_context_takeover=st.booleans(),
    client_no_context_takeover=st.booleans(),
    server_max_window_bits=bits_or_none,
    client_max_window_bits=st.sampled_from([None, True, 9, 12, 15]),
)


@given(their_client, parameters(9))
def test_another_librarys_client_reads_our_answer_as_we_mean_it(client, server):
    agreed, answer = accept_offers((build_extension([(client.name, client.get_request_params())]),), server)
    [(name, params)] = parse_extension(answer)
    assert name == client.name
    assert their_terms(client.process_response_params(params, []), client=True) == terms(agreed)


their_server = st.builds(
    ServerPerMessageDeflateFactory,
    server_no_context_takeover=st.booleans(),
    client_no_context_takeover=st.booleans(),
    server_max_window_bits=bits_or_none,
    client_max_window_bits=bits_or_none,
)


@given(parameters(9), their_server)
def test_our_client_reads_another_librarys_answer_as_it_means_it(client, server):
    [(_, params)] = parse_extension(offered(client))
    answer, theirs = server.process_request_params(params, [])
    agreed = check_answer(build_extension([(server.name, answer)]), client)
    # RFC 7692 §7.1.1.2, §7.1.2.2: a client may want less for itself than the server asks of it
    assert terms(agreed)[::2] == their_terms(theirs, client=False)[::2]
    assert agreed.client_no_context_takeover >= theirs.remote_no_context_takeover
    assert agreed.client_max_window_bits <= theirs.remote_max_window_bits


pieces = st.sampled_from(
    [
        "server_no_context_takeover",
        "client_no_context_takeover",
        "server_max_window_bits",
        "client_max_window_bits",
        "=10",
        '="15"',
        " = 9",
        "=08",
        "=16",
        "=ten",
        "; ",
        ";",
        "x",
    ]
)


@given(st.lists(pieces, max_size=8).map("".join))
def test_an_offer_in_any_form_is_accepted_when_another_library_accepts_it(text):
    offer = f"permessage-deflate; {text}"
    try:
        [(_, params)] = parse_extension(offer)
        ServerPerMessageDeflateFactory().process_request_params(params, [])
    except (NegotiationError, InvalidHeaderFormat):
        assert accept(offer) is None
    else:
        assert accept(offer) is not None


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("permessage-deflate; client_max_window_bits", PLAIN),
        ("permessage-deflate; server_max_window_bits=7", PLAIN),
        ("permessage-deflate; server_max_window_bits=ten", PLAIN),
        ("permessage-deflate; foo", PLAIN),
        ("permessage-deflate; server_no_context_takeover; server_no_context_takeover", PLAIN),
        ("permessage-deflate", DeflateParameters(server_no_context_takeover=True, server_max_window_bits=15)),
        ("permessage-deflate", DeflateParameters(server_no_context_takeover=False, server_max_window_bits=10)),
        (
            "permessage-deflate; client_max_window_bits=12",
            DeflateParameters(server_no_context_takeover=False, server_max_window_bits=15, client_max_window_bits=10),
        ),
    ],
)
def test_an_answer_that_the_offer_does_not_allow_is_refused(answer, wanted):
    with pytest.raises(ValueError, match="does not allow"):
        check_answer(answer, wanted)
