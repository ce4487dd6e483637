"""`python -m greenserve.monkey program.py`, which is `greenserve run program.py` (patching/run.py)."""

from __future__ import annotations

import sys

from greenserve.patching.import_patched import import_patched
from greenserve.patching.monkey import LatePatchWarning, is_monkey_patched, monkey_patch
from greenserve.patching.originals import original
from greenserve.patching.run import main, run_module, run_script

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
