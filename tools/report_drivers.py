"""Plays with those programs of reports.py that are only applications: report_drivers.py NAME, in their folder."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def serving(*words: str) -> Iterator[str]:
    """`greenserve WORDS` on a free port; its URL."""
    log = Path("server.log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "greenserve", *words, "--bind", "127.0.0.1:0"], stdout=output, stderr=output
        )
    try:
        while "listening on " not in (said := log.read_text()):
            if process.poll() is not None:
                raise SystemExit(f"no server: {said}")
            time.sleep(0.02)
        yield said.partition("listening on ")[2].split()[0].rstrip("/")
    finally:
        process.terminate()
        print("server's exit status", process.wait(20))
        print("\n".join(log.read_text().splitlines()[-20:]))


def status(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return str(answer.status)
    except urllib.error.HTTPError as error:
        return str(error.code)
    except OSError as error:
        return repr(error)


def ask(url: str, wanted: dict[str, int]) -> None:
    """So many requests of each path, at once; prints how often each status came."""
    with ThreadPoolExecutor(sum(wanted.values())) as pool:
        jobs = [(path, pool.submit(status, url + path)) for path, count in wanted.items() for _ in range(count)]
        for (path, code), count in sorted(Counter((path, job.result()) for path, job in jobs).items()):
            print(f"{path} {code} x{count}")


def app_async() -> None:
    with serving("app_async:app") as url:
        ask(url, {"/": 12, "/plain": 12})


def app_deep() -> None:
    with serving("app_deep:app") as url:
        ask(url, {"/deep": 5, "/": 20})
        print("still", status(url + "/"))


def five() -> None:
    with serving("asyncio_gel_server:app") as url:
        subprocess.run([sys.executable, "five.py", url], check=True)


def blast() -> None:
    port = Path("b19_server.py").read_text().rpartition("127.0.0.1:")[2][:5]
    server = subprocess.Popen([sys.executable, "b19_server.py"])
    try:
        while status(f"http://127.0.0.1:{port}/") != "200":
            time.sleep(0.05)
        probe = subprocess.Popen([sys.executable, "b19_probe.py"])
        subprocess.run([sys.executable, "b19_blast.py"], check=True)
        probe.wait()
    finally:
        server.terminate()
        server.wait(20)


DRIVERS = {"app_async": app_async, "app_deep": app_deep, "five": five, "blast": blast}

if __name__ == "__main__":
    DRIVERS[sys.argv[1]]()
