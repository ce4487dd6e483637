"""The server's own log: what came from a client can neither command a terminal nor pass for a line of ours."""

from __future__ import annotations

import logging

import pytest

from greenserve.cli.logs import FORMAT, _Formatter
from greenserve.process import role


def formatted(message: str, *args: object, error: BaseException | None = None) -> str:
    info = (type(error), error, None) if error is not None else None
    record = logging.LogRecord("greenserve", logging.INFO, __file__, 1, message, args, info)
    return _Formatter(FORMAT).format(record)


@pytest.mark.parametrize(
    "character", ["\x00", "\x1b", "\r", "\x7f", "\x85", "\x9b", "\u2028", "\u2029", "\u202e", "\u2066"]
)
def test_control_characters_are_escaped(character: str) -> None:
    said = formatted("refused %s", f"a{character}b", error=ValueError(f"c{character}d"))
    assert character not in said
    escaped = character.encode("unicode_escape").decode()
    assert f"refused a{escaped}b\n" in said
    assert said.endswith(f"ValueError: c{escaped}d")


def test_a_line_names_its_process_where_there_are_several(monkeypatch: pytest.MonkeyPatch) -> None:
    assert formatted("refused").endswith(" INFO    refused")
    monkeypatch.setattr(role, "label", "worker 2 (pid 7)")
    assert formatted("refused\nat once").endswith(" INFO    worker 2 (pid 7): refused\n    at once")


def test_a_further_line_is_indented() -> None:
    said = formatted("refused %s", "a\n2026-01-01 00:00:00,000 ERROR   forged")
    assert said.splitlines()[1] == "    2026-01-01 00:00:00,000 ERROR   forged"


def test_plain_text_stays_as_it_is() -> None:
    assert formatted("täglich %s\t✓", "grüß").endswith(" INFO    täglich grüß\t✓")
