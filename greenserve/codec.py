"""The codec that is used: compiled, where this installation has it, else Python.

Both give the same results. A module that needs a function takes the compiled one from here if there is one, and the
Python one from its own room if not.
"""

from __future__ import annotations

from importlib import import_module
from os import environ
from types import ModuleType
from typing import Final


def _compiled() -> ModuleType | None:
    if environ.get("GREENSERVE_CODEC") == "python":
        return None
    try:
        return import_module("greenserve._codec")
    except ImportError:
        return None


compiled: Final[ModuleType | None] = _compiled()
"""The compiled codec, None where Python's is used."""

NAME: Final = "python" if compiled is None else "compiled"
