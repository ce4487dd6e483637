"""`python -m greenserve.monkey program.py`, which is `greenserve run program.py`; greenserve.green.monkey patches."""

from __future__ import annotations

import sys

from greenserve.green.monkey import (
    LatePatchWarning,
    import_patched,
    is_monkey_patched,
    monkey_patch,
    original,
)
from greenserve.green.program import main, run_module, run_script

__all__ = [
    "LatePatchWarning",
    "import_patched",
    "is_monkey_patched",
    "monkey_patch",
    "original",
    "run_module",
    "run_script",
]

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
