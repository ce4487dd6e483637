"""The command patches before the application is imported, so it has nothing to warn of."""

from __future__ import annotations

import subprocess
import sys


def test_patching_right_after_the_command_line_is_read_warns_of_nothing() -> None:
    code = "import click, greenserve.cli.commands, greenserve; greenserve.monkey_patch()"
    ran = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
