"""Hooks of processes, by the installed command; and what docs/deploy.md does with them."""

from __future__ import annotations

import os
import re
import shlex
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests
from websockets.sync.client import connect

from tests.documents import DOCS, Page, file_name
from tests.e2e.server_process import ServerProcess
from tests.waiting import until_blocking

PAGE = Page(DOCS / "deploy.md")
FILES = {file_name(block): block for language, block in PAGE.blocks if language in ("python", "env")}

APPLICATION = """
import os

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""

# Each line is one write: processes append to one file.
HOOKS = """
import os, time

def note(name, *more):
    with open("notes", "ab", buffering=0) as file:
        file.write(" ".join(map(str, (name, os.getpid(), *more))).encode() + b"\\n")

def on_starting(server): note("on_starting", server.pid)
def on_reload(server): note("on_reload")
def when_ready(server): note("when_ready")
def pre_fork(server, worker): worker.mine = f"mine{worker.age}"
def post_fork(server, worker): note("post_fork", worker.age, worker.mine)
def post_worker_init(worker): note("post_worker_init")
def worker_exit(server, worker):
    time.sleep(0.01)  # patched, and so in the hub
    note("worker_exit", worker.age, worker.mine)
def child_exit(server, worker): note("child_exit", worker.pid, worker.age)
def on_exit(server): note("on_exit")
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "application.py").write_text(APPLICATION)
    (tmp_path / "gunicorn.conf.py").write_text(HOOKS)
    return tmp_path


def notes(place: Path) -> list[list[str]]:
    path = place / "notes"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def hooked(place: Path, *arguments: str) -> ServerProcess:
    return ServerProcess("application:app", "--hooks", "gunicorn.conf.py", *arguments, cwd=place)


def test_with_one_worker_one_process_calls_them_all(place: Path) -> None:
    with hooked(place) as server:
        pid = str(server.pid)
        assert requests.get(server.url, timeout=20).text == pid
        assert server.stop() == 0
    assert notes(place) == [
        ["on_starting", pid, pid],
        ["post_fork", pid, "1", "mine1"],
        ["post_worker_init", pid],
        ["when_ready", pid],
        ["worker_exit", pid, "1", "mine1"],
        ["child_exit", pid, pid, "1"],
        ["on_exit", pid],
    ]


def test_hooks_of_workers_that_are_killed_replaced_and_stopped(place: Path) -> None:
    with hooked(place, "--workers", "2") as server:
        until_blocking(lambda: sum(name == "post_worker_init" for name, *_ in notes(place)) == 2)
        template = notes(place)[0][1]
        first = requests.get(server.url, timeout=20).text
        os.kill(int(first), signal.SIGKILL)
        until_blocking(lambda: sum(name == "post_worker_init" for name, *_ in notes(place)) == 3)
        until_blocking(lambda: any(line[:3] == ["child_exit", template, first] for line in notes(place)))
        server.send_signal(signal.SIGHUP)
        server.wait_for_line("reloaded")
        until_blocking(lambda: sum(name == "child_exit" for name, *_ in notes(place)) == 3)
        workers = [pid for name, pid, *_ in notes(place) if name == "post_fork"]
        for pid in workers[-2:]:  # as systemd does, which stops all processes of a unit
            os.kill(int(pid), signal.SIGTERM)
        (new_template,) = [pid for name, pid, *_ in notes(place) if name == "on_reload"]
        os.kill(int(new_template), signal.SIGTERM)
        assert server.stop() == 0
    found = notes(place)
    assert [line for line in found if line[0] == "on_starting"] == [["on_starting", template, str(server.pid)]]
    assert [line[1] for line in found if line[0] == "when_ready"] == [template]
    begun = [line[1:] for line in found if line[0] == "post_fork"]
    assert len(begun) == 5
    assert {tuple(line[1:]) for line in found if line[0] == "worker_exit"} == {
        tuple(line) for line in begun if line[0] != first
    }
    ended = [line[1:] for line in found if line[0] == "child_exit"]
    assert {(pid, age) for _, pid, age in ended} == {(pid, age) for pid, age, _ in begun}
    assert {caller for caller, *_ in ended} == {template, new_template}
    assert found[-1] == ["on_exit", new_template]


@pytest.mark.parametrize("more", [(), ("--workers", "2"), ("--workers", "2", "--no-preload")])
def test_a_worker_whose_hook_fails_ends_a_server_that_begins(place: Path, more: tuple[str, ...]) -> None:
    (place / "failing.py").write_text("def post_fork(server, worker):\n    raise RuntimeError('no database')\n")
    server = ServerProcess("application:app", "--hooks", "failing", *more, cwd=place)
    server.launch()
    assert server.wait() == 3
    assert "hooks = 'failing': post_fork failed: RuntimeError: no database" in server.output
    assert "failing.py" in server.output


# -- what docs/deploy.md shows

ORDERS = """
import os
from sqlalchemy import create_engine, event, text

engine = create_engine("sqlite:///orders.sqlite", pool_size=1)
owners = []
event.listen(engine, "connect", lambda *_: owners.append(os.getpid()))
with engine.connect() as connection:
    connection.execute(text("select 1"))


def app(environ, start_response):
    with engine.connect() as connection:
        connection.execute(text("select 1"))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {owners[-1]}".encode()]
"""

TRACED = """
import os
from opentelemetry import trace

def app(environ, start_response):
    with trace.get_tracer("test").start_as_current_span("answer"):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]
"""


@contextmanager
def all_workers(server: ServerProcess, count: int) -> Iterator[list[str]]:
    """What they answer, over connections that stay open; as many as it takes until each has one."""
    with ExitStack() as stack:
        answers: list[str] = []

        def each_has_answered() -> bool:
            answers.append(stack.enter_context(requests.Session()).get(server.url, timeout=20).text)
            return len(set(answers)) == count

        until_blocking(each_has_answered)
        yield answers


def test_each_worker_opens_its_own_connections_to_the_database(tmp_path: Path) -> None:
    (tmp_path / "orders.py").write_text(ORDERS)
    (tmp_path / "pool_hooks.py").write_text(FILES["pool_hooks.py"])
    with ServerProcess("orders:app", "--workers", "2", "--hooks", "pool_hooks", cwd=tmp_path) as server:
        with all_workers(server, 2) as answers:
            assert all(pid == owner for pid, owner in map(str.split, answers)), answers
        assert server.stop() == 0
    assert "Traceback" not in server.output


@pytest.mark.parametrize("workers", ["1", "2"])
def test_each_worker_sends_its_spans(tmp_path: Path, workers: str) -> None:
    (tmp_path / "traced.py").write_text(TRACED)
    (tmp_path / "tracing_hooks.py").write_text(FILES["tracing_hooks.py"])
    with ServerProcess("traced:app", "--workers", workers, "--hooks", "tracing_hooks", cwd=tmp_path) as server:
        with all_workers(server, int(workers)) as answers:
            pass
        assert server.stop() == 0
    instances = re.findall(r'"service.instance.id": "(\d+)"', server.stdout)
    assert sorted(instances) == sorted(answers)


def test_the_figures_of_all_workers_are_added_and_a_killed_ones_gauges_go(tmp_path: Path) -> None:
    (command,) = [command for command in PAGE.commands() if "counted:app" in command]
    words = shlex.split(command.replace("--workers 4", "--workers 2"))[1:]
    for name in ("hello.py", "counted.py", "metrics_hooks.py", "metrics.env"):
        (tmp_path / name).write_text(FILES[name])
    directory = tmp_path / "metrics"
    directory.mkdir()
    (directory / "counter_1.db").write_bytes(b"of the last run")
    log = ("--access-log", "-", "--access-log-format", "pid=%P")
    with ServerProcess(*words, *log, cwd=tmp_path) as server:
        with ExitStack() as stack:
            pids: set[str] = set()

            def each_has_answered() -> bool:
                stack.enter_context(requests.Session()).get(server.url, timeout=20)
                pids.update(re.findall(r"pid=(\d+)", server.stdout))
                return len(pids) == 2

            until_blocking(each_has_answered)
        so_far = len(server.wait_for_line(r"pid=\d+"))
        found = figures(server)
        assert found["requests_total"] > so_far
        assert found["busy"] == 1.0
        with connect(server.url.replace("http", "ws") + "/echo", origin=server.url, proxy=None) as ws:  # type: ignore[arg-type]
            ws.send("hello")
            assert ws.recv(timeout=20) == "hello"
            assert figures(server)["busy"] == 2.0
            for pid in pids:
                os.kill(int(pid), signal.SIGKILL)
        server.wait_for_line("was killed by SIGKILL", count=2)
        until_blocking(lambda: figures(server)["busy"] == 1.0)
        assert figures(server)["requests_total"] >= found["requests_total"] + 3
        assert server.stop() == 0


def figures(server: ServerProcess) -> dict[str, float]:
    text = requests.get(f"{server.url}/metrics", timeout=20).text
    return {name: float(value) for name, value in re.findall(r"^(requests_total|busy) (\S+)$", text, re.MULTILINE)}
