"""One row of the hub comparison in a process of its own: `python child.py LIBRARY ROW COUNT` prints one JSON object.

{"ns": nanoseconds for each operation}; for the row `memory` {"bytes": resident memory of each parked green thread}.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import re
import sys
from pathlib import Path


def resident_bytes() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
    if found is None:
        raise RuntimeError("/proc/self/status names no VmRSS")
    return int(found[1]) * 1024


def main(library: str, row: str, count: int) -> None:
    rows = importlib.import_module(f"rows_{library}")
    if row == "memory":
        first = rows.park(100)  # so the hub and its first allocations exist before the first look
        gc.collect()
        before = resident_bytes()
        parked = rows.park(count)
        gc.collect()
        measured = {"bytes": (resident_bytes() - before) / count}
        del first, parked
    else:
        function = getattr(rows, row)
        function(max(count // 10, 100))
        gc.collect()
        measured = {"ns": function(count) / count * 1e9}
    print(json.dumps(measured), flush=True)
    os._exit(0)  # unwinding 100,000 parked green threads would take longer than the measurement


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
