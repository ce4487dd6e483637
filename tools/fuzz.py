"""Fuzz what takes bytes from the network, for long: `python tools/fuzz.py [TARGET ...] [--seconds 300] [--keep]`.

The targets are those of tests/fuzz/targets.py. atheris guides the search where it is installed (`pip install atheris`),
a mutator of our own elsewhere (or with --own). An input that fails is shown, shortened, as a line for the target's file
in tests/fuzz/corpus/; --keep adds there what reaches code that nothing there has reached.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.fuzz.engine import TOKENS, Failed, Mutator, Reached, guided, read_corpus, run, write_corpus

LONGEST_KEPT = 300  # bytes of an input that is kept: the corpus is read by people
PACKAGE = str(ROOT / "greenserve")
TARGETS: dict[str, Any] = importlib.import_module("tests.fuzz.targets").TARGETS


def main() -> int:
    """Fuzz the chosen targets one after another. Returns the exit code: 1 when an input has failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument(
        "targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; by default all, in turn"
    )
    parser.add_argument("--seconds", type=int, default=300, help="for each target")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the mutations; by default the time")
    parser.add_argument("--keep", action="store_true", help="add to the corpus what reaches new code")
    parser.add_argument("--own", action="store_true", help="the own mutator, also where atheris is installed")
    arguments = parser.parse_args()
    if unknown := set(arguments.targets) - set(TARGETS):
        parser.error(f"unknown target {', '.join(sorted(unknown))}: choose from {', '.join(TARGETS)}")
    find = _found_by_us if arguments.own or importlib.util.find_spec("atheris") is None else _found_by_atheris
    failed = False
    for name in arguments.targets or TARGETS:
        print(f"{name}: {arguments.seconds} seconds with seed {arguments.seed}", flush=True)
        with TARGETS[name].checking() as check:
            try:
                found = find(name, check, arguments.seconds, arguments.seed)
                run(check, iter(found))
            except Failed as failure:
                print(f"{name}: FAILED: {failure}", flush=True)
                failed = True
                continue
            kept = _what_adds(name, check, found)
        print(f"{name}: nothing wrong; {len(kept)} inputs reach code that the corpus does not", flush=True)
        if arguments.keep:
            write_corpus(name, kept)
    return int(failed)


def _what_adds(name: str, check: Any, found: list[bytes]) -> list[bytes]:
    reached = Reached(PACKAGE)
    for data in read_corpus(name):
        reached.adds(check, data)
    return [data for data in sorted(found, key=len) if len(data) <= LONGEST_KEPT and reached.adds(check, data)]


def _found_by_us(name: str, check: Any, seconds: int, seed: int) -> list[bytes]:
    end = time.monotonic() + seconds
    mutator = Mutator(read_corpus(name), read_corpus(TARGETS[name].tokens, TOKENS), seed)
    return guided(check, mutator, Reached(PACKAGE), lambda: time.monotonic() < end)


def _found_by_atheris(name: str, _check: Any, seconds: int, seed: int) -> list[bytes]:
    """What atheris has found to reach new code; and, last, what it has found to fail."""
    with tempfile.TemporaryDirectory() as directory:
        corpus = Path(directory, "corpus")
        corpus.mkdir()
        for number, data in enumerate(read_corpus(name)):
            (corpus / f"{number}").write_bytes(data)
        command = [sys.executable, "-W", "ignore", "-m", "tests.fuzz.with_atheris", name, directory, str(seconds)]
        ended = subprocess.run([*command, str(seed)], cwd=ROOT, capture_output=True, text=True, check=False)
        failing = [file.read_bytes() for file in Path(directory).glob("*-*")]  # crash-, timeout-, oom-
        if ended.returncode and not failing:
            sys.exit(f"atheris has ended with {ended.returncode}:\n{ended.stderr[-3000:]}")
        return [*(file.read_bytes() for file in corpus.iterdir()), *failing]


if __name__ == "__main__":
    sys.exit(main())
