"""A server in a program that has patched nothing is warned of, and no other one is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

APP = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]
"""
START = """
with greenserve.Server(app, bind="127.0.0.1:0"):  # the line
    pass
"""
SERVE = """
import os, signal
greenserve.spawn_after(0.1, os.kill, os.getpid(), signal.SIGTERM)
greenserve.serve(app, bind="127.0.0.1:0")  # the line
"""


def run(directory: Path, first: str, serving: str) -> str:
    """What a program that serves says of warnings."""
    (directory / "app.py").write_text(APP)
    (directory / "program.py").write_text(f"import greenserve\n{first}\n{serving}")
    done = subprocess.run([sys.executable, "program.py"], cwd=directory, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    return done.stderr.replace("greenserve: listening", "")


@pytest.mark.parametrize("serving", [START, SERVE])
def test_a_program_that_patches_nothing_is_warned_and_told_what_to_call(tmp_path: Path, serving: str) -> None:
    said = run(tmp_path, "from app import app", serving)
    assert "greenserve.monkey_patch()" in said
    line = 1 + (tmp_path / "program.py").read_text().partition("# the line")[0].count("\n")
    assert f"program.py:{line}: NotPatchedWarning" in said


@pytest.mark.parametrize("serving", [START, SERVE])
@pytest.mark.parametrize(
    "first",
    [
        "greenserve.monkey_patch(); from app import app",
        "greenserve.monkey_patch(time=True); from app import app",
        "app = greenserve.import_patched('app').app",
    ],
)
def test_a_program_that_has_made_something_green_is_not_warned(tmp_path: Path, first: str, serving: str) -> None:
    assert "Warning" not in run(tmp_path, first, serving)
