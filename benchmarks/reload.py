"""How long from a save to the first answer of the new code: `python benchmarks/reload.py [--saves 15]`.

The application is a small one on Flask. A client asks again and again; what counts is the time from the write of the
file to the answer that has the new text. Writes results/reload.md.
"""

from __future__ import annotations

import argparse
import datetime
import http.client
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # as a script, Python puts this file's own directory there

from benchmarks.environment import machine  # noqa: E402
from benchmarks.process import STOP_SECONDS, free_port  # noqa: E402
from benchmarks.report import markdown_table  # noqa: E402

VIEWS = 'from flask import Flask\n\napp = Flask(__name__)\n\n\n@app.get("/")\ndef index():\n    return "version {}"\n'
REST = 0.5, 1.5  # seconds between an answer and the next save: as likely in one part of a watcher's period as another
PATIENCE = 20.0
RESULTS = ROOT / "benchmarks" / "results" / "reload.md"

GREENSERVE = "-m greenserve views:app --reload --bind 127.0.0.1:{}"
WAYS = {
    "greenserve": (GREENSERVE, {}, "--reload, with watchfiles"),
    "greenserve, polling": (GREENSERVE, {"WATCHFILES_FORCE_POLLING": "true"}, "--reload, without watchfiles"),
    "flask": ("-m flask --app views run --debug --port {}", {}, "flask run --debug: each second it looks at all files"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--saves", type=int, default=15)
    saves = parser.parse_args().saves
    rows = []
    for name, (words, environ, note) in WAYS.items():
        found = measure(words, environ, saves)
        rows.append([name, f"{statistics.median(found):.0f}", f"{max(found):.0f}", note])
        print(*rows[-1], sep="  ")
    facts = machine()
    when = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    RESULTS.write_text(
        f"# From a save to the new code\n\n{when}, {saves} saves each of a small application on Flask\n\n"
        + markdown_table(("server", "median ms", "longest ms", "notes"), rows)
        + f"\n\n{facts['cpu']}, {facts['cores']} cores, kernel {facts['kernel']}, Python {facts['python']}\n"
    )


def measure(words: str, environ: dict[str, str], saves: int) -> list[float]:
    """Milliseconds of each save."""
    port = free_port()
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, "views.py")
        file.write_text(VIEWS.format(0))
        process = subprocess.Popen(
            [sys.executable, *words.format(port).split()],
            cwd=scratch,
            env={**os.environ, **environ},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            until_served(port, "version 0")
            found = []
            for number in range(1, saves + 1):
                time.sleep(random.uniform(*REST))
                file.write_text(VIEWS.format(number))
                since = time.perf_counter()
                until_served(port, f"version {number}")
                found.append((time.perf_counter() - since) * 1000)
            return found
        finally:
            os.killpg(process.pid, signal.SIGTERM)  # Flask's process that serves is a child
            process.wait(STOP_SECONDS)


def until_served(port: int, text: str) -> None:
    """Ask until that is the answer; a connection that is refused meanwhile is tried again."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=PATIENCE) as answer:
                if answer.read().decode() == text:
                    return
        except (OSError, http.client.HTTPException):  # Flask's server ends in the middle of an answer
            pass
        time.sleep(0.002)
    raise TimeoutError(f"{text} is not served within {PATIENCE:g} s")


if __name__ == "__main__":
    main()
