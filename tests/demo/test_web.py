"""Parameters: whatever a client writes is either within its limits or refused."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.demo.web import Refused, Request
from tests.demo.support import environ_of


def request(**parameters: str) -> Request:
    query = "&".join(f"{name}={quote(value)}" for name, value in parameters.items())
    return Request(environ_of("GET", f"/?{query}"))


def outcome(parse: Callable[[], float]) -> tuple[float, Refused | None]:
    try:
        return parse(), None
    except Refused as refusal:
        return 0, refusal


written = st.one_of(st.text(max_size=50), st.floats().map(str), st.integers().map(str))


@given(written)
def test_a_number_is_within_its_limits_or_refused(value: str) -> None:
    number, refusal = outcome(lambda: request(seconds=value).number("seconds", 2.0, 0.0, 10.0))
    if refusal is None:
        assert 0.0 <= number <= 10.0
        assert number == float(value)
    else:
        assert refusal.status == "400 Bad Request"
        assert "from 0 to 10" in refusal.text


@given(written)
def test_an_integer_is_within_its_limits_or_refused(value: str) -> None:
    number, refusal = outcome(lambda: request(n=value).integer("n", 200, 1, 1000))
    if refusal is None:
        assert 1 <= number <= 1000
        assert number == int(value)
    else:
        assert "from 1 to 1000" in refusal.text


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "1e1", "٣", "", " 1", "1_0", "10.001", "1" * 5000])
def test_odd_spellings_of_numbers_are_refused(value: str) -> None:
    with pytest.raises(Refused, match="seconds="):
        request(seconds=value).number("seconds", 2.0, 0.0, 10.0)


def test_a_refusal_quotes_no_more_than_the_beginning() -> None:
    with pytest.raises(Refused) as refusal:
        request(n="9" * 5000).integer("n", 1, 1, 2)
    assert len(refusal.value.text) < 120


def test_an_absent_parameter_has_its_default() -> None:
    assert request().number("seconds", 2.0, 0.0, 10.0) == 2.0
    assert request().integer("n", 200, 1, 1000) == 200
    assert request().token("id") is None


@pytest.mark.parametrize("value", ["", "a b", "ü", "x" * 65, "../a"])
def test_a_token_has_letters_digits_and_dashes_only(value: str) -> None:
    with pytest.raises(Refused, match="64 letters"):
        request(id=value).token("id")
