"""The command as a process: what its stand-in tests cannot show, with a real server behind it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.server_process import ServerProcess, run_command

SLOW = """
import time

def app(environ, start_response):
    time.sleep(float(environ["QUERY_STRING"] or 0))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"slept"]
"""

MODULES = """
import sys

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["\\n".join(sys.modules).encode()]
"""

# What an application, a setting or another command may need; imported for none of them, it would cost a third of the
# time until a server listens.
NOT_TO_START = {
    *("asyncio", "concurrent.futures", "ctypes", "email", "http.client", "importlib.metadata", "importlib.resources"),
    *("multiprocessing", "tomllib", "urllib.request", "wsproto"),
    *(f"greenserve.{room}" for room in ("demo", "reload", "rooms", "static", "testing", "websocket")),
    *("greenserve.cli.check", "greenserve.cli.control", "greenserve.cli.health", "greenserve.patching.run"),
    *("greenserve.supervisor.supervisor", "greenserve.workers.run", "greenserve.workers.start"),
}

Start = Callable[..., ServerProcess]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "slow.py").write_text(SLOW)
    return tmp_path


def begin(server: ServerProcess, seconds: str) -> socket.socket:
    """Send a request and wait until the server has it in progress: a second, quick one on the connection's heels."""
    connection = server.connect()
    connection.sendall(f"GET /?{seconds} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    with urllib.request.urlopen(server.url):
        return connection


def test_a_server_starts_without_what_only_other_servers_and_commands_need(start_server: Start, tmp_path: Path) -> None:
    (tmp_path / "modules.py").write_text(MODULES)
    with urllib.request.urlopen(start_server("modules:app", cwd=tmp_path).url) as answer:
        imported = set(answer.read().decode().split())
    bare = subprocess.run([sys.executable, "-c", "import sys; print(*sys.modules)"], stdout=subprocess.PIPE, text=True)
    assert "greenserve.server.worker" in imported
    assert sorted(imported & NOT_TO_START - set(bare.stdout.split())) == []


def test_a_signal_right_after_the_announcement_stops_gracefully(start_server: Start, directory: Path) -> None:
    server = start_server("slow:app", cwd=directory)
    assert server.stop() == 0
    assert server.output.endswith("stopped")
    assert "in progress" not in server.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_in_progress_is_finished_and_the_exit_code_is_0(
    start_server: Start, directory: Path, number: signal.Signals
) -> None:
    server = start_server("slow:app", cwd=directory)
    with begin(server, "0.5") as connection:
        server.send_signal(number)
        assert b"slept" in b"".join(iter(lambda: connection.recv(65536), b""))
    assert server.wait() == 0


def test_a_request_that_outlasts_the_grace_is_killed_and_the_exit_code_is_1(
    start_server: Start, directory: Path
) -> None:
    server = start_server("slow:app", "--graceful-timeout", "100ms", cwd=directory)
    with begin(server, "60"):
        assert server.stop() == 1
    assert "GET /?60" in server.output


def test_a_second_signal_kills_at_once_and_the_exit_code_is_1(start_server: Start, directory: Path) -> None:
    server = start_server("slow:app", cwd=directory)
    with begin(server, "60"):
        server.send_signal(signal.SIGTERM)
        server.wait_for_line("SIGTERM: stopping; 1 request in progress has 30 seconds to finish")
        server.wait_for_line(r"and a second signal \(Ctrl-C\) stops at once")
        assert server.stop() == 1
    assert server.output.endswith("stopped; 1 request was killed")


def test_a_port_in_use_names_the_process_that_holds_it(directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        done = run_command("slow:app", "--bind", f"127.0.0.1:{port}", cwd=directory)
    assert done.returncode == 4
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"greenserve: cannot listen on 127.0.0.1:{port}: it is in use by ")
    assert os.path.exists("/proc/net/tcp") is (f"pid {os.getpid()} (" in last)


def test_check_leaves_the_port_alone(directory: Path, free_port: int) -> None:
    done = run_command("check", "slow:app", "--bind", f"127.0.0.1:{free_port}", cwd=directory)
    assert done.returncode == 0, done.stdout
    assert f"127.0.0.1:{free_port}  free as far as can be told" in done.stdout


def test_an_application_that_cannot_be_loaded_ends_with_3_before_anything_listens(directory: Path) -> None:
    done = run_command("slow:ap", cwd=directory)
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].endswith("has no attribute 'ap'; did you mean 'app'?")
    assert "listening" not in done.stderr


def test_sleeping_requests_do_not_wait_for_each_other(start_server: Start, directory: Path) -> None:
    server = start_server("slow:app", cwd=directory)
    connections = [begin(server, "0.3") for _ in range(20)]
    try:
        for connection in connections:
            connection.settimeout(10)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    finally:
        for connection in connections:
            connection.close()


def test_no_patch_is_meant_so_and_not_warned_of(start_server: Start, directory: Path) -> None:
    server = start_server("slow:app", "--no-patch", cwd=directory)
    assert server.stop() == 0
    assert "Warning" not in server.output


def test_a_file_of_variables_is_the_applications_too_and_the_environment_wins(directory: Path, free_port: int) -> None:
    (directory / "seen.py").write_text(
        "import os, time\nprint('seen', os.environ['A'], os.environ['B'], time.localtime(0).tm_hour)\n"
        "from slow import app\n"
    )
    (directory / "app.env").write_text(f"A=file\nB='the file'\nTZ=XXX-5\nPORT={free_port}\n")
    server = ServerProcess(
        "seen:app", "--env-file", "app.env", bind=(), cwd=directory, env={"A": "environment", "TZ": None}
    )
    with server:
        server.wait_for_line("seen environment the file 5")
        assert server.port == free_port
    check = run_command("check", "--env-file", "app.env", cwd=directory)
    assert f"(environment: PORT in {directory / 'app.env'})" in check.stdout


def test_a_file_of_variables_that_is_wrong_ends_with_2_and_its_line(directory: Path) -> None:
    (directory / "app.env").write_text("A=1\nsecret\n")
    done = run_command("slow:app", "--env-file", "app.env", cwd=directory)
    assert (done.returncode, "app.env, line 2: KEY=VALUE is wanted" in done.stderr) == (2, True)


def ask_health(*arguments: str, **environ: str) -> int:
    return run_command("health", *arguments, env={**environ}).returncode


@pytest.mark.parametrize("bind", ["127.0.0.1:0", "[::1]:0"])
def test_health_asks_where_it_is_told(start_server: Start, directory: Path, bind: str) -> None:
    server = start_server("slow:app", bind=(bind,), cwd=directory)
    address = server.url.removeprefix("http://")
    assert ask_health("--bind", address) == 0
    assert ask_health(GREENSERVE_BIND=address) == 0
    server.stop()
    assert ask_health("--bind", address) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
@pytest.mark.parametrize("subcommand", [(), ("serve",)])
def test_health_finds_where_another_process_was_told_to_listen(
    start_server: Start, directory: Path, free_port: int, subcommand: tuple[str, ...]
) -> None:
    executable = (str(Path(sys.executable).with_name("greenserve")),)
    binds = (f"0.0.0.0:{free_port}", "unix:relative.sock")
    server = start_server(*subcommand, "slow:app", bind=binds, cwd=directory, executable=executable)
    assert ask_health("--pid", str(server.pid)) == 0
    environ = {"GREENSERVE_BIND": f"127.0.0.1:{free_port}"}
    (directory / "relative.sock").unlink()
    assert ask_health("--pid", str(server.pid)) == 1
    assert ask_health(**environ) == 0


def test_health_knows_the_proxy_protocol(start_server: Start, directory: Path) -> None:
    server = start_server("slow:app", "--proxy-protocol", cwd=directory)
    address = server.url.removeprefix("http://")
    assert ask_health("--bind", address, "--proxy-protocol") == 0
    assert ask_health("--bind", address) == 1


def test_health_is_bad_when_the_application_fails(start_server: Start, directory: Path) -> None:
    (directory / "broken.py").write_text("def app(environ, start_response): raise OSError\n")
    server = start_server("broken:app", cwd=directory)
    assert ask_health("--bind", server.url.removeprefix("http://")) == 1
