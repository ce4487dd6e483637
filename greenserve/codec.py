"""The codec that is used: compiled, where this installation has it, else Python.

Both give the same results. A module that needs a function takes the compiled one from here if there is one, and the
Python one from its own room if not: it is chosen once, by GREENSERVE_CODEC, when these modules are imported.
"""

from __future__ import annotations

from binascii import crc32
from importlib import import_module
from os import environ
from pathlib import Path
from types import ModuleType
from typing import Final

from greenserve.errors import ConfigurationError

VARIABLE: Final = "GREENSERVE_CODEC"
_COMPILE: Final = (
    "with a C compiler and Python's header files, GREENSERVE_COMPILED=yes pip install --force-reinstall --no-deps "
    "--no-cache-dir --no-binary greenserve greenserve compiles it, or says why not (in a checkout: pip install "
    "--editable .)"
)


def _find() -> tuple[ModuleType | None, str, str]:
    """The compiled codec; or None, why, and what to do about it if that is a fault of the installation."""
    if environ.get(VARIABLE) == "python":
        return None, f"so chosen by {VARIABLE}", ""
    try:
        module = import_module("greenserve._codec")
    except ModuleNotFoundError:
        return None, "no compiled one in this installation", ""
    except ImportError as error:
        return None, f"the compiled one cannot be loaded: {error}", _COMPILE
    try:
        source = Path(__file__).with_name("_codec.c").read_bytes()
    except OSError:  # an installed package, whose files are of one state
        return module, "", ""
    if getattr(module, "SOURCE", None) != crc32(source):
        return None, "the compiled one is not of this checkout's _codec.c", "pip install --editable . compiles it anew"
    return module, "", ""


_found = _find()

compiled: Final[ModuleType | None] = _found[0]
"""The compiled codec, None where Python's is used."""

REASON: Final[str] = _found[1]
"""Why Python's is used, empty where it is not."""

FAULT: Final[str] = _found[2] and f"the codec is Python's, a slower one: {_found[1]}; {_found[2]}"
"""What to warn of, mostly nothing."""

NAME: Final = "Python codec" if compiled is None else "compiled codec"
DESCRIPTION: Final = f"{NAME}: {REASON}" if REASON else NAME


def check() -> None:
    """Raise ConfigurationError where GREENSERVE_CODEC asks for what is not there.

    Not raised at import, where the command could not yet make a message of it.
    """
    wanted = environ.get(VARIABLE) or "auto"
    if wanted not in ("auto", "compiled", "python"):
        raise ConfigurationError(f"the variable {VARIABLE} is {wanted!r}: write auto, compiled or python")
    if wanted == "compiled" and compiled is None:
        raise ConfigurationError(
            f"the variable {VARIABLE} is compiled, but the codec is Python's: {REASON}; {_COMPILE}"
        )
