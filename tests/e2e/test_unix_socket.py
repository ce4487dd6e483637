"""The command on a Unix socket: which users may connect, what its files are like, and what stands in its way."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.e2e.conftest import StartServer
from tests.e2e.proxies.programs import nginx
from tests.e2e.server_process import asked_over_unix, run_command
from tests.faults.test_nginx import CONFIGURATION
from tests.test_deploy import PAGE

(BIND,) = [word for command in PAGE.commands("greenserve") for word in shlex.split(command) if "group=" in word]
APPLICATION = """
open("written", "w").close()

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "hello.py").write_text(APPLICATION)
    return tmp_path


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """One that every user may search; pytest's own is closed to others."""
    directory = Path(tempfile.mkdtemp(prefix="greenserve-"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to be two users")
@pytest.mark.parametrize(("bind", "status"), [(BIND, 200), (BIND.partition("&")[0], 502)])
def test_nginx_of_another_user_may_connect_where_its_group_is_named(
    start_server: StartServer, open_directory: Path, directory: Path, free_port: int, bind: str, status: int
) -> None:
    path = open_directory / "http.sock"
    start_server("hello:app", cwd=directory, bind=(bind.replace("/run/hello", str(open_directory)),))
    place = open_directory / "nginx"
    place.mkdir()
    os.chown(place, pwd.getpwnam("www-data").pw_uid, -1)
    text = CONFIGURATION.replace("{port}", str(free_port)).replace("{upstream}", f"unix:{path}")
    with nginx(place, free_port, text, user="www-data") as url:
        assert requests.get(url, timeout=20).status_code == status


def test_each_address_has_its_permissions_and_those_of_all_are_the_others(
    start_server: StartServer, directory: Path
) -> None:
    mine, others = directory / "mine.sock", directory / "others.sock"
    server = start_server(
        "hello:app", "--socket-mode", "660", cwd=directory, bind=(f"unix:{mine}?mode=600", f"unix:{others}")
    )
    assert [stat.S_IMODE(path.stat().st_mode) for path in (mine, others)] == [0o600, 0o660]
    assert server.addresses == [f"unix:{mine}", f"unix:{others}"]
    assert asked_over_unix(str(mine)).endswith(b"hello")
    server.stop()
    assert not mine.exists()
    assert not others.exists()


@pytest.mark.parametrize("umask", ["007", "077", "000"])
def test_the_umask_holds_for_sockets_logs_and_the_applications_files(
    start_server: StartServer, directory: Path, umask: str
) -> None:
    path = directory / "http.sock"
    start_server("hello:app", "--umask", umask, "--access-log", "access.log", cwd=directory, bind=(f"unix:{path}",))
    modes = {name: stat.S_IMODE((directory / name).stat().st_mode) for name in ("http.sock", "access.log", "written")}
    wanted = {"http.sock": 0o777, "access.log": 0o644, "written": 0o666}
    assert modes == {name: mode & ~int(umask, 8) for name, mode in wanted.items()}


def test_the_socket_of_a_killed_server_is_replaced(start_server: StartServer, directory: Path) -> None:
    path = directory / "http.sock"
    first = start_server("hello:app", cwd=directory, bind=(f"unix:{path}",))
    first.kill()
    assert path.is_socket()
    start_server("hello:app", cwd=directory, bind=(f"unix:{path}",))
    assert asked_over_unix(str(path)).endswith(b"hello")


def test_the_socket_of_a_living_server_is_left_and_its_process_named(
    start_server: StartServer, directory: Path
) -> None:
    path = directory / "http.sock"
    first = start_server("hello:app", cwd=directory, bind=(f"unix:{path}",))
    done = run_command("hello:app", "--bind", f"unix:{path}", cwd=directory)
    assert done.returncode == 4
    assert f"cannot listen on unix:{path}: it is in use by pid {first.pid} (" in done.stderr
    assert "stop that one or choose another address" in done.stderr
    assert asked_over_unix(str(path)).endswith(b"hello")
    report = run_command("check", "hello:app", "--bind", f"unix:{path}", cwd=directory)
    assert f"unix:{path} is in use by pid {first.pid} (" in report.stdout


def test_what_is_no_socket_is_left_as_it_is(directory: Path) -> None:
    precious = directory / "precious"
    precious.write_text("data")
    done = run_command("hello:app", "--bind", f"unix:{precious}", cwd=directory)
    assert done.returncode == 4
    assert "is a file, not a socket, and is left as it is; remove it, or name another path with --bind" in done.stderr
    assert precious.read_text() == "data"


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ("mode=660&group=no-such-group", 4, "this machine has no group 'no-such-group'"),
        ("user=no-such-user", 4, "this machine has no user 'no-such-user'"),
        ("mode=abc", 2, "mode=abc is invalid: it is not a number of octal digits"),
        ("mod=660", 2, "'mod' is not an option of a Unix socket; known are mode, user and group"),
    ],
)
def test_a_wrong_option_says_what_is_wrong_and_leaves_nothing(
    directory: Path, options: str, code: int, words: str
) -> None:
    path = directory / "http.sock"
    done = run_command("hello:app", "--bind", f"unix:{path}?{options}", cwd=directory)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr
    assert not path.exists()


def test_check_reports_a_group_that_does_not_exist(directory: Path) -> None:
    report = run_command("check", "hello:app", "--bind", "unix:http.sock?group=no-such-group", cwd=directory)
    assert report.returncode == 1
    assert "error: cannot listen on unix:http.sock?group=no-such-group: this machine has no group" in report.stdout
