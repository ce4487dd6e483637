"""The soak of tools/soak_websocket.py, for seconds instead of minutes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY, require_program


@pytest.mark.timeout(120)
def test_a_short_soak_finds_nothing_wrong() -> None:
    require_program("redis-server")
    done = subprocess.run(
        [sys.executable, "tools/soak_websocket.py", "--minutes", "0.15", "--clients", "42", "--seed", "1"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("nothing wrong\n")
    assert " echo\n" in done.stdout
    assert " talk\n" in done.stdout
