"""The pid file: when it is there, what it says, and what it never replaces."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from greenserve.errors import ConfigurationError
from greenserve.process.pid_file import PidFile, living
from tests.e2e.conftest import start_server  # noqa: F401 - a fixture
from tests.e2e.server_process import ServerProcess, run_command

APP = """
import pathlib
print("at import", pathlib.Path("run/app.pid").exists())

def app(environ, start_response):
    start_response("200 OK", [])
    return []
"""

Start = Callable[..., ServerProcess]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "app.pid"


def test_it_has_the_number_and_goes_at_the_end(path: Path) -> None:
    before = os.umask(0o077)
    try:
        with PidFile(str(path)) as file:
            assert not path.exists()
            file.write()
            file.write()
            assert path.read_text() == f"{os.getpid()}\n"
            assert path.stat().st_mode & 0o777 == 0o644
            assert os.listdir(path.parent) == ["app.pid"]
    finally:
        os.umask(before)
    assert os.listdir(path.parent) == []


def test_while_its_process_lives_no_other_can_have_it(path: Path) -> None:
    with PidFile(str(path)) as file:
        file.write()
        assert living(path) == os.getpid()
        with PidFile(str(path)) as other, pytest.raises(ConfigurationError, match=f"as process {os.getpid()}, .*kill"):
            other.write()
        assert path.exists()
    assert living(path) is None


@pytest.mark.parametrize("content", ["", "1\n", f"{os.getpid()}", "99999999\n"])
def test_one_of_a_process_that_has_gone_is_replaced_whatever_has_its_number_now(path: Path, content: str) -> None:
    path.write_text(content)
    assert living(path) is None
    with PidFile(str(path)) as file:
        file.write()
        assert path.read_text() == f"{os.getpid()}\n"


def test_what_is_not_a_pid_file_stays(path: Path) -> None:
    path.write_text("import this\n")
    with pytest.raises(ConfigurationError, match="is there, and is not a pid file: name another path"):
        PidFile(str(path)).write()
    assert path.read_text() == "import this\n"
    os.mkfifo(path.with_name("fifo"))
    with pytest.raises(ConfigurationError, match="is not a pid file"):
        PidFile(str(path.with_name("fifo"))).check()
    with pytest.raises(ConfigurationError, match="is not a pid file"):
        PidFile(str(path.parent)).check()


def test_a_place_where_it_cannot_be_is_named(path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"app.pid' cannot be written: there is no directory .*/none"):
        PidFile(str(path.parent / "none" / "app.pid")).check()
    with pytest.raises(ConfigurationError, match="a port to listen on is written --bind"):
        PidFile("8000").check()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="only Linux has a directory in which root cannot write")
def test_a_directory_that_takes_no_file_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match=r"pid_file = '/proc/app.pid' cannot be written: "):
        PidFile("/proc/app.pid").write()


def test_another_ones_file_stays(path: Path) -> None:
    with PidFile(str(path)) as file:
        file.write()
        path.unlink()
        path.write_text("1\n")
    assert path.read_text() == "1\n"


def test_a_child_neither_removes_it_nor_keeps_it_alive(path: Path) -> None:
    program = (
        "import os, sys\n"
        "from greenserve.process.pid_file import PidFile\n"
        f"with PidFile({str(path)!r}) as file:\n"
        "    file.write()\n"
        "    pid = os.fork()\n"
        "    if pid:\n"
        "        print(pid, flush=True)\n"
        "        os._exit(0)\n"
        "    sys.stdin.read()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert parent.wait(20) == 0
        assert os.kill(child, 0) is None  # type: ignore[func-returns-value]  # it lives, and holds the lock
        assert living(path) is None, "the process of that number has ended"
        parent.stdin.close()
        parent.stdout.read()  # until the child has ended
    assert path.exists(), "it is not the child's to remove"


# The command


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "site" / "run").mkdir(parents=True)
    (tmp_path / "site" / "pid_app.py").write_text(APP)
    return tmp_path


def test_the_command_writes_it_when_it_listens_and_removes_it(start_server: Start, directory: Path) -> None:  # noqa: F811
    file = directory / "site" / "run" / "app.pid"
    server = start_server("pid_app:app", "-p", "run/app.pid", "--chdir", "site", cwd=directory)
    server.wait_for_line("at import False")
    assert int(file.read_text()) == server.pid
    second = run_command("pid_app:app", "--pid-file", "run/app.pid", "--bind", "127.0.0.1:0", cwd=directory / "site")
    assert (second.returncode, second.stdout) == (2, ""), "the application is not even imported"
    assert f"greenserve runs already, as process {server.pid}" in second.stderr
    check = run_command("check", "--pid-file", "run/app.pid", cwd=directory / "site")
    assert (check.returncode, f"of process {server.pid}" in check.stdout) == (0, True)
    os.kill(int(file.read_text()), signal.SIGTERM)
    assert server.wait() == 0
    assert not file.exists()


def test_the_file_of_a_server_that_was_killed_is_replaced(start_server: Start, directory: Path) -> None:  # noqa: F811
    file = directory / "app.pid"
    first = start_server("pid_app:app", "--pid-file", str(file), cwd=directory / "site")
    first.kill()
    assert int(file.read_text()) == first.pid
    second = start_server("pid_app:app", "--pid-file", str(file), cwd=directory / "site")
    assert int(file.read_text()) == second.pid
    assert second.stop() == 0
    assert not file.exists()


def test_a_server_that_cannot_listen_leaves_no_file(directory: Path) -> None:
    done = run_command("pid_app:app", "--pid-file", "run/app.pid", "--bind", "192.0.2.1:1", cwd=directory / "site")
    assert done.returncode == 4
    assert os.listdir(directory / "site" / "run") == []


def test_a_file_that_cannot_be_written_ends_the_command_and_its_sockets(directory: Path) -> None:
    late = "import os\nos.rmdir('run')\n" + APP  # what check has seen is not so any more
    (directory / "site" / "late.py").write_text(late)
    done = run_command(
        "late:app", "--pid-file", "run/app.pid", "--bind", f"unix:{directory}/a.sock", cwd=directory / "site"
    )
    assert done.returncode == 2
    assert re.search(r"pid_file = '.*/run/app.pid' cannot be written: there is no directory", done.stderr)
    assert "Traceback" not in done.stderr
    assert not (directory / "a.sock").exists()
