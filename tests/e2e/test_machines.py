"""Two machines behind nginx and HAProxy, by the configurations of deploy/: one of them is stopped, one fails.

A machine is a server process on a port of its own; and, where that can be, one in a network namespace of its own, with
the addresses that the configurations have, and a cable that can be cut.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest
import requests

from tests.conftest import REPOSITORY, missing, require_program
from tests.e2e.proxies.programs import NGINX_HTTP, NGINX_MAIN, haproxy, nginx
from tests.e2e.server_process import ServerProcess

APPLICATION = """
import os

def app(environ, start_response):
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.environ['MACHINE']} {environ['REMOTE_ADDR']}".encode()]
"""
OPTIONS = ("--workers", "2", "--drain-delay", "1s", "--graceful-timeout", "10")
AROUND = NGINX_MAIN + "http {{" + NGINX_HTTP + "include {directory}/machines.conf; }}"
NAMES = ("one", "two")
ADDRESSES = {"one": "10.0.0.11", "two": "10.0.0.12"}

Front = Callable[[Path, int, dict[str, str]], AbstractContextManager[str]]


@contextmanager
def behind_nginx(directory: Path, port: int, places: dict[str, str]) -> Iterator[str]:
    text = (REPOSITORY / "deploy/nginx/machines.conf").read_text()
    for name, place in places.items():
        text = text.replace(f"{ADDRESSES[name]}:8000", place)
    (directory / "machines.conf").write_text(text.replace("listen 80;", f"listen 127.0.0.1:{port};"))
    with nginx(directory, port, AROUND) as url:
        yield url


@contextmanager
def behind_haproxy(directory: Path, port: int, places: dict[str, str]) -> Iterator[str]:
    text = (REPOSITORY / "deploy/haproxy/haproxy.cfg").read_text()
    text, count = re.subn(r"bind :443 ssl crt \S+", f"bind 127.0.0.1:{port}", text)
    assert count == 1, "the certificate is tests/test_deploy.py's to try"
    for name, place in places.items():
        text = text.replace(f"{ADDRESSES[name]}:8000", place)
    with haproxy(directory, port, text) as url:
        yield url


FRONTS = [pytest.param(behind_nginx, id="nginx"), pytest.param(behind_haproxy, id="haproxy")]


class Load:
    """Clients that ask again and again, each request on a connection of the client's own or a new one, in threads."""

    def __init__(
        self, url: str, *, methods: tuple[str, ...] = ("GET", "POST"), clients: int = 4, timeout: float = 20.0
    ) -> None:
        self.failures: list[str] = []
        self.answers: Counter[str] = Counter()
        self._news = threading.Condition()
        self._ends = threading.Event()
        self._url, self._timeout = url, timeout
        arguments = [(methods[number % len(methods)], number % 4 < 2) for number in range(clients)]
        self._threads = [threading.Thread(target=self._ask, args=each) for each in arguments]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join(30)

    def _ask(self, method: str, kept: bool) -> None:
        with requests.Session() as session:
            while not self._ends.is_set():
                ask = session.request if kept else requests.request
                try:
                    answer = ask(
                        method, self._url, data=b"x" * 1000 if method == "POST" else None, timeout=self._timeout
                    )
                    found, failure = answer.text, "" if answer.ok else f"{method}: {answer.status_code}"
                except requests.RequestException as error:
                    found, failure = "", f"{method}: {error}"
                with self._news:
                    if failure:
                        self.failures.append(failure)
                    else:
                        self.answers[found.split()[0]] += 1
                    self._news.notify_all()

    def wait_for(self, count: int, *names: str) -> None:
        """Until there are so many more answers of each of these machines."""
        with self._news:
            wanted = {name: self.answers[name] + count for name in names}
            done = self._news.wait_for(lambda: all(self.answers[name] >= wanted[name] for name in names), 30)
            assert done, (wanted, self.answers, self.failures)


@contextmanager
def machines(directory: Path) -> Iterator[dict[str, ServerProcess]]:
    (directory / "application.py").write_text(APPLICATION)
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(ServerProcess("application:app", *OPTIONS, env={"MACHINE": name}, cwd=directory))
            for name in NAMES
        }


@pytest.mark.parametrize("front", FRONTS)
def test_no_request_fails_when_one_machine_is_stopped_under_load(front: Front, tmp_path: Path, free_port: int) -> None:
    with machines(tmp_path) as servers:
        places = {name: f"{server.host}:{server.port}" for name, server in servers.items()}
        with front(tmp_path, free_port, places) as url, Load(url) as load:
            load.wait_for(20, "one", "two")
            assert servers["one"].stop() == 0
            load.wait_for(50, "two")
        assert load.failures == []
        assert "Traceback" not in "".join(server.output for server in servers.values())


@pytest.mark.parametrize("front", FRONTS)
def test_a_machine_that_fails_is_replaced_by_the_other(front: Front, tmp_path: Path, free_port: int) -> None:
    """What a client may repeat is answered; at most those POSTs fail that the machine had."""
    with machines(tmp_path) as servers:
        places = {name: f"{server.host}:{server.port}" for name, server in servers.items()}
        with front(tmp_path, free_port, places) as url, Load(url) as load:
            load.wait_for(20, "one", "two")
            os.killpg(servers["one"].pid, signal.SIGKILL)
            load.wait_for(50, "two")
        assert [failure for failure in load.failures if not failure.startswith("POST: ")] == []
        assert len(load.failures) <= 2


class Cables:
    """Two network namespaces, each with an end of a cable whose other end is here."""

    def __init__(self) -> None:
        self._ip = require_program("ip")
        self.namespaces = {name: f"greenserve-{os.getpid()}-{name}" for name in NAMES}
        self._ends = {name: f"gs{os.getpid() % 10**7}{name}" for name in NAMES}

    def __enter__(self) -> Cables:
        try:
            for number, name in enumerate(NAMES, 11):
                inside, end = self.namespaces[name], self._ends[name]
                self._run("netns", "add", inside)
                self._run("link", "add", end, "type", "veth", "peer", "name", "eth0", "netns", inside)
                self._run("-n", inside, "addr", "add", f"10.0.0.{number}/32", "dev", "eth0")
                self._run("-n", inside, "link", "set", "eth0", "up")
                self._run("-n", inside, "link", "set", "lo", "up")
                self._run("link", "set", end, "up")
                self._run("addr", "add", "10.0.0.10/32", "dev", end)
                self._run("route", "add", f"10.0.0.{number}/32", "dev", end, "src", "10.0.0.10")
                self._run("-n", inside, "route", "add", "10.0.0.10/32", "dev", "eth0")
        except subprocess.CalledProcessError as error:
            self.__exit__()
            missing(f"no network namespaces can be made here: {error.stderr.strip()}")
        return self

    def __exit__(self, *_: object) -> None:
        for name in NAMES:
            for words in (("link", "del", self._ends[name]), ("netns", "del", self.namespaces[name])):
                subprocess.run([self._ip, *words], capture_output=True, timeout=20)

    def inside(self, name: str) -> tuple[str, ...]:
        """What comes before a command to have it run on that machine."""
        return (self._ip, "netns", "exec", self.namespaces[name])

    def cut(self, name: str) -> None:
        """The machine answers nothing any more, and refuses nothing either."""
        self._run("-n", self.namespaces[name], "link", "set", "eth0", "down")

    def _run(self, *words: str) -> None:
        subprocess.run([self._ip, *words], check=True, capture_output=True, text=True, timeout=20)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes network namespaces that this process can reach")
@pytest.mark.parametrize("front", FRONTS)
def test_two_machines_with_networks_of_their_own(front: Front, tmp_path: Path, free_port: int) -> None:
    (tmp_path / "application.py").write_text(APPLICATION)
    with Cables() as cables, ExitStack() as stack:
        for name in NAMES:
            server = ServerProcess(
                *("application:app", *OPTIONS, "--trusted-proxies", "10.0.0.10"),
                bind=("0.0.0.0:8000",),
                env={"MACHINE": name},
                cwd=tmp_path,
                executable=(*cables.inside(name), sys.executable, "-m", "greenserve"),
            )
            stack.enter_context(server)
        with front(tmp_path, free_port, {}) as url:
            with Load(url, methods=("GET",)) as load:
                load.wait_for(20, "one", "two")
            assert load.failures == []
            assert requests.get(url, timeout=20).text.split()[1] == "127.0.0.1", "the proxy is trusted"
            cables.cut("one")
            # What the proxy sends on a connection of before has no answer; and it tries again from time to time.
            with Load(url, methods=("GET",), clients=2, timeout=2) as load:
                load.wait_for(5, "two")
            assert not load.answers["one"]
