"""Conditional requests: RFC 9110 §13, and the order in which its conditions count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.http import conditions
from greenserve.http.conditions import Validators, failed_condition, format_date, parse_date, range_holds

NOW = 784111777
DATE, EARLIER, LATER = (format_date(NOW + seconds) for seconds in (0, -1, 1))
STRONG, WEAK = Validators('"a"', NOW), Validators('W/"a"', NOW)


def fields(**given):
    return {f"HTTP_{name.upper()}": value for name, value in given.items()}


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (fields(), 0),
        (fields(if_none_match='"a"'), 304),
        (fields(if_none_match='W/"a"'), 304),
        (fields(if_none_match='"b", "a"'), 304),
        (fields(if_none_match='"b",W/"c" , ,"a"'), 304),
        (fields(if_none_match="*"), 304),
        (fields(if_none_match='"b"'), 0),
        (fields(if_none_match="a"), 0),
        (fields(if_none_match='"a" "b"'), 0),
        (fields(if_none_match='"b, "a"'), 0),
        (fields(if_modified_since=DATE), 304),
        (fields(if_modified_since=LATER), 304),
        (fields(if_modified_since=EARLIER), 0),
        (fields(if_modified_since="yesterday"), 0),
        (fields(if_match='"a"'), 0),
        (fields(if_match="*"), 0),
        (fields(if_match='"b"'), 412),
        (fields(if_match='W/"a"'), 412),
        (fields(if_match=""), 412),
        (fields(if_unmodified_since=DATE), 0),
        (fields(if_unmodified_since=EARLIER), 412),
        (fields(if_unmodified_since="yesterday"), 0),
        # RFC 9110 §13.2.2: tags before dates, and what protects a change before what spares a transfer
        (fields(if_match='"a"', if_unmodified_since=EARLIER), 0),
        (fields(if_match='"b"', if_none_match='"a"'), 412),
        (fields(if_none_match='"b"', if_modified_since=DATE), 0),
        (fields(if_none_match='"a"', if_modified_since=EARLIER), 304),
        (fields(if_unmodified_since=EARLIER, if_none_match='"a"'), 412),
        (fields(if_match="*", if_none_match='"a"'), 304),
    ],
)
def test_which_condition_counts(given, status):
    assert failed_condition(given, True, STRONG) == status


def test_a_method_that_changes_something_is_refused_where_get_is_answered_briefly():
    assert failed_condition(fields(if_none_match="*"), False, STRONG) == 412
    assert failed_condition(fields(if_modified_since=DATE), False, STRONG) == 0


def test_a_weak_tag_says_not_modified_but_allows_no_change():
    assert failed_condition(fields(if_none_match='"a"'), True, WEAK) == 304
    assert failed_condition(fields(if_match='W/"a"'), True, WEAK) == 412
    assert failed_condition(fields(if_match="*"), True, WEAK) == 0


@pytest.mark.parametrize(
    ("value", "validators", "holds"),
    [
        (None, WEAK, True),
        ('"a"', STRONG, True),
        ('"b"', STRONG, False),
        ('W/"a"', STRONG, False),
        ('"a"', WEAK, False),
        ('W/"a"', WEAK, False),
        (DATE, STRONG, True),
        (LATER, STRONG, False),  # exactly the date, or another file
        (EARLIER, STRONG, False),
        (DATE, WEAK, False),
        ("nonsense", STRONG, False),
        ("nonsense", Validators('"a"', None), False),
    ],
)
def test_a_range_counts_only_for_the_very_same_octets(value, validators, holds):
    assert range_holds(value, validators) is holds


@pytest.mark.parametrize(
    "text", ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
)
def test_a_date_has_three_forms(text):
    assert parse_date(text) == NOW


@given(st.one_of(st.text(max_size=40), st.text(alphabet="SunFriNov 0123456789:,-GMT+", max_size=40)))
def test_any_text_is_a_date_or_none(text):
    assert isinstance(parse_date(text), int | None)


@given(st.integers(0, 253402300799))
def test_a_date_that_was_written_is_read(moment):
    assert parse_date(format_date(moment)) == moment


@given(st.text(alphabet='"W/a, *\\\x7f\x80', max_size=30))
def test_a_list_of_tags_that_is_wrong_names_nothing(text):
    if '"a"' not in text and text.strip(" \t") != "*":
        assert failed_condition(fields(if_none_match=text), True, STRONG) == 0


def test_a_long_text_is_not_a_date_and_is_not_kept():
    before = conditions._parse_date.cache_info().currsize
    assert parse_date(DATE + " " * 100) is None
    assert conditions._parse_date.cache_info().currsize == before
