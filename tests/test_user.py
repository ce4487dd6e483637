"""Root becomes another user: what it opens before, that there is no way back, and that no application is root's."""

from __future__ import annotations

import errno
import os
import pwd
import re
import signal
import site
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import requests

from greenserve.errors import ConfigurationError
from greenserve.process.user import User, become, find
from tests.conftest import REPOSITORY, missing
from tests.documents import DOCS, Page
from tests.e2e.server_process import ServerProcess, run_command
from tests.waiting import until_blocking

APP = """
import os, socket, sys
at_import = f"{os.getresuid()} {os.getresgid()} {os.getgroups()} {os.environ.get('HOME')}"
print("imported by", os.getuid(), file=sys.stderr, flush=True)
if "PROBE" in os.environ:
    with socket.socket() as probe:
        print("clients are", probe.connect_ex(("127.0.0.1", int(os.environ["PROBE"]))), file=sys.stderr, flush=True)

def app(environ, start_response):
    for back in (os.setuid, os.seteuid, os.setgid):
        try:
            back(0)
        except PermissionError:
            continue
        raise AssertionError(back)
    start_response("200 OK", [])
    return [at_import.encode()]
"""

NOBODY = 65534
FOUND = os.pathsep.join([str(REPOSITORY), *site.getsitepackages()])
CERTIFICATE = REPOSITORY / "tests" / "certificates" / "localhost.pem"

Serving = Callable[..., ServerProcess]
Run = Callable[..., subprocess.CompletedProcess[str]]


def readable_by_all(path: Path) -> bool:
    return all(each.stat().st_mode & 0o005 == 0o005 for each in [path, *path.parents])


@pytest.fixture
def python() -> str:
    """A Python of this version that every user may run, also where pyenv has put this one into root's home."""
    if os.geteuid() != 0:
        missing("only root may become another user", "root")
    same = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    found = [each for each in (sys.executable, same) if Path(each).exists() and readable_by_all(Path(each).resolve())]
    if not found or not readable_by_all(REPOSITORY):
        pytest.skip("another user may not read the checkout or a Python of this version")
    return found[0]


@pytest.fixture
def run(python: str, directory: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`run_command` with that Python."""
    return partial(run_command, cwd=directory, executable=(python, "-m", "greenserve"), env={"PYTHONPATH": FOUND})


@pytest.fixture
def serving(python: str, directory: Path) -> Callable[..., ServerProcess]:
    """A `ServerProcess` of `whose:app` with that Python, and further variables by name."""

    def start(*arguments: str, bind: str = "127.0.0.1:0", **environ: str) -> ServerProcess:
        variables: dict[str, str | None] = {"PYTHONPATH": FOUND, **environ}
        executable = (python, "-m", "greenserve")
        words = ("whose:app", "--user", "nobody", *arguments)
        return ServerProcess(*words, bind=(bind,), cwd=directory, executable=executable, env=variables)

    return start


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory of root's that others may read: pytest's own is closed to them."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        (path / "whose.py").write_text(APP)
        (path / "own").mkdir()
        if os.geteuid() == 0:
            os.chown(path / "own", NOBODY, NOBODY)
        yield path


# Which user


def test_a_user_brings_its_group_along() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may become another user")
    assert find("nobody", None) == find(str(NOBODY), None) == User(NOBODY, NOBODY, "nobody")
    assert find("nobody", "12345") == User(NOBODY, 12345, "nobody")
    assert find("54321", "12345") == User(54321, 12345, "")


def test_the_user_that_the_process_is_already_is_nothing_to_do() -> None:
    assert find(None, None) is None
    assert find(str(os.geteuid()), str(os.getegid())) is None
    assert find(None, str(os.getegid())) is None


@pytest.mark.parametrize(
    ("user", "group", "why"),
    [
        ("no-such-user", None, "no such user: make one .*useradd --system no-such-user"),
        ("nobody", "no-such-group", "no such group: make one .*groupadd"),
        ("54321", None, "does not know its group: name it by group"),
        (None, "12345", "goes with user: name the user too"),
        ("0", "12345", "is root, which would give nothing up"),
    ],
)
def test_what_cannot_be_is_refused_with_the_fix(user: str | None, group: str | None, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        find(user, group)


def test_only_root_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ConfigurationError, match=r"only root may become another user: .*User=nobody in systemd"):
        find("nobody", None)


def test_the_groups_go_first_and_a_way_back_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[object, ...]] = []
    for name in ("initgroups", "setgroups", "setgid", "setuid", "seteuid"):
        monkeypatch.setattr(os, name, lambda *arguments, name=name: calls.append((name, *arguments)))
    with pytest.raises(ConfigurationError, match="could become root again"):
        become(User(5, 6, "five"))
    assert calls == [("initgroups", "five", 6), ("setgid", 6), ("setuid", 5), ("setuid", 0)]
    calls.clear()
    with pytest.raises(ConfigurationError):
        become(User(5, 6, ""))
    assert calls[0] == ("setgroups", [6])


def test_a_container_without_the_capability_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "initgroups", refuse)
    with pytest.raises(ConfigurationError, match="Operation not permitted; a container needs the capabilities SETUID"):
        become(User(5, 6, "five"))


# The command


def test_the_application_is_imported_and_served_by_the_user_and_no_client_comes_before(
    serving: Serving, free_port: int
) -> None:
    with serving(bind=f"127.0.0.1:{free_port}", PROBE=str(free_port), HOME="/root") as server:
        server.wait_for_line(f"root has become the user nobody (uid {NOBODY}".replace("(", r"\("))
        server.wait_for_line(f"clients are {errno.ECONNREFUSED}")
        ids = f"({NOBODY}, {NOBODY}, {NOBODY})"
        assert requests.get(server.url, timeout=20).text == f"{ids} {ids} [{NOBODY}] /root"
    assert server.returncode == 0


@pytest.mark.parametrize("more", [(), ("--no-preload",)])
def test_with_several_workers_neither_the_application_nor_a_hook_is_roots(
    serving: Serving, directory: Path, more: tuple[str, ...]
) -> None:
    hook = "import os, sys\ndef on_starting(server):\n    print('hook by', os.getuid(), file=sys.stderr, flush=True)\n"
    (directory / "hooks.py").write_text(hook)
    with serving("--workers", "2", "--hooks", "hooks.py", *more) as server:
        server.wait_for_line(f"hook by {NOBODY}")
        ids = f"({NOBODY}, {NOBODY}, {NOBODY})"
        assert requests.get(server.url, timeout=20).text.startswith(f"{ids} {ids} [{NOBODY}]")
    assert server.returncode == 0
    assert "by 0" not in server.output


def test_root_opens_a_port_for_it_that_only_root_may_open(serving: Serving) -> None:
    for port in range(1023, 600, -1):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        break
    with serving(bind=f"127.0.0.1:{port}") as server:
        assert requests.get(server.url, timeout=20).status_code == 200


def test_the_pages_command_serves_as_its_user(python: str, directory: Path, free_port: int) -> None:
    (command,) = [each for each in Page(DOCS / "deploy.md").commands("greenserve") if "--user" in each]
    command = command.replace("hello:app", "whose:app").replace(":443", f"127.0.0.1:{free_port}")
    words = re.sub(r"/etc/\S+/fullchain.pem|/etc/\S+/privkey.pem", str(CERTIFICATE), command).split()[1:]
    executable = (python, "-m", "greenserve")
    with ServerProcess(*words, bind=(), cwd=directory, executable=executable, env={"PYTHONPATH": FOUND}) as server:
        server.wait_for_line(f"imported by {pwd.getpwnam('www-data').pw_uid}")
        assert requests.get(f"https://localhost:{free_port}", verify=str(CERTIFICATE), timeout=20).status_code == 200


def test_root_reads_the_key_for_it_and_says_that_a_renewed_one_is_not_seen(serving: Serving, directory: Path) -> None:
    key = directory / "key.pem"
    key.write_bytes(CERTIFICATE.read_bytes())
    key.chmod(0o600)
    with serving("--tls-cert", "key.pem") as server:
        server.wait_for_line(r"the user nobody \(.*\) may not read key.pem: .* has to be started again")
        context = ssl.create_default_context(cafile=key)
        with context.wrap_socket(server.connect(), server_hostname="localhost") as secure:
            secure.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert secure.recv(100).startswith(b"HTTP/1.1 200 ")
        key.chmod(0o644)
    with serving("--tls-cert", "key.pem") as server:
        assert "may not read" not in server.output


def test_its_unix_socket_its_pid_file_and_its_log_are_its_own(serving: Serving, directory: Path) -> None:
    own = directory / "own"
    files = ("--pid-file", "own/app.pid", "--access-log", "own/access.log")
    with serving(*files, bind=f"unix:{own}/http.sock") as server:
        assert int((own / "app.pid").read_text()) == server.pid
        assert (own / "app.pid").stat().st_uid == 0, "who may write it may have root kill any process"
        assert (own / "http.sock").stat().st_uid == NOBODY
        assert (own / "access.log").stat().st_uid == NOBODY
        (own / "access.log").rename(own / "access.log.1")
        server.send_signal(signal.SIGUSR1)
        until_blocking((own / "access.log").exists)
        assert (own / "access.log").stat().st_uid == NOBODY
    assert server.returncode == 0
    assert sorted(os.listdir(own)) == ["access.log", "access.log.1"]


def test_in_a_directory_of_roots_the_pid_file_stays_and_is_replaced(serving: Serving, directory: Path) -> None:
    for _ in range(2):
        with serving("--pid-file", "app.pid") as server:
            assert int((directory / "app.pid").read_text()) == server.pid
        assert server.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--user", "no-such-user"), 2, "user = 'no-such-user': this machine has no such user"),
        (("--user", "nobody", "--access-log", "root.log"), 2, "root.log"),
    ],
)
def test_what_is_wrong_ends_the_command(
    run: Run, directory: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    (directory / "root.log").touch(0o600)
    done = run("whose:app", "--bind", "127.0.0.1:0", *arguments)
    assert (done.returncode, words in done.stderr.splitlines()[-1]) == (code, True), done.stderr
    assert "imported by 0" not in done.stderr


def test_an_application_that_does_not_load_leaves_no_socket(run: Run, directory: Path) -> None:
    own = directory / "own"
    done = run("none:app", "--user", "nobody", "--bind", f"unix:{own}/http.sock")
    assert done.returncode == 3
    assert os.listdir(own) == []


def test_a_user_who_is_not_root_is_told_how(python: str, directory: Path) -> None:
    command = [python, "-m", "greenserve", "whose:app", "--user", "www-data"]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": FOUND}
    done = subprocess.run(
        command, cwd=directory, env=environ, user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "only root may become another user" in done.stderr
    assert "imported" not in done.stderr


def test_check_is_the_user_too_when_it_loads_the_application(run: Run, directory: Path) -> None:
    (directory / "key.pem").write_bytes(CERTIFICATE.read_bytes())
    (directory / "key.pem").chmod(0o600)
    done = run("check", "whose:app", "--user", "nobody", "--tls-cert", "key.pem")
    assert done.returncode == 0, done.stdout
    assert f"imported by {NOBODY}" in done.stderr
    assert f"root, then nobody (uid {NOBODY}, gid {NOBODY})" in done.stdout
