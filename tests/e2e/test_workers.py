"""Several worker processes, by the installed command: started, loaded, killed, blocked, reloaded and stopped."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests

from tests.e2e.server_process import REPOSITORY, ServerProcess
from tests.waiting import until_blocking

APPLICATION = """
import os, re, time

VERSION = "one"


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/wait":
        time.sleep(1)
    elif path == "/compute":
        while True:
            pass
    elif path == "/stuck":  # in C, where no Python handler can run
        re.match("(a+)+$", "a" * 60 + "b")
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Multiprocess", str(environ["wsgi.multiprocess"]))])
    return [f"{os.getpid()} {VERSION}".encode()]
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "application.py").write_text(APPLICATION)
    return tmp_path


def serve(place: Path, *arguments: str, workers: int = 2, **options: object) -> ServerProcess:
    number = ("--workers", str(workers)) if workers else ()
    return ServerProcess("application:app", *number, *arguments, cwd=place, **options)  # type: ignore[arg-type]


def ask(server: ServerProcess, path: str = "/") -> tuple[int, str]:
    """The pid of the worker that answers, over a connection of its own, and its version."""
    response = requests.get(server.url + path, timeout=20)
    assert response.status_code == 200
    pid, version = response.text.split()
    return int(pid), version


@contextmanager
def held_open(server: ServerProcess, count: int) -> Iterator[Counter[int]]:
    """So many connections; how many each worker has."""
    with ExitStack() as stack:
        found: Counter[int] = Counter()
        for _ in range(count):
            session = stack.enter_context(requests.Session())
            found[int(session.get(server.url, timeout=20).text.split()[0])] += 1
        yield found


def test_requests_are_served_by_all_workers_and_each_has_its_share_of_connections(place: Path) -> None:
    with serve(place, workers=3) as server:
        assert "3 workers" in server.output
        assert requests.get(server.url, timeout=20).headers["X-Multiprocess"] == "True"
        answering: set[int] = set()

        def all_are_ready() -> bool:
            with held_open(server, 6) as found:
                answering.update(found)
            return len(answering) == 3

        until_blocking(all_are_ready)
        with held_open(server, 60) as found:
            assert len(found) == 3
            assert max(found.values()) - min(found.values()) <= 4, found
        assert server.stop() == 0
    assert "Traceback" not in server.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_in_progress_is_finished_at_the_end(place: Path, number: signal.Signals) -> None:
    with serve(place) as server:
        answers: list[object] = []
        client = threading.Thread(target=lambda: answers.append(ask(server, "/wait")))
        client.start()
        until_blocking(lambda: "ESTABLISHED" in established(server.port))
        server.send_signal(number)
        client.join(20)
        assert answers
        assert server.wait() == 0


def established(port: int) -> str:
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return " ".join("ESTABLISHED" for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "01")


def test_a_killed_worker_has_a_successor_and_the_log_says_how_it_ended(place: Path) -> None:
    with serve(place) as server:
        pid, _ = ask(server)
        os.kill(pid, signal.SIGKILL)
        server.wait_for_line(rf"pid {pid}\) was killed by SIGKILL")
        pids = set()
        with ExitStack() as stack:  # more and more connections, until the successor has some

            def both_serve() -> bool:
                pids.update(stack.enter_context(held_open(server, 4)))
                return len(pids) == 2

            until_blocking(both_serve)
        assert pid not in pids
        assert server.stop() == 0


@pytest.mark.parametrize("path", ["/compute", "/stuck"])
def test_a_worker_that_is_blocked_shows_its_request_and_is_replaced(place: Path, path: str) -> None:
    with serve(place, "--worker-timeout", "2") as server:
        with socket.create_connection((server.host, server.port)) as sock:
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            server.wait_for_line(rf"GET {path} HTTP/1\.1 from 127\.0\.0\.1")
            server.wait_for_line(r"was killed by SIG(ABRT|KILL)")
            assert sock.recv(100) == b""
        assert "application.py" in server.output
        for _ in range(10):
            ask(server)
        assert server.stop() == 0


def test_new_code_is_served_after_a_reload(place: Path) -> None:
    with serve(place) as server:
        assert ask(server)[1] == "one"
        (place / "application.py").write_text(APPLICATION.replace('"one"', '"two"'))
        server.send_signal(signal.SIGHUP)
        server.wait_for_line("reloaded: all workers run generation 2")
        assert ask(server)[1] == "two"
        assert server.stop() == 0


def test_a_reload_reads_the_variables_of_a_file_again(place: Path) -> None:
    (place / "application.py").write_text(APPLICATION.replace('VERSION = "one"', 'VERSION = os.environ["RELEASE"]'))
    (place / "release.env").write_text("RELEASE=one\n")
    with serve(place, "--env-file", "release.env") as server:
        assert ask(server)[1] == "one"
        (place / "release.env").write_text("RELEASE=two\n")
        server.send_signal(signal.SIGHUP)
        server.wait_for_line("reloaded")
        assert ask(server)[1] == "two"
        assert server.stop() == 0


def test_broken_code_is_not_served_and_the_log_says_why(place: Path) -> None:
    with serve(place) as server:
        (place / "application.py").write_text("def app(:\n")
        server.send_signal(signal.SIGHUP)
        server.wait_for_line("the new code cannot be served: .*application.*; the workers of before go on")
        assert ask(server)[1] == "one"
        (place / "application.py").write_text(APPLICATION.replace('"one"', '"two"'))
        server.send_signal(signal.SIGHUP)
        server.wait_for_line("reloaded")
        assert ask(server)[1] == "two"
        assert server.stop() == 0


def test_the_supervisor_is_upgraded_in_its_process(place: Path) -> None:
    package = place / "greenserve"  # this copy is what `python -m greenserve` runs there
    shutil.copytree(REPOSITORY / "greenserve", package, ignore=shutil.ignore_patterns("__pycache__"))
    version = package / "version.py"
    with serve(place, "--pid-file", "pid") as server:
        pid, _ = ask(server)
        version.write_text(version.read_text().replace("VERSION = ", "VERSION = '9.' + "))
        server.send_signal(signal.SIGUSR2)
        server.wait_for_line(r"upgraded: the supervisor is that of greenserve 9\.")
        assert ask(server)[0] != pid
        assert (place / "pid").read_text() == f"{server.pid}\n"

        program = package / "supervisor" / "process.py"
        program.write_text(program.read_text() + "\nraise RuntimeError('not this one')\n")
        server.send_signal(signal.SIGUSR2)
        server.wait_for_line("the supervisor of the new code cannot start, and this one goes on")
        assert "not this one" in server.output
        os.kill(ask(server)[0], signal.SIGKILL)  # this one has the workers of before, and notices
        server.wait_for_line("was killed by SIGKILL")
        ask(server)
        assert server.stop() == 0
    assert not (place / "pid").exists()


def test_new_code_takes_over_only_when_it_answers_at_the_ready_path(place: Path) -> None:
    options = ("--ready-path", "/ready", "--ready-timeout", "1")
    application = place / "application.py"
    with serve(place, *options) as server:
        application.write_text(APPLICATION.replace("200 OK", "503 Service Unavailable").replace('"one"', '"two"'))
        server.send_signal(signal.SIGHUP)
        server.wait_for_line("the new code cannot be served: not ready within 1 s .* ready_path = /ready with 503")
        assert ask(server)[1] == "one"
        assert server.stop() == 0
    alone = serve(place, *options, workers=1)
    alone.launch()
    assert alone.wait() == 3
    assert "greenserve: not ready within 1 s" in alone.output
    assert "listening on" not in alone.output


def test_an_application_that_cannot_be_loaded_ends_the_server(place: Path) -> None:
    (place / "application.py").write_text("import nothing_of_that_name\n")
    server = serve(place)
    server.launch()
    assert server.wait() == 3
    assert "nothing_of_that_name" in server.output
    assert "the server ends" in server.output


def test_workers_end_with_their_supervisor_and_leave_the_address(place: Path) -> None:
    with serve(place) as server:
        port = server.port
        os.kill(server.pid, signal.SIGKILL)
        server.wait_for_line("the supervisor has ended")
        until_blocking(lambda: not listens(port))
        assert server.wait() == -signal.SIGKILL


def listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def test_a_unix_socket_is_removed_at_the_end(place: Path) -> None:
    with serve(place, bind=(f"unix:{place}/app.sock",)) as server:
        with held_open_unix(place / "app.sock"):
            pass
        server.send_signal(signal.SIGHUP)
        server.wait_for_line("reloaded")
        assert (place / "app.sock").exists()
        assert server.stop() == 0
    assert not (place / "app.sock").exists()


@contextmanager
def held_open_unix(path: Path) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert sock.recv(1000).startswith(b"HTTP/1.1 200")
        yield


def test_workers_are_replaced_after_so_many_requests_and_nobody_notices(place: Path) -> None:
    with serve(place, "--max-requests", "50") as server, requests.Session() as session:
        pids = set()

        def many_have_served() -> bool:
            pids.add(int(session.get(server.url, timeout=20).text.split()[0]))
            return len(pids) > 3

        until_blocking(many_have_served)
        server.wait_for_line(r"it has served \d+ requests \(max_requests\)", count=2)
        assert server.stop() == 0
    assert "ERROR" not in server.output


def test_each_worker_may_load_the_application_itself(place: Path) -> None:
    (place / "application.py").write_text(APPLICATION.replace('VERSION = "one"', "VERSION = str(os.getpid())"))
    with serve(place, "--no-preload") as server:
        for _ in range(4):
            pid, version = ask(server)
            assert version == str(pid)
        assert server.stop() == 0
    (place / "application.py").write_text("raise RuntimeError('not today')")
    server = serve(place, "--no-preload")
    server.launch()
    assert server.wait() == 3
    assert "not today" in server.output


def test_as_many_workers_as_processors(place: Path) -> None:
    count = len(os.sched_getaffinity(0))
    with serve(place, workers=0, env={"WEB_CONCURRENCY": "auto"}) as server:
        assert count == 1 or f"{count} workers" in server.output
        assert server.stop() == 0


def test_threads_that_begin_at_the_import_are_named_green_ones_too(place: Path) -> None:
    begun = "\nimport threading\nthreading.Thread(target=time.sleep, args=(60,), name='ticker', daemon=True).start()\n"
    (place / "application.py").write_text(APPLICATION + begun)
    with serve(place) as server:
        assert "has started threads at its import (1: ticker), and no worker will have them" in server.output
        assert server.stop() == 0


def test_greenserve_may_lie_behind_a_link(place: Path) -> None:
    (place / "current").symlink_to(REPOSITORY)  # as where each release has a directory of its own
    with serve(place, env={"PYTHONPATH": str(place / "current")}) as server:
        command = Path(f"/proc/{server.pid}/cmdline").read_text()
        assert str(place / "current/greenserve/supervisor") in command
        ask(server)
        assert server.stop() == 0


@pytest.mark.parametrize("program", ["supervisor", "rooms/unix/broker"])
def test_a_program_that_is_started_by_its_path_finds_its_modules_behind_a_link(tmp_path: Path, program: str) -> None:
    (tmp_path / "current").symlink_to(REPOSITORY)
    ends = [
        subprocess.run(
            [sys.executable, "-S", "-E", root / "greenserve" / program / "__main__.py"],
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        ).stderr.splitlines()[-1]
        for root in (REPOSITORY, tmp_path / "current")
    ]
    assert ends[0] == ends[1]  # it misses its arguments
