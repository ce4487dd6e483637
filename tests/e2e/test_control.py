"""`greenserve ps`, `reload` and `stop`, by the installed command, on real servers."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import requests

from tests.e2e.server_process import ServerProcess, run_command
from tests.waiting import until_blocking

APPLICATION = """
from threading import Event


def app(environ, start_response):
    if environ["PATH_INFO"] == "/wait":
        Event().wait(60)
    start_response("200 OK", [])
    return [b"VERSION"]
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "application.py").write_text(APPLICATION.replace("VERSION", "one"))
    return tmp_path


def control(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run_command(*words, cwd=place)


def test_a_server_is_shown_reloaded_and_stopped(place: Path) -> None:
    server = ServerProcess("application:app", "--workers", "2", "--sticky", "sid", "--pid-file", "pid", cwd=place)
    with server:
        with requests.Session() as session:
            session.get(server.url, timeout=20)
            until_blocking(lambda: sum(row["connections"] for row in workers(place)) == 1)
        assert [row["state"] for row in workers(place)] == ["ready", "ready"]
        assert {row["generation"] for row in workers(place)} == {1}
        shown = control(place, "ps", "--pid", str(server.pid)).stdout.splitlines()
        assert len(shown) == 3
        assert {len(line) for line in shown} == {len(shown[0])}

        (place / "application.py").write_text(APPLICATION.replace("VERSION", "two"))
        done = control(place, "reload", "--pid-file", "pid")
        assert done.stdout == "reloaded: 2 workers run the new code\n", done.stderr
        assert requests.get(server.url, timeout=20).text == "two"

        (place / "application.py").write_text("broken(")
        done = control(place, "reload", "--pid-file", "pid")
        assert done.returncode == 1
        assert "the new code cannot be served" in done.stderr
        assert requests.get(server.url, timeout=20).text == "two"

        (place / "greenserve.toml").write_text('pid_file = "pid"\n')  # as the server would have found it
        done = control(place, "stop")
        assert (done.stdout, done.returncode) == ("stopped\n", 0)
        assert server.wait() == 0
    done = control(place, "reload")
    assert done.returncode == 1
    assert "no server runs, says pid" in done.stderr


def workers(place: Path) -> list[dict[str, object]]:
    done = control(place, "ps", "--pid-file", "pid", "--json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, object]] = json.loads(done.stdout)
    return found


def test_a_server_of_one_process_is_only_stopped(place: Path) -> None:
    with ServerProcess("application:app", cwd=place) as server:
        pid = str(server.pid)
        done = control(place, "reload", "--pid", pid)
        assert done.returncode == 1
        assert "started with --workers 2 or more" in done.stderr
        assert control(place, "ps", "--pid", pid).returncode == 1
        assert control(place, "stop", "--pid", pid).returncode == 0
        assert server.wait() == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("reload",), "which server is meant"),
        (("stop", "--pid", str(os.getpid())), "is no `greenserve` command"),
        (("ps", "--pid", "4194305"), "there is no process 4194305"),  # beyond the highest that Linux gives
        (("ps", "--pid-file", "application.py"), "is not a pid file"),
    ],
)
def test_what_is_no_server_gets_no_signal(place: Path, words: tuple[str, ...], says: str) -> None:
    done = control(place, *words)
    assert done.returncode in (1, 2)
    assert says in done.stderr


def test_a_server_that_has_the_port_already_is_named_as_people_start_it(place: Path) -> None:
    with ServerProcess("application:app", "--workers", "2", cwd=place) as server:
        done = run_command("application:app", "--bind", f"127.0.0.1:{server.port}", cwd=place)
        assert done.returncode == 4
        assert f"in use by pid {server.pid} (greenserve application:app --workers 2" in done.stderr
