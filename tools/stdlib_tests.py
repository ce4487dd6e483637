"""Run the standard library's own tests for the patched modules, unpatched and patched, and write a table of the
outcomes.

    python tools/stdlib_tests.py                                  # with this interpreter, all modules
    python tools/stdlib_tests.py --module test_queue --module test_socket
    python tools/stdlib_tests.py --python 3.11=/path/to/python3.11 --python 3.13=... --table docs/stdlib-tests.md

Strategy: each module is run in a process of its own, which reports every test's outcome as it comes. A test during
which nothing is reported for a while is noted as hung and the process killed; another one goes on with the tests that
are left. So one bad test costs itself only. A test that passes unpatched and not patched must be in EXCLUSIONS, with
its reason.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
import unittest
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from stdlib_exclusions import EXCLUSIONS, reason_for

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
OUTCOMES = ("passed", "failed", "skipped", "hung", "excluded")


# -- the child: runs one module's tests and reports


class Reporter(unittest.TestResult):
    """Writes a line for each test that begins or ends."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        self._write = os.write  # before any patch, so that a report never waits

    def report(self, outcome: str, test: Any, detail: str = "") -> None:
        """One line: JSON."""
        line = json.dumps([outcome, test if isinstance(test, str) else test.id(), detail[-4000:]]) + "\n"
        self._write(self._fd, line.encode())

    def startTest(self, test: unittest.TestCase) -> None:
        """It begins."""
        super().startTest(test)
        self.report("began", test)

    def addSuccess(self, test: unittest.TestCase) -> None:
        """It has passed."""
        self.report("passed", test)

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        """It does not apply."""
        self.report("skipped", test, reason)

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:
        """It has failed as it should."""
        self.report("passed", test)

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        """An assertion has failed."""
        self.report("failed", test, self._exc_info_to_string(err, test))  # type: ignore[attr-defined]  # as unittest does

    addError = addFailure

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        """It should have failed."""
        self.report("failed", test, "unexpected success")

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        """A part of it has ended; the whole is reported as failed if one part is."""
        if err is not None:
            self.report("failed", test, self._exc_info_to_string(err, test))  # type: ignore[attr-defined]


def child(module: str, patch: str, skip: frozenset[str], fd: int) -> int:
    """Run the tests of `module` but those in `skip`, reporting to the descriptor."""
    reporter = Reporter(fd)
    if patch == "greenserve":
        sys.path.insert(0, str(ROOT))
        importlib.import_module("greenserve.green.monkey").monkey_patch()
    elif patch == "gevent":
        importlib.import_module("gevent.monkey").patch_all()
    support: Any = importlib.import_module("test.support")
    # No internet, no gigabytes; but what test_socketserver calls network is this machine's own.
    support.use_resources = {"network": None} if module == "test_socketserver" else {}
    support.verbose = False
    suite = unittest.TestSuite(
        test for test in _flat(unittest.defaultTestLoader.loadTestsFromName(f"test.{module}")) if test.id() not in skip
    )
    suite.run(reporter)
    reporter.report("ended", module)
    sys.stdout.flush()
    # Not an ordinary exit: whether threads that a hung test has left keep the process from ending is not the question
    # here.
    os._exit(0)


def _flat(suite: Any) -> Iterator[unittest.TestCase]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _flat(test)
        else:
            yield test


# -- the parent


@dataclass
class Run:
    """The outcomes of one module's tests, by test."""

    outcomes: dict[str, str] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)
    problem: str = ""

    def count(self) -> Counter[str]:
        """How many of each outcome."""
        return Counter(self.outcomes.values())


def run_module(python: str, module: str, patch: str, silence: float, without: Sequence[str] = ()) -> Run:
    """All tests of a module but those `without`, in as many processes as it needs."""
    run = Run()
    run.outcomes.update(dict.fromkeys(without, "excluded"))
    for _ in range(50):
        before = len(run.outcomes)
        if _run_process(python, module, patch, run, silence) or len(run.outcomes) == before:
            break
    return run


def _run_process(python: str, module: str, patch: str, run: Run, silence: float) -> bool:
    """One process. Returns whether it came to the end."""
    read_fd, write_fd = os.pipe()
    command = [python, __file__, "--child", module, "--patch", patch, "--fd", str(write_fd)]
    skip = json.dumps(sorted(run.outcomes)).encode()
    # A home of its own: the tests write into the working directory.
    work = Path(os.environ.get("TMPDIR", "/tmp")) / f"stdlib-tests-{os.getpid()}"
    work.mkdir(exist_ok=True)
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=[write_fd],
        cwd=work,
        start_new_session=True,
    )
    os.close(write_fd)
    assert process.stdin is not None
    process.stdin.write(skip)
    process.stdin.close()
    try:
        return _Listener(process, read_fd, run).listen(silence)
    finally:
        os.close(read_fd)
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


class _Listener:
    """Hears one child's reports, and what it prints."""

    def __init__(self, process: subprocess.Popen[bytes], fd: int, run: Run) -> None:
        self._process = process
        self._fd = fd
        self._run = run
        self._current = ""
        self._buffer = b""
        self._output = b""

    def listen(self, silence: float) -> bool:
        """Until the end, a death or too long a silence. Returns whether it came to the end."""
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._fd, selectors.EVENT_READ)
            selector.register(self._process.stdout, selectors.EVENT_READ)
            deadline = time.monotonic() + silence
            while ready := selector.select(max(0.0, deadline - time.monotonic())):
                for key, _ in ready:
                    data = os.read(key.fd, 65536)
                    if key.fd == self._fd:
                        deadline = time.monotonic() + silence
                        ended = self._hear(data)
                        if ended is not None:
                            return ended
                    elif data:
                        self._output = (self._output + data)[-20000:]
                    else:
                        selector.unregister(self._process.stdout)
        self._broken("hung")
        return False

    def _hear(self, data: bytes) -> bool | None:
        """Reports; none at all means that the child has died. Returns whether it has come to its end; None: it goes
        on.
        """
        if not data:
            self._broken("failed")
            return False
        self._buffer += data
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            outcome, test, detail = json.loads(line)
            if outcome == "ended":
                return True
            self._current = test if outcome == "began" else ""
            if outcome != "began" and self._run.outcomes.get(test) != "failed":
                self._run.outcomes[test] = outcome
                self._run.details[test] = detail
        return None

    def _broken(self, outcome: str) -> None:
        said = f"{outcome}: {self._output[-4000:].decode(errors='replace')}"
        if self._current:
            self._run.outcomes[self._current] = outcome
            self._run.details[self._current] = said
        else:
            self._run.problem = said


@dataclass(frozen=True)
class Comparison:
    """One module under one interpreter."""

    module: str
    unpatched: Run
    patched: Run
    version: str

    @property
    def lost(self) -> list[str]:
        """What passes unpatched and does not patched."""
        return sorted(
            test
            for test, outcome in self.unpatched.outcomes.items()
            if outcome == "passed" and self.patched.outcomes.get(test, "not run") not in ("passed", "skipped")
        )

    @property
    def unexplained(self) -> list[str]:
        """What is lost and not in the list of exclusions."""
        return [test for test in self.lost if reason_for(test, self.version) is None]


def compare(python: str, version: str, module: str, patch: str, silence: float) -> Comparison | None:
    """Both runs; None when this interpreter has no such tests."""
    unpatched = run_module(python, module, "none", silence)
    if not unpatched.outcomes:
        return None
    # Those that are known to fail are not tried: some of them would hang, and each take its time.
    excluded = [test for test in unpatched.outcomes if patch == "greenserve" and reason_for(test, version) is not None]
    return Comparison(module, unpatched, run_module(python, module, patch, silence, excluded), version)


def table(comparisons: Sequence[Comparison]) -> str:
    """A table in Markdown."""
    lines = [
        "| Python | tests of | pass unpatched | of these pass patched | fail or hang | explained | patched, all: "
        + ", ".join(OUTCOMES)
        + " |",
        "|---|---|--:|--:|--:|--:|---|",
    ]
    total, lost, explained = 0, 0, 0
    for one in comparisons:
        passed = one.unpatched.count()["passed"]
        counts = one.patched.count()
        total, lost, explained = total + passed, lost + len(one.lost), explained + len(one.lost) - len(one.unexplained)
        lines.append(
            f"| {one.version} | {one.module} | {passed} | {passed - len(one.lost)} | {len(one.lost)} | "
            f"{len(one.lost) - len(one.unexplained)} | {', '.join(str(counts[outcome]) for outcome in OUTCOMES)} |"
        )
    share = 100 * (total - lost) / total if total else 100.0
    lines.append(f"| all | | {total} | {total - lost} ({share:.2f} %) | {lost} | {explained} | |")
    return "\n".join(lines)


def version_of(python: str) -> str:
    """ "3.12", for an interpreter's path."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--module", action="append", help="test module (default: all)")
    parser.add_argument("--python", action="append", help="interpreter (default: this one)")
    parser.add_argument("--patch", default="greenserve", choices=["greenserve", "gevent", "none"])
    parser.add_argument("--silence", type=float, default=SILENCE, help="seconds after which a silent test has hung")
    parser.add_argument("--table", type=Path, help="file to write the table into")
    parser.add_argument("--details", action="store_true", help="print what the tests that are lost have said")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--fd", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(options.child, options.patch, frozenset(json.load(sys.stdin)), options.fd)
    comparisons = []
    for python in options.python or [sys.executable]:
        version = version_of(python)
        for module in options.module or MODULES:
            one = compare(python, version, module, options.patch, options.silence)
            if one is None:
                continue
            comparisons.append(one)
            _tell(one, details=options.details)
    text = table(comparisons)
    print("\n" + text)
    if options.table is not None:
        options.table.write_text(_document(text), encoding="utf-8")
    return 1 if any(one.unexplained for one in comparisons) else 0


def _tell(one: Comparison, *, details: bool) -> None:
    passed = one.unpatched.count()["passed"]
    print(
        f"{one.version} {one.module}: {passed - len(one.lost)} of {passed}; patched {dict(one.patched.count())}",
        flush=True,
    )
    if one.patched.problem:
        print(one.patched.problem)
    for test in one.lost:
        reason = reason_for(test, one.version)
        print(f"  {one.patched.outcomes.get(test, 'not run')} {test}" + (f" ({reason})" if reason else ""), flush=True)
        if details:
            print("    " + one.patched.details.get(test, "").replace("\n", "\n    "))


def _document(text: str) -> str:
    reasons = "\n".join(f"* `{pattern}`: {reason}" for pattern, reason in EXCLUSIONS.items())
    return (
        "# The standard library's own tests under patching\n\nMade by `python tools/stdlib_tests.py --table "
        f"docs/stdlib-tests.md`.\n\n{text}\n\n## Exclusions\n\n{reasons}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
