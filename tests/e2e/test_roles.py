"""Which of several processes is which: in the log, and in `ps`."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

import pytest
import requests

from tests.e2e.server_process import ServerProcess, run_command
from tests.waiting import until_blocking

APPLICATION = """
import os, time

def app(environ, start_response):
    if environ["PATH_INFO"] == "/wait":
        time.sleep(1.5)
    if environ["PATH_INFO"] == "/fail":
        raise RuntimeError(os.getpid())
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "application.py").write_text(APPLICATION)
    return tmp_path


def children(server: ServerProcess) -> dict[int, list[str]]:
    """The words of each process that is the server's child."""
    pids = map(int, Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split())
    return {pid: Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0") for pid in pids}


def titles(server: ServerProcess) -> set[str]:
    return {words[0].removeprefix("greenserve: ") for words in children(server).values()}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_each_process_has_a_title_and_health_finds_the_server_all_the_same(place: Path) -> None:
    with ServerProcess("application:app", "--workers", "2", cwd=place) as server:
        workers = {"worker 1 application:app", "worker 2 application:app"}
        until_blocking(lambda: titles(server) == {"template application:app", *workers})
        for pid in (server.pid, max(children(server))):
            assert run_command("health", "--pid", str(pid)).stdout == f"{server.url[7:]} answers with 200\n"
        client = threading.Thread(target=lambda: requests.get(server.url + "/wait", timeout=20))
        client.start()
        until_blocking(lambda: "ESTAB" in client_of(server))
        server.send_signal(signal.SIGTERM)
        until_blocking(lambda: any(title.endswith("application:app (draining)") for title in titles(server)))
        client.join(20)
        assert server.wait() == 0


def client_of(server: ServerProcess) -> str:
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return " ".join("ESTAB" for row in rows if row[1].endswith(f":{server.port:04X}") and row[3] == "01")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_without_setproctitle_they_keep_their_command_line_and_lines_name_their_worker(place: Path) -> None:
    (place / "setproctitle.py").write_text("raise ImportError('it is not installed')\n")
    with ServerProcess("application:app", "--workers", "2", cwd=place) as server:
        assert requests.get(server.url + "/fail", timeout=20).status_code == 500
        (line,) = server.wait_for_line(r"ERROR   worker [12] \(pid (\d+)\): .*/fail")
        assert "application:app" in children(server)[int(line[1])]
        server.wait_for_line(rf"RuntimeError: {line[1]}$")
        assert server.stop() == 0
        assert f"(pid {line[1]}) has ended" in server.output


def test_a_process_that_is_alone_has_no_name_in_its_lines(place: Path) -> None:
    with ServerProcess("application:app", cwd=place) as server:
        assert requests.get(server.url + "/fail", timeout=20).status_code == 500
        server.wait_for_line(r"ERROR   (?!worker).*/fail")
