"""The command as process 1, which it is in a container: signals, exit statuses, orphans, a read-only root."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

import pytest
import requests

from tests.e2e.server_process import ServerProcess, run_command
from tests.namespaces import as_first_process, first_process
from tests.waiting import until_blocking

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has namespaces")

APPLICATION = """
import os, subprocess, sys, time
from pathlib import Path


def states():
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            yield stat.read_text().rpartition(")")[2].split()[0]
        except OSError:
            pass


def app(environ, start_response):
    path, body = environ["PATH_INFO"], "hello"
    if path == "/orphans":
        for _ in range(5):
            subprocess.run(["sh", "-c", "(sleep 0.05 &)"], check=True)
    elif path == "/child":
        child = subprocess.Popen(["sh", "-c", "exit 7"])
        while Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.001)
        time.sleep(0.1)  # in which a reaper that takes everything would have taken it
        body = str(child.wait())
    elif path == "/zombies":
        body = str(list(states()).count("Z"))
    elif path == "/slow":
        time.sleep(600)
    elif path == "/upload":
        body = str(sum(map(len, iter(lambda: environ["wsgi.input"].read(65536), b""))))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body.encode()]
"""


class First(ServerProcess):
    """The command as process 1. Signals are sent to that process."""

    def __init__(self, place: Path, *arguments: str, executable: tuple[str, ...] = (), **options: object) -> None:
        (place / "first.py").write_text(APPLICATION)
        words = (*(executable or as_first_process()), sys.executable, "-m", "greenserve")
        super().__init__("first:app", *arguments, executable=words, cwd=place, **options)  # type: ignore[arg-type]

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(first_process(self.pid), number)

    def ask(self, path: str) -> str:
        answer = requests.get(self.url + path, timeout=20)
        assert answer.status_code == 200
        return answer.text


@pytest.mark.parametrize("workers", ["1", "3"])
def test_orphans_are_reaped_and_the_applications_own_children_are_left_to_it(tmp_path: Path, workers: str) -> None:
    with First(tmp_path, "--workers", workers) as server:
        server.ask("/orphans")
        assert server.ask("/child") == "7"
        until_blocking(lambda: server.ask("/zombies") == "0", step=0.05)
        assert server.stop() == 0
    assert "Traceback" not in server.output


@pytest.mark.parametrize("workers", ["1", "2"])
def test_exit_statuses_say_how_it_ended(tmp_path: Path, workers: str) -> None:
    with First(tmp_path, "--workers", workers) as server, server.connect() as sock:
        sock.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        server.ask("/")
        server.send_signal(signal.SIGTERM)
        server.wait_for_line("SIGTERM: stopping")
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 1
    (tmp_path / "first.py").unlink()
    broken = First(tmp_path, "--workers", workers)
    (tmp_path / "first.py").write_text("import nothing_of_that_name\n")
    broken.launch()
    assert broken.wait() == 3


def test_a_server_that_is_killed_ends_its_container_by_the_shells_exit_status(tmp_path: Path) -> None:
    with First(tmp_path) as server:
        first = first_process(server.pid)
        (child,) = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        os.kill(int(child), signal.SIGKILL)
        assert server.wait() == 128 + signal.SIGKILL


def test_a_hangup_reaches_the_server(tmp_path: Path) -> None:
    with First(tmp_path) as server:
        server.send_signal(signal.SIGHUP)
        server.wait_for_line("SIGHUP: the access log is opened again")
        assert server.stop(signal.SIGINT) == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_health_check_of_the_container_finds_the_server(tmp_path: Path, workers: str, free_port: int) -> None:
    with First(tmp_path, "--workers", workers, bind=(f"127.0.0.1:{free_port}",)) as server:
        inside = ("nsenter", "-t", str(first_process(server.pid)), "-a", sys.executable, "-m", "greenserve")
        health = run_command("health", executable=inside)
        assert (health.returncode, health.stdout) == (0, f"127.0.0.1:{server.port} answers with 200\n"), health.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_nothing_is_written_and_standard_input_may_be_closed(tmp_path: Path, workers: str) -> None:
    closed = ("sh", "-c", 'exec "$@" <&-', "sh")
    with First(
        tmp_path,
        *("--workers", workers, "--access-log", "-"),
        executable=(*as_first_process(read_only=True), *closed),
        env={"PYTHONDONTWRITEBYTECODE": None, "TMPDIR": None},
    ) as server:
        with pytest.raises(OSError, match="ead-only"):
            Path(f"/proc/{first_process(server.pid)}/root{tmp_path}/new").write_text("")
        size = 3 << 20
        answer = requests.post(server.url + "/upload", data=b"x" * size, timeout=20)
        assert answer.text == str(size)
        if workers == "2":
            server.send_signal(signal.SIGHUP)
            server.wait_for_line("reloaded: all workers run generation 2")
            assert server.ask("/") == "hello"
        assert server.stop() == 0
    # Docker leaves /dev/shm writable; where no place is, several workers say that they cannot share rooms.
    warnings = [line for line in server.output.splitlines() if "WARNING" in line and "do not share rooms" not in line]
    assert (warnings, re.findall("Traceback|ERROR", server.output)) == ([], []), server.output
