"""tools/flatness.py, for a few of its million cycles; and that it would tell."""

from __future__ import annotations

import sys

from tests.conftest import REPOSITORY
from tests.e2e.server_process import run_command

LEAK = """
import sys
sys.path.insert(0, "tools")
sys.argv = ["flatness.py", "--cycles", "3000"]
import flatness
kept, cycle = [], flatness.cycle
flatness.cycle = lambda: (cycle(), kept.append([]))
sys.exit(flatness.main())
"""


def test_nothing_grows_over_many_cycles():
    done = run_command("tools/flatness.py", "--cycles", "3000", executable=(sys.executable,), cwd=REPOSITORY)
    assert (done.returncode, done.stdout.splitlines()[-1], done.stderr) == (0, "flat", "")


def test_what_grows_is_named():
    done = run_command("-c", LEAK, executable=(sys.executable,), cwd=REPOSITORY)
    assert (done.returncode, done.stdout.splitlines()[-1], done.stderr) == (1, "growing: objects", "")
