"""Which entry serves a name: exact before wildcard, a wildcard for one whole label, the first one for all else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.tls.names import NameTable, normal

TABLE = NameTable(
    [
        ("first", ["a.example", "b.example"]),
        ("wild", ["*.w.example", "w.example"]),
        ("exact", ["x.w.example"]),
        ("also", ["B.example.", "*.com", "::1"]),
        ("part", ["f*.p.example", "*"]),
    ]
)


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("a.example", ("first",)),
        ("A.EXAMPLE.", ("first",)),
        ("b.example", ("first", "also")),
        ("w.example", ("wild",)),
        ("y.w.example", ("wild",)),
        ("x.w.example", ("exact",)),
        ("y.x.w.example", ("first",)),
        (".w.example", ("wild",)),
        ("foo.p.example", ("first",)),
        ("www.com", ("also",)),
        ("com", ("first",)),
        ("0:0:0:0:0:0:0:1", ("also",)),
        ("", ("first",)),
        ("*.w.example", ("wild",)),
        ("unknown", ("first",)),
    ],
)
def test_a_name_is_looked_for_as_it_is_then_under_a_wildcard(name: str, group: tuple[str, ...]) -> None:
    assert TABLE.find(name) == group
    assert group in TABLE.groups


def test_all_entries_with_the_first_name_of_the_first_are_the_default() -> None:
    table = NameTable([("rsa", ["a.example"]), ("other", ["b.example"]), ("ec", ["a.example"])])
    assert table.default == ("rsa", "ec")
    assert NameTable([("nameless", []), ("a", ["a.example"])]).default == ("nameless",)


@given(st.text(max_size=60))
def test_whatever_a_client_asks_for_there_is_a_group(name: str) -> None:
    assert TABLE.find(name) in TABLE.groups
    assert normal(normal(name)) == normal(name)
