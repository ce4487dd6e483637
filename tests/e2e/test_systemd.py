"""The command under systemd: what it is told, and when, in virtual time; then a process, and a socket as systemd."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from greenserve import testing
from greenserve.cli.service import END_SECONDS, Service
from greenserve.hub import sleep
from greenserve.hub.core.hub import current_hub
from greenserve.process.systemd import ServiceManager
from greenserve.server.worker_state import WorkerState
from greenserve.settings import Settings
from tests.e2e.conftest import StartServer

APPLICATION = """
import os, subprocess, sys, time

def inherited():
    code = "import os; print([name for name in os.environ if name.startswith(('NOTIFY', 'WATCHDOG'))])"
    return subprocess.run([sys.executable, "-c", code], capture_output=True).stdout

AT_IMPORT = inherited()

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/compute":
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            pass
        return [b"computed"]
    return [AT_IMPORT + inherited()]
"""


class Heard(ServiceManager):
    """A manager that remembers what it is told, and at which second."""

    def __init__(self, watchdog: float = 0.0) -> None:
        super().__init__(watchdog=watchdog)
        self.told: list[tuple[float, dict[str, object]]] = []

    def tell(self, **fields: object) -> None:
        self.told.append((current_hub().clock(), fields))


def test_the_hub_shows_its_life_twice_in_each_interval() -> None:
    with testing.virtual_time():
        heard = Heard(watchdog=30.0)
        Service(heard, Settings()).ready(["http://127.0.0.1:8000"])
        sleep(50)
    (_, ready), *pings = heard.told
    assert ready == {"READY": 1, "STATUS": "listening on http://127.0.0.1:8000", "MAINPID": os.getpid()}
    assert pings == [(at, {"WATCHDOG": 1}) for at in (0, 15, 30, 45)]


def test_without_a_watchdog_nothing_is_said_meanwhile() -> None:
    with testing.virtual_time():
        heard = Heard()
        Service(heard, Settings()).ready([])
        sleep(50)
    assert len(heard.told) == 1


def test_the_end_may_take_the_delay_and_the_grace() -> None:
    heard = Heard()
    service = Service(heard, Settings(drain_delay=5.0, graceful_timeout=20.0))
    for state in WorkerState:
        service.on_state(state)
    extensions = [(fields["STOPPING"], fields["EXTEND_TIMEOUT_USEC"]) for _, fields in heard.told]
    assert extensions == [(1, (25 + END_SECONDS) * 1_000_000), (1, (20 + END_SECONDS) * 1_000_000)]


class Manager:
    """A notify socket, and all that came to it: each message's fields, and when it came."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.messages: list[tuple[float, dict[str, str]]] = []
        self._news = threading.Condition()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while data := self._socket.recv(65536):
            fields = dict(line.split("=", 1) for line in data.decode().split("\n"))
            with self._news:
                self.messages.append((time.monotonic(), fields))
                self._news.notify_all()

    def wait_for(self, field: str, count: int = 1) -> dict[str, str]:
        """The message with `field`, the `count`th one, once it has come."""

        def found() -> list[dict[str, str]]:
            return [fields for _, fields in self.messages if field in fields][count - 1 :]

        with self._news:
            assert self._news.wait_for(found, 20), self.messages
            return found()[0]

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", self.path)
        self._reader.join(10)
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    (tmp_path / "told.py").write_text(APPLICATION)
    found = Manager(tmp_path / "notify")
    try:
        yield found
    finally:
        found.close()


def test_a_service_is_ready_when_it_answers_and_says_how_long_its_end_takes(
    manager: Manager, start_server: StartServer, tmp_path: Path
) -> None:
    env: dict[str, str | None] = {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "200000"}
    server = start_server("told:app", "--drain-delay", "10m", "--graceful-timeout", "20", env=env, cwd=tmp_path)
    ready = manager.wait_for("READY")
    assert ready == {"READY": "1", "STATUS": f"listening on {server.url}", "MAINPID": str(server.pid)}
    assert requests.get(server.url, timeout=20).text == "[]\n[]\n", "children do not find the variables"
    manager.wait_for("WATCHDOG", 3)
    server.send_signal(signal.SIGTERM)
    stopping = manager.wait_for("STOPPING")
    assert (stopping["STOPPING"], stopping["EXTEND_TIMEOUT_USEC"]) == ("1", str(630_000_000))
    assert stopping["STATUS"] == "answering for 600 s before it stops"
    server.send_signal(signal.SIGTERM)
    assert manager.wait_for("STOPPING", 2)["STATUS"] == "stopping; requests in progress have 20 s"
    assert server.wait() == 0


def test_a_hub_that_is_blocked_shows_no_life(manager: Manager, start_server: StartServer, tmp_path: Path) -> None:
    env: dict[str, str | None] = {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "200000"}
    server = start_server("told:app", env=env, cwd=tmp_path)
    assert requests.get(f"{server.url}/compute", timeout=20).text == "computed"
    manager.wait_for("WATCHDOG", 1 + sum("WATCHDOG" in fields for _, fields in manager.messages))
    times = [at for at, fields in manager.messages if "WATCHDOG" in fields]
    assert max(after - before for before, after in itertools.pairwise(times)) > 1.0


def told_at_reload(manager: Manager, number: int, before: float) -> list[dict[str, str]]:
    """What a reload that began after `before` (monotonic seconds) says, from RELOADING to READY; the `number`th one."""
    reloading = manager.wait_for("RELOADING", number)
    assert int(reloading["MONOTONIC_USEC"]) >= before * 1e6, "else it belongs to a signal of before, for systemd"
    manager.wait_for("READY", number + 1)
    said = [fields for _, fields in manager.messages if "WATCHDOG" not in fields]
    return said[said.index(reloading) :]


def test_a_reload_by_systemd_ends_also_where_nothing_is_loaded_anew(
    manager: Manager, start_server: StartServer, tmp_path: Path
) -> None:
    server = start_server("told:app", env={"NOTIFY_SOCKET": manager.path}, cwd=tmp_path)
    manager.wait_for("READY")
    now = time.monotonic()
    server.send_signal(signal.SIGHUP)
    _, ready = told_at_reload(manager, 1, now)
    assert ready == {"READY": "1"}
    server.send_signal(signal.SIGUSR1)
    server.send_signal(signal.SIGTERM)
    manager.wait_for("STOPPING")
    assert sum("RELOADING" in fields for _, fields in manager.messages) == 1


def test_several_workers_are_a_service_that_tells_of_its_reloads_and_their_failures(
    manager: Manager, start_server: StartServer, tmp_path: Path
) -> None:
    env: dict[str, str | None] = {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "400000"}
    server = start_server("told:app", "--workers", "3", "--graceful-timeout", "20", env=env, cwd=tmp_path)
    assert manager.wait_for("READY") == {"READY": "1", "STATUS": f"3 workers, listening on {server.url}"}
    assert requests.get(server.url, timeout=20).text == "[]\n[]\n", "children do not find the variables"
    manager.wait_for("WATCHDOG", 2)
    now = time.monotonic()
    server.send_signal(signal.SIGHUP)
    _, ready = told_at_reload(manager, 1, now)
    server.wait_for_line("reloaded: all workers run generation 2")
    assert ready == {"READY": "1", "STATUS": f"3 workers, listening on {server.url}"}
    (tmp_path / "told.py").write_text("import nothing_of_that_name\n")
    now = time.monotonic()
    for _ in range(2):  # the second one while the first goes on, as it does when a person is quicker than systemd
        server.send_signal(signal.SIGHUP)
        server.wait_for_line("loading the application anew", count=2)
    for number in (2, 3):
        ready = told_at_reload(manager, number, now)[1]
        assert f"3 workers, listening on {server.url}; the last reload has failed: " in ready["STATUS"]
        assert "nothing_of_that_name" in ready["STATUS"]
    server.send_signal(signal.SIGTERM)
    stopping = manager.wait_for("STOPPING")
    assert int(stopping["EXTEND_TIMEOUT_USEC"]) > 20_000_000
    assert server.wait() == 0


def test_when_all_workers_are_blocked_no_life_is_shown(
    manager: Manager, start_server: StartServer, tmp_path: Path
) -> None:
    env: dict[str, str | None] = {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "1000000"}
    server = start_server("told:app", "--workers", "2", env=env, cwd=tmp_path)
    manager.wait_for("WATCHDOG")
    with ThreadPoolExecutor(8) as pool:  # the connections are spread evenly, so each worker has some
        list(pool.map(lambda _: requests.get(f"{server.url}/compute", timeout=30), range(8)))
    manager.wait_for("WATCHDOG", 1 + sum("WATCHDOG" in fields for _, fields in manager.messages))
    times = [at for at, fields in manager.messages if "WATCHDOG" in fields]
    assert max(after - before for before, after in itertools.pairwise(times)) > 1.5


@pytest.mark.parametrize("address", ["/nowhere/notify", "vsock:2:1234"])
def test_a_manager_that_is_not_there_stops_no_server(start_server: StartServer, tmp_path: Path, address: str) -> None:
    (tmp_path / "told.py").write_text(APPLICATION)
    server = start_server("told:app", env={"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "100000"}, cwd=tmp_path)
    assert requests.get(server.url, timeout=20).text == "[]\n[]\n"
    assert server.stop() == 0
    assert server.output.count("cannot be told") == (0 if "vsock" in address else 1)
