"""Programs that patch, each in an interpreter of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap


def run(program):
    """Run a program; it fails by raising. Returns what it wrote on standard output and standard error."""
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr
