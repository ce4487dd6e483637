"""One module of the standard library's tests in one process, unpatched or patched: reports each test's outcome.

    python stdlib_child.py MODULE PATCH FD < a JSON list of the tests to leave out

The report goes to the descriptor FD, a JSON list a line: [outcome, test, detail]. It must not wait for anything that is
patched, so it is one write(2).
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


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


def main(module: str, patch: str, fd: int) -> None:
    """Run the tests of `module` but those that standard input names."""
    # A shell that starts us in the background has us ignore SIGINT (POSIX §2.11); asyncio's tests send it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    skip = frozenset(json.load(sys.stdin))
    reporter = Reporter(fd)
    if patch == "greenserve":
        sys.path.insert(0, str(ROOT))
        importlib.import_module("greenserve.patching.monkey").monkey_patch()
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


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
