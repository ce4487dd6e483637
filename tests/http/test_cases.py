"""Every raw request of cases.py, whole, octet by octet, and cut in two at every place."""

from __future__ import annotations

import pytest

from . import cases
from .cases import Accept, Refuse, Wait
from .support import Begun, Closed, Message, Refused, octets, outlines, play


def check(case, outcomes):
    expected = [wanted for wanted in case.expected if not isinstance(wanted, Wait)]
    got = [outcome for outcome in outcomes if not isinstance(outcome, Closed)]
    if any(isinstance(wanted, Wait) for wanted in case.expected):
        assert all(isinstance(outcome, Begun) for outcome in got), outcomes
        return
    # A body that turns out to be broken was a request until then.
    got = [outcome for outcome in got if not isinstance(outcome, Begun)]
    assert len(got) == len(expected), outcomes
    for outcome, wanted in zip(got, expected, strict=True):
        if isinstance(wanted, Refuse):
            assert isinstance(outcome, Refused), outcomes
            assert outcome.status == wanted.status, outcome
        else:
            check_accepted(outcome, wanted)


def check_accepted(outcome, wanted: Accept):
    assert isinstance(outcome, Message), outcome
    head = outcome.head
    assert (head.method, head.path, head.query) == (wanted.method, wanted.path, wanted.query)
    assert outcome.body == wanted.body
    assert head.keep_alive == wanted.keep_alive
    if wanted.fields:
        assert head.fields.items == wanted.fields


@pytest.mark.parametrize("case", cases.ALL, ids=[case.name for case in cases.ALL])
def test_case(case):
    whole = play([case.raw])
    check(case, whole)
    check(case, play([case.raw]))  # from the caches this time
    check(case, play(octets(case.raw)))
    for cut in range(1, min(len(case.raw), 300)):
        assert outlines(play([case.raw[:cut], case.raw[cut:]])) == outlines(whole), case.raw[:cut]


@pytest.mark.parametrize(
    "case",
    [case for case in cases.ALL if isinstance(case.expected[-1] if case.expected else None, Wait)],
    ids=lambda case: case.name,
)
def test_the_peer_may_not_close_in_the_middle(case):
    *_, last = play([case.raw], eof=True)
    assert isinstance(last, Refused)
    assert last.status == 400
