"""Plain English that names its subject: wordings that pages, comments, docstrings and messages do not use, and why.

A wording that is good somewhere all the same stands in backquotes or in a code block there, or its pattern is narrowed.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.documents import Page

# A wording (a regular expression for whole words), and what to write instead.
BANNED = {
    "he|him|his|she|her|hers": "the subject: the green thread, the waiter, the client, the user",
    "(?<!=)(some|any|every|no)body|someone|everyone|no one|anyone|whoever|whom": "the subject, or 'no other thread'",
    "(?<!user )(?<!users )(?<!people )(?<!attacker )who": "the subject: 'the waiters', not 'who waits'",
    "mend|mends|mended": "fix",
    "farewell": "the Close frame",
    "heed|heeds|heeded": "obey, react to",
    "roomy": "with room",
    "may travel": "is valid on the wire",
    "and (its|their) kin": "and similar ones",
    "(?<!there )(is|are|was|were) no (?!longer|more|less|older|better|reason|answer)[a-z]+": "'is not an address'",
    "will not do|will do as well": "'invalid value', and what is wrong with it",
    "(?<=[,;:] )for (it|they|there|we|nothing|its [a-z]+) (?!to |but )[a-z]+": "because, since",
    "but for": "except, apart from",
}
PATTERN = re.compile("|".join(rf"\b({wording})\b" for wording in BANNED), re.IGNORECASE)

PAGES = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")]
PAGES += [path for folder in ("examples", "benchmarks") for path in (REPOSITORY / folder).rglob("*.md")]
CODE = [
    path for folder in ("greenserve", "examples", "benchmarks", "tools") for path in (REPOSITORY / folder).rglob("*.py")
]


OTHER = [
    REPOSITORY / name for name in ("Dockerfile", "Makefile", "pyproject.toml", ".ci/run", ".pre-commit-config.yaml")
]
OTHER += [REPOSITORY / "tools" / "report_rows.toml"]
OTHER += [path for path in (REPOSITORY / ".github").rglob("*") if path.is_file()]


def plain(text: str) -> str:
    """Prose alone: without what is in backquotes and without the targets of links, on one line."""
    return " ".join(re.sub(r"`[^`]*`", "`", re.sub(r"\]\([^)]*\)", "]", text)).split())


def of_page(path: Path) -> Iterator[str]:
    """The paragraphs of a page, and the comments in its programs."""
    page = Page(path)
    yield from re.sub(r"^```.*?^```", "", page.text, flags=re.MULTILINE | re.DOTALL).split("\n\n")
    for block in page.in_language("python"):
        yield from comments(block)


def of_code(source: str) -> Iterator[str]:
    """The comments, docstrings and messages of a module."""
    yield from comments(source)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.value


def comments(source: str) -> Iterator[str]:
    """Each comment; the lines of one that goes on are joined."""
    lines: list[str] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            lines.append(token.string.lstrip("# "))
        elif token.type not in (tokenize.NL, tokenize.NEWLINE):
            if lines:
                yield " ".join(lines)
            lines = []
    yield " ".join(lines)


def wordings(text: str) -> list[str]:
    """The banned wordings of a text, each with some of what surrounds it."""
    prose = plain(text)
    return [prose[max(0, found.start() - 40) : found.end() + 40] for found in PATTERN.finditer(prose)]


def found(path: Path) -> list[str]:
    """The banned wordings of a file."""
    if path in OTHER:
        texts: Iterator[str] = iter([re.sub(r"^ *#", "", path.read_text("utf-8"), flags=re.MULTILINE)])
    else:
        texts = of_page(path) if path.suffix == ".md" else of_code(path.read_text("utf-8"))
    return [wording for text in texts for wording in wordings(text)]


@pytest.mark.parametrize("path", [*PAGES, *CODE, *OTHER], ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_pages_and_code_are_in_plain_english(path: Path) -> None:
    assert not found(path)


@pytest.mark.parametrize(
    "text",
    [
        "The first green thread that he wakes",
        "wakes whoever waits",
        "a list of who waits",
        "This is no address",
        "closed last, for it may be shared",
        "Everything\nbut\nfor the last line",
    ],
)
def test_a_banned_wording_is_found(text: str) -> None:
    assert wordings(text)


@pytest.mark.parametrize(
    "text", ["There is no address", "a user who knows", "it waits for it", "`nobody`", "the one whose turn it is"]
)
def test_a_good_wording_is_not(text: str) -> None:
    assert not wordings(text)


def test_comments_of_several_lines_are_one_text() -> None:
    assert list(comments("x = 1  # one\n# two\n# three\ny = 2\n")) == ["one two three", ""]
