"""Signals under load: what was accepted is answered, or closed before its first byte; the exit code tells."""

from __future__ import annotations

import itertools
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import REPOSITORY, require_program
from tests.e2e.server_process import ServerProcess
from tests.faults.conftest import Faulty
from tests.faults.raw import Raw, settled
from tests.wire import get, post


def load_until_closed(connection: Raw, warm: threading.Event) -> int:
    """Ask again and again until the server closes. Returns the number of answers. Raises when one is cut off."""
    for count in itertools.count():
        if count == 20:
            warm.set()
        try:
            connection.send(get("/sleep?0.001"))
            status, fields = connection.head()
        except ConnectionError:  # the request crossed the close
            return count
        if not status:
            return count
        assert fields["content-length"] == "5"
        assert connection.file.read(5) == b"hello"
        if fields.get("connection") == "close":
            return count + 1
    raise AssertionError("endless")


def test_sigterm_under_load_loses_no_request_that_was_begun(faulty: Faulty) -> None:
    """Each client sends as fast as it is answered, until the server closes: then nothing of an answer has come."""
    server = faulty.start()
    warm = threading.Event()
    with ThreadPoolExecutor(30) as pool:
        loads = [pool.submit(load_until_closed, faulty.raw(server), warm) for _ in range(30)]
        assert warm.wait(20)
        assert server.stop() == 0
    assert sum(load.result() for load in loads) > 100
    assert "Traceback" not in server.output


def test_sigterm_under_wrk_ends_in_order(faulty: Faulty) -> None:
    server = faulty.start()
    load = subprocess.Popen(
        [require_program("wrk"), "-t1", "-c50", "-d3s", server.url + "/"], stdout=subprocess.PIPE, text=True
    )
    settled(server, lambda found: found["connections"] >= 50)  # wrk has begun
    connection = faulty.raw(server)
    for _ in range(200):
        connection.send(get())
        assert connection.answer() == (200, b"hello")
    assert server.stop() == 0
    out = load.communicate(timeout=20)[0]
    assert int(re.search(r"(\d+) requests in", out)[1]) > 100
    assert "Non-2xx" not in out
    assert "Traceback" not in server.output


def test_requests_in_progress_finish_after_sigterm(faulty: Faulty) -> None:
    server = faulty.start()
    slow = faulty.raw(server, get("/sleep?0.7"))
    stream = faulty.raw(server, get("/stream?20000000"))
    upload = faulty.raw(server, post("/echo", "Content-Length: 3") + b"a")
    whole = faulty.raw(server, get("/whole?20000000"))
    assert stream.head()[0] == 200
    assert whole.head()[0] == 200
    server.send_signal(signal.SIGTERM)
    server.wait_for_line("SIGTERM: stopping")
    upload.send(b"bc")
    assert upload.answer()[1].startswith(b"3 ba7816bf")
    assert slow.answer() == (200, b"hello")
    assert stream.file.read(20_000_000) == b"x" * 20_000_000
    assert whole.file.read(20_000_000) == b"x" * 20_000_000
    faulty.close()
    assert server.wait() == 0


def test_the_second_signal_forces_and_the_code_says_so(faulty: Faulty) -> None:
    server = faulty.start()
    slow = faulty.raw(server, get("/sleep?60"))
    flush = faulty.raw(server, get("/whole?20000000"))
    assert flush.head()[0] == 200
    server.send_signal(signal.SIGTERM)
    server.wait_for_line("SIGTERM: stopping")
    server.send_signal(signal.SIGTERM)
    assert server.wait() == 1
    assert slow.answer()[0] == 503  # nothing of its response had been sent
    server.wait_for_line("killed because .* GET /sleep")
    server.wait_for_line("cut off because .* GET /whole")


def test_the_grace_deadline_forces(faulty: Faulty) -> None:
    server = faulty.start("--graceful-timeout", "0.5s")
    slow = faulty.raw(server, get("/sleep?60"))
    faulty.raw(server, get()).answer()
    assert server.stop() == 1
    assert slow.answer()[0] == 503


def test_a_second_signal_ends_a_hub_that_is_blocked(faulty: Faulty) -> None:
    server = faulty.start()
    faulty.raw(server, get()).answer()
    spinner = faulty.raw(server, get("/spin?60"))
    spinner.socket.settimeout(0.3)
    with pytest.raises(TimeoutError):
        spinner.socket.recv(1)
    server.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + 10
    while server.running and time.monotonic() < deadline:
        server.send_signal(signal.SIGTERM)
        threading.Event().wait(0.1)
    assert server.wait() == 1
    assert "in app" in server.output  # where it was


def connect_until_refused(faulty: Faulty, server: ServerProcess) -> None:
    """It says that it stops a moment before it does; what it accepts till then it serves or closes."""
    while server.running:
        faulty.raw(server)


def test_new_connections_are_refused_while_it_stops(faulty: Faulty) -> None:
    server = faulty.start()
    slow = faulty.raw(server, get("/sleep?0.7"))
    server.send_signal(signal.SIGTERM)
    server.wait_for_line("SIGTERM: stopping")
    with pytest.raises(ConnectionRefusedError):
        connect_until_refused(faulty, server)
    assert slow.answer() == (200, b"hello")
    assert server.wait() == 0


def test_the_killed_server_can_start_again_at_once(faulty: Faulty) -> None:
    first = faulty.start()
    held = [faulty.raw(first, get()) for _ in range(10)]
    for connection in held:
        connection.answer()
    address = f"{first.host}:{first.port}"
    first.kill()
    second = faulty.start(bind=(address,))
    assert faulty.raw(second, get()).answer() == (200, b"hello")


@pytest.mark.parametrize(
    "kind",
    [
        *("exits", "raises", "waits and exits", "embedded"),
        *("server", "server, an alarm raises", "server, its handler exits", "server, its handler raises"),
    ],
)
def test_sigterm_ends_a_process_whatever_runs_in_it(kind: str) -> None:
    """The tool says what it plays; here are a few runs of each kind."""
    run = subprocess.run(
        [sys.executable, "tools/stopping.py", "--count", "2", "--kind", kind],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=55,
    )
    assert run.returncode == 0, run.stdout + run.stderr
