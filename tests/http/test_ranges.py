"""Range: which octets are asked for, whatever is in the field."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.http.ranges import GAP, MAX_RANGES, parse_range


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("bytes=0-0", [(0, 1)]),
        ("bytes=0-499", [(0, 500)]),
        ("bytes=500-", [(500, 1000)]),
        ("bytes=-1", [(999, 1000)]),
        ("bytes=-5000", [(0, 1000)]),
        ("bytes=0-5000", [(0, 1000)]),
        ("BYTES = 1-2", [(1, 3)]),
        ("bytes=\t0-1 ,, 900-901,", [(0, 2), (900, 902)]),
        ("bytes=900-901,0-1", [(900, 902), (0, 2)]),  # in the order in which they were asked for
        ("bytes=0-0,-1", [(0, 1), (999, 1000)]),
        ("bytes=0-99,50-149", [(0, 150)]),
        ("bytes=50-149,0-99", [(0, 150)]),
        ("bytes=0-99,100-199", [(0, 200)]),
        ("bytes=0-99,150-199", [(0, 200)]),  # the head of a part is longer than the gap
        ("bytes=0-9,200-209,400-409,5-405", [(0, 410)]),
        ("bytes=1000-", []),
        ("bytes=1000-1001,2000-", []),
        ("bytes=-0", []),
        ("bytes=5-6,1000-", [(5, 7)]),
        ("bytes=9999999999999999999-", []),
    ],
)
def test_the_parts_that_a_field_asks_for(value, parts):
    assert parse_range(value, 1000) == parts


@pytest.mark.parametrize(
    "value",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=,",
        "bytes=-",
        "bytes=2-1",
        "bytes=0-1,2-1",
        "bytes=a-b",
        "bytes=0-1;2-3",
        "bytes=+1-2",
        "bytes=1 - 2",
        "bytes=0x1-2",
        "bytes=٣-٤",
        "bytes=" + "9" * 20 + "-",
        "lines=0-1",
        "bytes=" + "0-0," * MAX_RANGES,
        "bytes=" + ",".join(f"{n}-" for n in range(MAX_RANGES + 1)),
    ],
)
def test_a_field_that_is_ignored(value):
    assert parse_range(value, 1000) is None


def test_of_an_empty_file_there_is_no_part():
    assert parse_range("bytes=0-", 0) == []
    assert parse_range("bytes=-1", 0) == []


@given(st.integers(0, 3000), st.text(alphabet="0123456789-,= bytes", max_size=60))
def test_whatever_the_field_holds_each_octet_is_asked_for_once(size, text):
    for value in (text, f"bytes={text}"):
        parts = parse_range(value, size) or []
        assert all(0 <= start < end <= size for start, end in parts)
        ordered = sorted(parts)
        assert all(end + GAP < start for (_, end), (start, _) in itertools.pairwise(ordered))


@given(st.integers(1, 3000), st.lists(st.tuples(st.integers(0, 3500), st.integers(0, 500)), min_size=1, max_size=20))
def test_what_is_asked_for_is_given(size, asked):
    parts = parse_range("bytes=" + ",".join(f"{at}-{at + more}" for at, more in asked), size)
    wanted = {octet for at, more in asked for octet in range(at, min(size, at + more + 1))}
    given_octets = {octet for start, end in parts for octet in range(start, end)}
    assert wanted <= given_octets
    assert len(given_octets) == sum(end - start for start, end in parts)
    assert len(given_octets - wanted) <= GAP * len(asked)
