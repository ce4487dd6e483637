"""All of the Autobahn suite against the command, serving, and against our own client; writes docs/autobahn.md.

    make autobahn
    python tools/autobahn.py path/to/wstest > docs/autobahn.md

It takes most of an hour, for wstest is an old Python program.
"""

from __future__ import annotations

import socket
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from greenserve.version import VERSION
from tests.e2e.autobahn.suite import GROUPS, Report, fuzz_client, fuzz_server
from tests.e2e.server_process import ServerProcess
from tests.e2e.test_autobahn_real import echo_client

WANTED = (*(f"{group}.*" for group in (1, 2, 3, 4, 5, 6, 7, 9, 10, 12, 13)),)
TITLES = {
    1: "framing",
    2: "pings and pongs",
    3: "reserved bits",
    4: "opcodes",
    5: "fragmentation",
    6: "UTF-8",
    7: "closing",
    9: "limits and performance",
    10: "automatic fragmentation",
    12: "compression",
    13: "compression, parameters",
}
PAGE = """\
# The Autobahn suite

`make autobahn` runs it and writes this page: the fuzzing client against `greenserve`, serving
`tests/e2e/autobahn/echo.py`, and the fuzzing server against `greenserve.websocket.connect`; greenserve {version},
Python {python}. *Not clean* counts connections that did not close as the case asks. The suite calls a case
informational when the standard lets both ways be; those are counted apart.

{server}

{client}

The framing groups (1 to 7 and 10) run in the test suite, too, on both sides.
"""


def run(wstest: str) -> tuple[Report, Report]:
    """The reports of both sides."""
    with tempfile.TemporaryDirectory() as directory:
        served, connected = Path(directory, "server"), Path(directory, "client")
        served.mkdir()
        connected.mkdir()
        with ServerProcess("tests.e2e.autobahn.echo:app", "--ws-max-message", "64M") as server:
            url = server.url.replace("http", "ws")
            of_server = fuzz_server(wstest, url, served, cases=WANTED, timeout=5400)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port: int = free.getsockname()[1]
        of_client = fuzz_client(wstest, port, echo_client, connected, cases=WANTED)
    return of_server, of_client


def table(title: str, report: Report) -> str:
    """A table in Markdown, a row a group."""
    behaviours: dict[int, Counter[str]] = {}
    unclean: Counter[int] = Counter()
    for case, (behaviour, close) in report.cases.items():
        group = int(case.split(".")[0])
        behaviours.setdefault(group, Counter())[behaviour] += 1
        unclean[group] += close not in ("OK", "INFORMATIONAL")
    lines = [
        f"| {title} | " + " | ".join(name.lower() for name in GROUPS) + " | not clean |",
        "|---|" + "--:|" * (len(GROUPS) + 1),
    ]
    for group, counts in sorted(behaviours.items()):
        cells = [counts[name] for name in GROUPS] + [unclean[group]]
        lines.append(f"| {group}. {TITLES[group]} | " + " | ".join(map(str, cells)) + " |")
    sums = [sum(counts[name] for counts in behaviours.values()) for name in GROUPS] + [sum(unclean.values())]
    lines.append("| **all** | " + " | ".join(f"**{number}**" for number in sums) + " |")
    return "\n".join(lines)


def main() -> int:
    """Returns the exit code: 1 if a case has failed, or has not closed cleanly."""
    of_server, of_client = run(sys.argv[1])
    python = ".".join(map(str, sys.version_info[:3]))
    tables = {"server": table("greenserve as server", of_server), "client": table("greenserve as client", of_client)}
    sys.stdout.write(PAGE.format(version=VERSION, python=python, **tables))
    bad = {**of_server.bad, **of_client.bad}
    sys.stderr.write("".join(f"{case}: {verdict}\n" for case, verdict in bad.items()))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
