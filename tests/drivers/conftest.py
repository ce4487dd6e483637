"""The servers, one of each for all tests here, and a way to run a program that knows nothing of greenserve."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.drivers import databases
from tests.rooms.redis_server import RedisServer

PRELUDE = """
import json, sys, threading, time
from concurrent.futures import ThreadPoolExecutor

URL = sys.argv[1]

def at_once(count, function):
    "Call function(0), function(1), ... each in a thread; print how long all took, and what came."
    begun = time.monotonic()
    with ThreadPoolExecutor(count) as pool:
        results = list(pool.map(function, range(count)))
    print(json.dumps({"seconds": time.monotonic() - begun, "results": results}))
"""

Program = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    with databases.postgresql() as url:
        yield url


@pytest.fixture(scope="session")
def mariadb() -> Iterator[str]:
    with databases.mariadb() as url:
        yield url


@pytest.fixture(scope="session")
def redis() -> Iterator[str]:
    with RedisServer() as server:
        yield server.url


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Runs a program's text under `greenserve run`, and returns the last line that it prints, read as JSON."""

    def run(text: str, *arguments: str, patched: bool = True) -> dict[str, Any]:
        (tmp_path / "program.py").write_text(PRELUDE + textwrap.dedent(text))
        how = ["-m", "greenserve", "run"] if patched else []
        done = subprocess.run(
            [sys.executable, "-W", "error::RuntimeWarning", *how, "program.py", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=50,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return said

    return run
