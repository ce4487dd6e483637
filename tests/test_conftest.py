"""A missing program skips on a user's machine and fails under CI."""

from __future__ import annotations

import pytest

from tests.conftest import missing, require_program


def test_a_program_that_is_there_is_found() -> None:
    assert require_program("sh").endswith("/sh")


def test_a_missing_program_skips_on_a_users_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-program is not installed"):
        require_program("no-such-program")


def test_a_part_that_a_machine_is_known_to_lack_skips_under_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("CI_WITHOUT", "one two")
    with pytest.raises(pytest.skip.Exception, match="there is no second"):
        missing("there is no second", "two")
    with pytest.raises(pytest.fail.Exception, match="there is no third"):
        missing("there is no third", "three")


def test_a_missing_program_fails_under_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no-such-program is not installed"):
        require_program("no-such-program")
