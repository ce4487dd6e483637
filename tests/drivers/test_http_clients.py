"""requests and httpx against our own server, a thousand at once, names looked up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drivers.conftest import Program
from tests.e2e.server_process import ServerProcess

APP = """
import time
def app(environ, start_response):
    time.sleep(0.1)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["QUERY_STRING"].encode()]
"""
CLIENTS = {
    "requests": """
        import requests
        def fetch(n):
            return int(requests.get(f"{URL}?{n}", timeout=40).text)
        at_once(1000, fetch)
    """,
    "requests session": """
        import requests
        session = requests.Session()
        session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=1000))
        def fetch(n):
            return int(session.get(f"{URL}?{n}", timeout=40).text)
        at_once(1000, fetch)
    """,
    "httpx": """
        import httpx
        with httpx.Client(timeout=40, limits=httpx.Limits(max_connections=1000)) as client:
            def fetch(n):
                return int(client.get(f"{URL}?{n}").text)
            at_once(300, fetch)  # its pool looks through all its connections at each request
    """,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    directory: Path = tmp_path_factory.mktemp("served")
    (directory / "slow.py").write_text(APP)
    with ServerProcess("slow:app", cwd=directory) as process:
        yield process
    assert process.returncode == 0
    assert "Traceback" not in process.output


@pytest.mark.parametrize("client", CLIENTS)
def test_a_thousand_requests_wait_together(server: ServerProcess, program: Program, client: str) -> None:
    said = program(CLIENTS[client], f"http://localhost:{server.port}/")
    count = len(said["results"])
    assert count in (300, 1000)
    assert said["results"] == list(range(count))
    assert said["seconds"] < count * 0.1 / 2
