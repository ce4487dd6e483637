"""Accept-Encoding: which coding a client likes best."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.http import accept
from greenserve.http.accept import accepted_codings, weights

KNOWN = ("br", "zstd", "gzip", "identity")


@pytest.mark.parametrize(
    ("value", "codings"),
    [
        (None, ["identity"]),
        ("", ["identity"]),
        ("gzip", ["gzip", "identity"]),
        ("gzip, deflate, br, zstd", ["br", "zstd", "gzip", "identity"]),
        ("GZIP;Q=1.0", ["gzip", "identity"]),
        ("gzip;q=1.0, br;q=0.5", ["gzip", "br", "identity"]),
        ("gzip ; q=0.5 , br ; q=0.9", ["br", "gzip", "identity"]),
        ("gzip;q=0", ["identity"]),
        ("identity", ["identity"]),
        ("identity, gzip;q=0.5", ["identity", "gzip"]),
        ("gzip, identity;q=0", ["gzip"]),
        ("identity;q=0", []),
        ("*;q=0", []),
        ("*", ["br", "zstd", "gzip", "identity"]),
        ("*;q=0, gzip", ["gzip"]),
        ("*;q=0, identity;q=0.001", ["identity"]),
        ("br;q=0, *", ["zstd", "gzip", "identity"]),
        ("gzip;q=2", ["identity"]),
        ("gzip;q=0.1234", ["identity"]),
        ("gzip;q=", ["identity"]),
        ("gzip;q=-1", ["identity"]),
        ("gzip;level=9;q=0.5", ["gzip", "identity"]),
        (",,;q=1,", ["identity"]),
        ("gzip;q=0, gzip;q=1", ["identity"]),  # the first one counts
        ("unknown", ["identity"]),
    ],
)
def test_the_best_coding_is_first(value, codings):
    assert accepted_codings(value, KNOWN) == tuple(codings)


@given(st.text(alphabet="gzipbr*, ;q=01.identy", max_size=60))
def test_whatever_the_field_holds_weights_are_from_0_to_1(text):
    assert all(name and 0 <= weight <= 1 for name, weight in weights(text).items())
    codings = accepted_codings(text, KNOWN)
    assert len(set(codings)) == len(codings)
    assert set(codings) <= set(KNOWN)


def test_what_a_client_makes_long_is_not_kept():
    before = accept._accepted_kept.cache_info().currsize
    for n in range(300):
        assert accepted_codings("x" * 1000 + str(n), KNOWN) == ("identity",)
    assert accept._accepted_kept.cache_info().currsize == before


def test_a_member_with_many_parameters_is_read_up_to_some():
    assert weights("a" + ";b" * 100_000 + ";q=0.5, c;q=0.5") == {"a": 1.0, "c": 0.5}
