"""The guides tell the truth: every Python block in them is a program that runs, and every name and link exists."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.documents import DOCS, Page
from tests.e2e.server_process import run_command

GUIDES = {
    name: Page(DOCS / name)
    for name in ("hub.md", "rooms.md", "websocket.md", "drivers.md", "from_eventlet.md", "from_gevent.md")
}


def programs() -> list[object]:
    found: list[object] = []
    for name, guide in GUIDES.items():
        for match in re.finditer(r"^```python\n(.*?)^```", guide.text, re.MULTILINE | re.DOTALL):
            title = re.findall(r"^##+ (.+)$", guide.text[: match.start()], re.MULTILINE)[-1]
            found.append(pytest.param(match[1], id=f"{name}: {title}"))
    return found


@pytest.mark.parametrize("program", programs())
def test_a_program_in_a_guide_runs(tmp_path: Path, program: str) -> None:
    (tmp_path / "program.py").write_text(program, "utf-8")
    done = run_command(executable=(sys.executable, "-W", "error", "program.py"), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("guide", GUIDES)
def test_every_block_of_a_guide_is_python(guide: str) -> None:
    assert {language for language, _ in GUIDES[guide].blocks if language} <= {"python"}


@pytest.mark.parametrize("guide", GUIDES)
def test_every_name_of_ours_in_a_guide_exists(guide: str) -> None:
    # Keys of the environ are in quotes.
    names = set(re.findall(r"(?<!\")\bgreenserve((?:\.\w+)+)", GUIDES[guide].text))
    assert names
    for dotted in names:
        found = importlib.import_module("greenserve")
        path = "greenserve"
        for name in dotted[1:].split("."):
            path = f"{path}.{name}"
            if not hasattr(found, name):
                importlib.import_module(path)
            found = getattr(found, name)


PAGES = [Page(path) for path in sorted([*REPOSITORY.glob("*.md"), *DOCS.glob("*.md")])]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path.name)
def test_every_link_of_a_page_leads_somewhere(page: Page) -> None:
    assert page.missing_links() == []


def test_the_index_has_every_page() -> None:
    linked = re.findall(r"\]\((\w[\w.-]+\.md)\)", Page(DOCS / "README.md").text)
    assert sorted(linked) == sorted(page.path.name for page in PAGES if page.path.parent == DOCS)[1:]


def test_the_page_of_drivers_is_what_the_generator_prints() -> None:
    printed = run_command(executable=(sys.executable, "tools/drivers_reference.py"), cwd=REPOSITORY)
    assert printed.stdout == (DOCS / "drivers.md").read_text("utf-8"), "run `make docs`"


@pytest.mark.parametrize("page", ["design.md", "reliability.md"])
def test_every_test_that_a_page_names_exists(page: str) -> None:
    named = set(re.findall(r"`(test_\w+)`", (DOCS / page).read_text("utf-8")))
    files = [path.read_text("utf-8") for path in (REPOSITORY / "tests").rglob("test_*.py")]
    defined = {name for text in files for name in re.findall(r"^\s*def (test_\w+)", text, re.MULTILINE)}
    assert len(named) > 40
    assert named <= defined, named - defined
