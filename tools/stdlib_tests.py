"""The standard library's own tests for the patched modules: unpatched, patched by greenserve, and patched by gevent for
comparison. Writes docs/stdlib-tests.md.

    python tools/stdlib_tests.py                                   # this interpreter, all modules
    python tools/stdlib_tests.py --module test_queue --details     # what has failed there
    make stdlib-tests                                              # every interpreter, and the table

What has been run is kept in .stdlib-tests/ and not run again unless --again says so. A test that passes unpatched and
not patched must be in EXCLUSIONS, with its reason; those are not tried, and count as lost. gevent is left out where it
is not installed. The exit code is 1 if a test is lost that is not in the list.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from stdlib_exclusions import EXCLUSIONS, reason_for
from stdlib_runs import MAX_PROCESSES, Cache, Run, run_module

ROOT = Path(__file__).resolve().parent.parent
SILENCE = 60.0  # seconds without a report after which a test counts as hung
MODULES = (
    *("test_socket", "test_ssl", "test_threading", "test_thread", "test_threadedtempfile", "test_threading_local"),
    *("test_queue", "test_select", "test_selectors", "test_poll", "test_epoll", "test_subprocess", "test_signal"),
    *("test_httplib", "test_httpservers", "test_urllib2_localnet", "test_ftplib", "test_smtplib", "test_socketserver"),
    *("test_telnetlib", "test_asyncore", "test_concurrent_futures", "test_asyncio", "test_multiprocessing_spawn"),
    *("test_os", "test_time", "test_context", "test_logging", "test_sched", "test_wsgiref", "test_xmlrpc"),
    *("test_poplib", "test_imaplib", "test_nntplib"),
)
OURS, THEIRS = "greenserve", "gevent"


@dataclass(frozen=True)
class Comparison:
    """One module under one interpreter. gevent: None where it was not run."""

    module: str
    version: str
    unpatched: Run
    greenserve: Run
    gevent: Run | None

    @property
    def passed(self) -> int:
        """How many pass unpatched."""
        return self.unpatched.count()["passed"]

    def lost(self, run: Run) -> list[str]:
        """What passes unpatched and does not in `run`."""
        return sorted(
            test
            for test, outcome in self.unpatched.outcomes.items()
            if outcome == "passed" and run.outcomes.get(test, "not run") not in ("passed", "skipped")
        )

    @property
    def unexplained(self) -> list[str]:
        """What is lost with greenserve and not in the list of exclusions."""
        return [test for test in self.lost(self.greenserve) if reason_for(test, self.version) is None]


@dataclass(frozen=True)
class Runner:
    """Runs what is not in the cache."""

    cache: Cache
    silence: float
    again: bool

    def compare(self, python: str, module: str, patches: Sequence[str]) -> Comparison | None:
        """All runs of one module; None when this interpreter has no such tests."""
        version = version_of(python)
        unpatched = self._run(python, version, module, "none", ())
        if not unpatched.count()["passed"]:  # it could not even be loaded
            return None
        excluded = [test for test in unpatched.outcomes if reason_for(test, version) is not None]
        ours = self._run(python, version, module, OURS, excluded)
        theirs = None
        if THEIRS in patches and _has(python, THEIRS):
            theirs = self._run(python, version, module, THEIRS, ())
        return Comparison(module, version, unpatched, ours, theirs)

    def _run(self, python: str, version: str, module: str, patch: str, without: Sequence[str]) -> Run:
        run = None if self.again and patch == OURS else self.cache.get(version, module, patch)
        if run is None:
            run = run_module(python, module, patch, self.silence, without)
            self.cache.put(version, module, patch, run)
        return run


def version_of(python: str) -> str:
    """ "3.12", for an interpreter's path."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def _has(python: str, package: str) -> bool:
    return subprocess.run([python, "-c", f"import {package}"], capture_output=True, check=False).returncode == 0


def table(comparisons: Sequence[Comparison]) -> str:
    """A table in Markdown, with a row of sums for each interpreter."""
    lines = [
        "| Python | tests of | pass unpatched | pass with greenserve | with gevent "
        "| greenserve: passed, failed, skipped, hung, excluded |",
        "|---|---|--:|--:|--:|---|",
    ]
    for version in dict.fromkeys(one.version for one in comparisons):
        rows = [one for one in comparisons if one.version == version]
        lines += [_row(one) for one in rows]
        lines.append(_sums(version, rows))
    return "\n".join(lines)


def _row(one: Comparison) -> str:
    counts = one.greenserve.count()
    outcomes = ", ".join(str(counts[outcome]) for outcome in ("passed", "failed", "skipped", "hung", "excluded"))
    theirs = "–" if one.gevent is None else str(one.passed - len(one.lost(one.gevent)))
    ours = one.passed - len(one.lost(one.greenserve))
    return f"| {one.version} | {one.module} | {one.passed} | {ours} | {theirs} | {outcomes} |"


def _sums(version: str, rows: Sequence[Comparison]) -> str:
    ours = _share((one.passed, len(one.lost(one.greenserve))) for one in rows)
    theirs = _share((one.passed, len(one.lost(one.gevent))) for one in rows if one.gevent is not None)
    return f"| **{version}** | **all** | **{sum(one.passed for one in rows)}** | **{ours}** | **{theirs}** | |"


def _share(counts: Iterable[tuple[int, int]]) -> str:
    pairs = list(counts)
    total, lost = sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)
    return f"{total - lost} ({100 * (total - lost) / total:.2f} %)" if total else "–"


def document(comparisons: Sequence[Comparison]) -> str:
    """docs/stdlib-tests.md."""
    reasons = "\n".join(f"- `{pattern.removeprefix('test.')}`: {reason}" for pattern, reason in EXCLUSIONS.items())
    return f"""# The standard library's own tests under patching

`make stdlib-tests` runs them and writes this page. Each module's tests run in a process of their own: as they are,
after `greenserve.monkey_patch()`, and after `gevent.monkey.patch_all()`. The columns count, of the tests that
pass unpatched, those that pass patched; what is excluded below counts as not passed. A test that is silent for long
has hung: its process is ended, and another one goes on; after {MAX_PROCESSES} of these what is left of a module counts
as not passed. Modules that an interpreter has no tests of are left out.

{table(comparisons)}

## What is excluded, and why

{reasons}
"""


def tell(one: Comparison, *, details: bool) -> None:
    """What one module's comparison has shown."""
    lost = one.lost(one.greenserve)
    print(f"{one.version} {one.module}: {one.passed - len(lost)} of {one.passed}", end="")
    print("" if one.gevent is None else f"; gevent {one.passed - len(one.lost(one.gevent))}", flush=True)
    if one.greenserve.problem:
        print(one.greenserve.problem)
    for test in lost:
        reason = reason_for(test, one.version)
        print(f"  {one.greenserve.outcomes.get(test, 'not run')} {test}" + (f" ({reason})" if reason else ""))
        if details and reason is None:
            print("    " + one.greenserve.details.get(test, "").replace("\n", "\n    "))


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--module", action="append", help="test module (default: all)")
    parser.add_argument("--python", action="append", help="interpreter with greenserve's dependencies (default: this)")
    parser.add_argument("--patch", action="append", choices=[OURS, THEIRS], help="default: both")
    parser.add_argument("--silence", type=float, default=SILENCE, help="seconds after which a silent test has hung")
    parser.add_argument("--cache", type=Path, default=ROOT / ".stdlib-tests", help="where runs are kept")
    parser.add_argument("--again", action="store_true", help="run with greenserve again what has been run")
    parser.add_argument("--table", type=Path, help="file to write the table into")
    parser.add_argument("--details", action="store_true", help="print what the tests that are lost have said")
    options = parser.parse_args()
    runner = Runner(Cache(options.cache), options.silence, options.again)
    comparisons = []
    for python in options.python or [sys.executable]:
        for module in options.module or MODULES:
            one = runner.compare(python, module, options.patch or (OURS, THEIRS))
            if one is not None:
                comparisons.append(one)
                tell(one, details=options.details)
    if options.table is not None:
        options.table.write_text(document(comparisons), encoding="utf-8")
    print("\n" + table(comparisons))
    return 1 if any(one.unexplained for one in comparisons) else 0


if __name__ == "__main__":
    sys.exit(main())
