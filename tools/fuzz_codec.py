"""Hold the compiled codec to the one in Python: `python tools/fuzz_codec.py [FUNCTION ...] [--inputs N] [--seed S]`.

Each compiled function and its twin get the same inputs, those of tests/codec/twins.py, and must return the same. What
differs is printed as the call that shows it. The same seed gives the same inputs.
"""

from __future__ import annotations

import argparse
import sys
import time
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.codec.twins import TWINS, Differs, functions, play


def main() -> int:
    """Fuzz the chosen functions. Returns the exit code: 1 where a function and its twin differ."""
    compiled = import_module("greenserve._codec")
    names = functions(compiled)
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("functions", nargs="*", metavar="FUNCTION", help=f"of {', '.join(names)}; by default all")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="of all functions together [default: a million]")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the inputs; by default the time")
    arguments = parser.parse_args()
    if unknown := set(arguments.functions) - set(names):
        parser.error(f"unknown function {', '.join(sorted(unknown))}: choose from {', '.join(names)}")
    chosen = arguments.functions or names
    whole = sum(TWINS[name].share for name in chosen)
    failed = False
    for name in chosen:
        inputs, begun = round(arguments.inputs * TWINS[name].share / whole), time.perf_counter()
        try:
            judged = play(name, compiled, inputs, arguments.seed)
        except Differs as difference:
            print(f"{name}: FAILED with seed {arguments.seed}: {difference}", flush=True)
            failed = True
            continue
        print(
            f"{name}: nothing differs in {inputs:,} inputs with seed {arguments.seed}, of which {judged:,} are plain "
            f"({time.perf_counter() - begun:.0f} s)",
            flush=True,
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
