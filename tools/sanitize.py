"""Run the tests of the codec with a build of it that finds errors of memory: `python tools/sanitize.py [PYTEST ...]`.

_codec.c is compiled with AddressSanitizer and UBSan, into a directory whose sitecustomize.py has it take the place of
the compiled codec, in every server that the tests start, too. Before the tests it gets the fuzzer's inputs. The first
error ends the process that makes it, with a report. Needs gcc and the packages of the extra `test`.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

FLAGS = (
    *("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g", "-O1"),
    *("-Wall", "-Wextra", "-Wconversion", "-Werror"),
    # What the interface of CPython demands.
    *("-Wno-unused-parameter", "-Wno-missing-field-initializers", "-Wno-cast-function-type"),
)
# The codec's own tests, those of its callers, and raw requests to a server.
TESTS = (
    "tests/codec/test_twins.py",
    *(
        f"tests/http/test_{name}.py"
        for name in ("cases", "parser", "plain_head", "properties", "response", "response_headers")
    ),
    *(f"tests/websocket/protocol/test_{name}.py" for name in ("frames", "mask", "plain", "state")),
    "tests/e2e/test_http_cases.py::test_no_case_of_the_http_corpus_fails[whole]",
)

# It is there before greenserve asks for it.
_SITECUSTOMIZE = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("greenserve._codec", {path!r})
sys.modules["greenserve._codec"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
"""


def main() -> int:
    """Compile, fuzz, test. Returns the exit code: 0 where no error was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--inputs", type=int, default=100_000, help="of the fuzzer [default: 100000]")
    parser.add_argument("--seed", default="1", help="of the fuzzer's inputs [default: 1]")
    parser.add_argument("pytest", nargs="*", metavar="PYTEST", help=f"arguments of pytest [default: {' '.join(TESTS)}]")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="greenserve-sanitize-") as directory:
        os.environ["CC"] = "gcc"
        compiled = str(importlib.import_module("hatch_build").compile_codec(ROOT, Path(directory), *FLAGS))
        Path(directory, "sitecustomize.py").write_text(_SITECUSTOMIZE.format(path=compiled))
        environ = os.environ | {
            "LD_PRELOAD": _library("libasan.so"),
            "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter frees little at its end; tests/codec looks for leaks
            "UBSAN_OPTIONS": "print_stacktrace=1",
            "PYTHONMALLOC": "malloc",  # the interpreter's own would hide where one object ends
            "PYTHONPATH": os.pathsep.join(filter(None, [directory, os.environ.get("PYTHONPATH")])),
            "GREENSERVE_CODEC": "compiled",
        }
        used = subprocess.run(
            [sys.executable, "-c", "from greenserve import codec; print(codec.compiled.__file__, end='')"],
            cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True, check=True,
        ).stdout  # fmt: skip
        if used != compiled:
            sys.exit(f"the codec with sanitizers did not take the place of {used}")
        fuzz = ["tools/fuzz_codec.py", "--inputs", str(arguments.inputs), "--seed", arguments.seed]
        tests = ["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *(arguments.pytest or TESTS)]
        for words in (fuzz, tests):
            if code := subprocess.run([sys.executable, *words], cwd=ROOT, env=environ, check=False).returncode:
                return code
    return 0


def _library(name: str) -> str:
    """The path of a library that gcc brings along."""
    found = subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    return found.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
