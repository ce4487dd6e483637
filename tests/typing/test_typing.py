"""The types that users see: a typed program is accepted, and mistakes are found, by mypy --strict and by pyright."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, missing

PROGRAM = Path(__file__).parent / "program.py"

# Type checkers, and how each is run on a file outside the checkout, as a user's would be.
CHECKERS = {
    "mypy": ["--strict", "--follow-imports=silent", "--no-incremental", "--config-file="],
    "pyright": ["--pythonpath", sys.executable],
}


def check(checker: str, path: Path) -> subprocess.CompletedProcess[str]:
    if find_spec(checker) is None:
        missing(f"the package {checker} is not installed")
    variables = {"MYPYPATH": str(REPOSITORY), "PYTHONPATH": str(REPOSITORY), "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    return subprocess.run(
        [sys.executable, "-m", checker, *CHECKERS[checker], str(path)],
        cwd=path.parent,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=280,
    )


@pytest.mark.timeout(300)  # pyright's npm package is fetched at its first use
@pytest.mark.parametrize("checker", CHECKERS)
def test_a_typed_program_is_accepted(tmp_path: Path, checker: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.read_text("utf-8"), "utf-8")
    done = check(checker, program)
    assert done.returncode == 0, done.stdout + done.stderr


MISTAKES = [
    'greenserve.spawn(len, "word").wait() + "text"',
    "greenserve.spawn(len, 1)",
    'greenserve.sleep("long")',
    "greenserve.spwan(len)",
    "greenserve.connect(1)",
]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("checker", CHECKERS)
def test_mistakes_are_found(tmp_path: Path, checker: str) -> None:
    program = tmp_path / "mistakes.py"
    program.write_text("\n".join(["import greenserve", *MISTAKES, ""]), "utf-8")
    done = check(checker, program)
    assert done.returncode == 1, done.stderr
    found = [line for line in range(2, 2 + len(MISTAKES)) if f"mistakes.py:{line}:" in done.stdout]
    assert found == [*range(2, 2 + len(MISTAKES))], done.stdout


def test_the_typed_program_runs() -> None:
    done = subprocess.run([sys.executable, "-W", "error", PROGRAM], cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("typed\n", "")
