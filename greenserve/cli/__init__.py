"""The command line: `main` is what `greenserve` and `python -m greenserve` run."""

from __future__ import annotations

from greenserve.cli.commands import main

__all__ = ["main"]
