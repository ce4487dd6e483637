"""docs/security.md tells the truth: its settings exist, with these defaults, and so do its tests and statuses."""

from __future__ import annotations

import re

import pytest

from greenserve.settings import OPTIONS
from tests.conftest import REPOSITORY
from tests.documents import DOCS, Page
from tests.server.test_limits import LIMITS

PAGE = Page(DOCS / "security.md")


def rows(header: str) -> list[list[str]]:
    """The cells of all tables with that header, row by row."""
    tables = re.findall(rf"^\| {re.escape(header)}.*\n\|[-|]+\n((?:\|.*\n)+)", PAGE.text, re.MULTILINE)
    lines = [line for table in tables for line in table.splitlines()]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


DEFAULTS = {row[0].strip("`"): row for row in rows("setting | default | why | test |")}
BEYOND = {row[0]: row for row in rows("beyond the limit | answer | connection | test |")}


def named(text: str) -> set[str]:
    return set(re.findall(r"`(test_\w+)`", text))


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_setting_has_that_default_in_its_unit_and_a_reason_and_a_test(name: str) -> None:
    option = OPTIONS[name]
    unit = f" {option.unit}" if option.unit and option.default is not None else ""
    _, default, why, tests = DEFAULTS[name]
    assert default == f"`{option.kind.show(option.default)}`{unit}"
    assert why.endswith(".")
    assert named(tests)


def test_every_limit_among_the_settings_is_on_the_page() -> None:
    limits = {name for name in OPTIONS if re.search(r"(^|_)max_|_timeout$|_rate$|_total$|^trusted_|_buffer$", name)}
    assert len(limits) > 20
    of_workers = {name for name, option in OPTIONS.items() if not option.in_call}  # of their lives, not of clients
    others = {"static_max_age", "ready_timeout"}  # a header, and a time of the application
    assert limits - of_workers - others <= set(DEFAULTS)


def test_every_test_that_is_named_exists() -> None:
    files = [path.read_text("utf-8") for path in (REPOSITORY / "tests").rglob("test_*.py")]
    defined = {name for text in files for name in re.findall(r"^\s*def (test_\w+)", text, re.MULTILINE)}
    assert len(named(PAGE.text)) > 40
    assert named(PAGE.text) <= defined, named(PAGE.text) - defined
    assert all(named(row[3]) for row in BEYOND.values())


@pytest.mark.parametrize("limit", LIMITS)
def test_a_status_is_the_one_that_its_test_finds(limit: str) -> None:
    status = str(LIMITS[limit][2])
    what = limit.partition(" (")[0]
    answers = [answer for beyond, (_, answer, _, _) in BEYOND.items() if re.search(rf"\b{what}\b", beyond)]
    assert any(answer.startswith(status) for answer in answers), answers


def test_the_page_is_linked() -> None:
    for page in (DOCS / "README.md", REPOSITORY / "SECURITY.md"):
        assert "security.md)" in page.read_text("utf-8")
