"""Runs Autobahn's fuzzing client against a server, or its fuzzing server against a client, and reads the report.

    python -m tests.e2e.autobahn.suite WSTEST ws://127.0.0.1:PORT/PATH [--cases "1.* 2.*"] [--exclude "9.*"] [--out DIR]

The server under test echoes text as text and binary as binary, and takes messages of 16 MiB.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

AGENT = "greenserve"
# Large messages and compression: many minutes, where the others take seconds. With the number of cases in each.
SLOW = {"9.*": 54, "12.*": 90, "13.*": 126}
GOOD = frozenset({"OK", "INFORMATIONAL"})
GROUPS = ("OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED", "FAILED")


@dataclass(frozen=True, slots=True)
class Report:
    """What the suite says of each case: its behaviour and how it closed."""

    cases: dict[str, tuple[str, str]]
    directory: Path

    @property
    def bad(self) -> dict[str, tuple[str, str]]:
        """The cases that did not pass strictly and close cleanly."""
        return {case: verdict for case, verdict in self.cases.items() if not GOOD.issuperset(verdict)}

    def table(self) -> str:
        """Totals by group, then each bad case."""
        groups: dict[int, Counter[str]] = {}
        for case, (behaviour, _) in self.cases.items():
            groups.setdefault(int(case.split(".")[0]), Counter())[behaviour] += 1
        lines = [f"{'group':8}" + "".join(f"{name:>15}" for name in GROUPS)]
        for group, counts in sorted(groups.items()):
            lines.append(f"{group:<8}" + "".join(f"{counts[name]:>15}" for name in GROUPS))
        lines += [f"{case}: behaviour {verdict[0]}, close {verdict[1]}" for case, verdict in sorted(self.bad.items())]
        return "\n".join([*lines, f"{len(self.cases)} cases, {len(self.bad)} bad; report in {self.directory}"])


def read_report(directory: Path) -> Report:
    """The report that wstest left in `directory`."""
    results = json.loads((directory / "index.json").read_text())[AGENT]
    cases = {case: (result["behavior"], result["behaviorClose"]) for case, result in results.items()}
    return Report(cases, directory)


def fuzz_server(
    wstest: str,
    url: str,
    directory: Path,
    *,
    cases: tuple[str, ...] = ("*",),
    exclude: tuple[str, ...] = (),
    timeout: float = 1800,
) -> Report:
    """Run the fuzzing client against the echo server at `url`. timeout: seconds for the whole run."""
    settings = directory / "fuzzingclient.json"
    settings.write_text(
        json.dumps(
            {
                "outdir": str(directory),
                "servers": [{"agent": AGENT, "url": url}],
                "cases": list(cases),
                "exclude-cases": list(exclude),
                "exclude-agent-cases": {},
            }
        )
    )
    with (directory / "wstest.log").open("wb") as log:
        command = [wstest, "-m", "fuzzingclient", "-s", str(settings)]
        subprocess.run(command, stdout=log, stderr=log, timeout=timeout, check=True)
    return read_report(directory)


def fuzz_client(
    wstest: str,
    port: int,
    client: Callable[[str], list[str | bytes]],
    directory: Path,
    *,
    cases: tuple[str, ...] = ("*",),
    exclude: tuple[str, ...] = (),
) -> Report:
    """Run the fuzzing server on 127.0.0.1:port, and `client(url)` once for each case.

    client: connects, echoes every message until the connection ends, and returns the messages it got.
    """
    url = f"ws://127.0.0.1:{port}"
    settings = directory / "fuzzingserver.json"
    settings.write_text(
        json.dumps(
            {
                "outdir": str(directory),
                "url": url,
                "cases": list(cases),
                "exclude-cases": list(exclude),
                "exclude-agent-cases": {},
            }
        )
    )
    with (directory / "wstest.log").open("wb") as log:
        command = [wstest, "-m", "fuzzingserver", "-s", str(settings), "-w", "0"]
        server = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            count = int(_when_listening(lambda: client(f"{url}/getCaseCount"))[0])
            for case in range(1, count + 1):
                client(f"{url}/runCase?case={case}&agent={AGENT}")
            client(f"{url}/updateReports?agent={AGENT}")
        finally:
            server.terminate()
            server.wait(10)
    return read_report(directory)


def _when_listening(call: Callable[[], list[str | bytes]], patience: float = 20) -> list[str | bytes]:
    end = time.monotonic() + patience
    while True:
        try:
            return call()
        except ConnectionRefusedError:
            # wstest says nowhere that it listens by now.
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def main() -> int:
    """The command line: 0 when every case passed strictly and closed cleanly."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wstest")
    parser.add_argument("url")
    parser.add_argument("--cases", default="*")
    parser.add_argument("--exclude", default="")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if urlsplit(options.url).hostname not in {"127.0.0.1", "localhost", "::1"}:
        parser.error("the suite floods what it tests: only a server on this machine")
    directory = options.out or Path(tempfile.mkdtemp(prefix="autobahn-"))
    directory.mkdir(parents=True, exist_ok=True)
    report = fuzz_server(
        options.wstest,
        options.url,
        directory,
        cases=tuple(options.cases.split()),
        exclude=tuple(options.exclude.split()),
    )
    print(report.table())
    return 1 if report.bad or not report.cases else 0


if __name__ == "__main__":
    sys.exit(main())
