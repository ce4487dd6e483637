"""Pages for readers, taken apart: what is between the fences of a page is what its tests run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests.conftest import REPOSITORY

DOCS = REPOSITORY / "docs"


class Page:
    """One page of Markdown. blocks: the language and the text of each fenced block, in order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = path.read_text("utf-8")
        self.blocks = re.findall(r"^```(\w*)\n(.*?)^```", self.text, flags=re.MULTILINE | re.DOTALL)

    def in_language(self, language: str) -> list[str]:
        """The texts of the blocks in `language`."""
        return [text for name, text in self.blocks if name == language]

    def commands(self, *programs: str) -> list[str]:
        """The commands of the shell blocks, those of `programs` alone if any are named."""
        lines = [line for text in self.in_language("shell") for line in text.splitlines() if line.strip()]
        return [line for line in lines if not programs or shlex.split(line)[0] in programs]

    def missing_links(self) -> list[str]:
        """The links into the repository that lead nowhere."""
        targets = re.findall(r"\]\(([^)]+)\)", self.text)
        files = [(target, target.partition("#")[0]) for target in targets if "://" not in target]
        return [target for target, file in files if not (self.path.parent / file).exists()]


def file_name(block: str) -> str | None:
    """The name in the comment of a block's first line, if the block is a file; None for a program."""
    match = re.match(r"# ([\w.-]+)\n", block)
    return match[1] if match else None
