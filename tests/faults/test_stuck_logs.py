"""The command when its standard output or standard error is not read, full or closed.

Every request is answered all the same, no connection is cut, and SIGTERM ends the process.
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import require_program
from tests.e2e.server_process import REPOSITORY
from tests.waiting import until_blocking

PATIENCE = 20.0  # seconds

APPLICATION = """
import logging, pathlib, sys, warnings, greenserve
logging.basicConfig()  # to standard error, as most applications have it

def fail():
    raise RuntimeError("x" * 1000)

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/print":
        print("x" * 1000)
        print("x" * 1000, file=sys.stderr)
    elif path == "/errors":
        environ["wsgi.errors"].write("x" * 1000 + "\\n")
    elif path == "/log":
        logging.error("x" * 1000)
    elif path == "/warn":
        warnings.warn("x" * 1000 + environ["QUERY_STRING"])
    elif path == "/spawn":
        greenserve.spawn(fail)
    elif path == "/slow":
        pathlib.Path("begun").touch()
        while not pathlib.Path("go").exists():
            greenserve.sleep(0.01)
    elif path == "/raise":
        raise RuntimeError("x" * 1000)
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]
"""


class Command:
    """`greenserve app:app` on a Unix socket, with the given standard streams."""

    def __init__(
        self,
        directory: Path,
        *arguments: str,
        shell: str = "",
        before: str = "",
        prefix: tuple[str, ...] = (),
        words: tuple[str, ...] = ("-m", "greenserve", "app:app", "--bind"),
        **streams: object,
    ) -> None:
        self.directory = directory
        (directory / "app.py").write_text(f"{before}\n{APPLICATION}")
        self._path = str(directory / "socket")
        command = [*prefix, sys.executable, *words, f"unix:{self._path}", *arguments]
        if shell:  # what follows the command there
            command = ["sh", "-c", f'exec "$@" {shell}', "sh", *command]
        self.process = subprocess.Popen(
            command,
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            # As a shell starts a command, whatever has started these tests (nohup, say, ignores SIGHUP).
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # noqa: PLW1509 - it takes no lock
            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **streams},
        )
        deadline = time.monotonic() + PATIENCE
        while not (self._listens() and self._handles(signal.SIGTERM)):
            assert time.monotonic() < deadline
            assert self.process.poll() is None
            time.sleep(0.02)

    def _listens(self) -> bool:
        try:
            self.connect().close()
        except OSError:
            return False
        return True

    def _handles(self, number: signal.Signals) -> bool:
        """Whether the process has a handler for a signal, which comes a moment after it listens; see proc(5)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        caught = int(status.partition("SigCgt:")[2].split()[0], 16)
        return bool(caught >> (number - 1) & 1)

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(PATIENCE)
        try:
            connection.connect(self._path)
        except OSError:
            connection.close()
            raise
        return connection

    def refuses(self) -> bool:
        """Whether it takes no connections any more."""
        try:
            self.connect().close()
        except OSError:
            return True
        return False

    def ask(self, *targets: str) -> list[int]:
        """The statuses, of requests on one connection (but for those after which the server closes it)."""
        connection, found = self.connect(), []
        for target in targets:
            connection.sendall(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            answer = b""
            while b"\r\n\r\n" not in answer or (b" 200 " in answer and not answer.endswith(b"hello")):
                piece = connection.recv(65536)
                assert piece, "the connection was cut"
                answer += piece
            found.append(int(answer[9:12]))
            if found[-1] != 200:
                connection.close()
                connection = self.connect()
        connection.close()
        return found

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Command]]:
    commands: list[Command] = []

    def start(*arguments: str, **streams: object) -> Command:
        commands.append(Command(tmp_path, *arguments, **streams))
        return commands[-1]

    yield start
    for command in commands:
        command.end()


@pytest.fixture
def stuck() -> Iterator[int]:
    """A pipe's end for writing; the pipe is full, and not read from."""
    reader, end = os.pipe()
    os.set_blocking(end, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(end, b"x" * 4096)
    os.set_blocking(end, True)
    yield end
    os.close(end)
    os.close(reader)


Start = Callable[..., Command]

NOISY = {
    "/": 200,
    "/print": 200,
    "/errors": 200,
    "/log": 200,
    "/warn?{}": 200,
    "/spawn": 200,
    "/raise": 500,
}


@pytest.mark.parametrize("target", NOISY)
def test_nobody_reads_what_the_server_says(start: Start, stuck: int, target: str) -> None:
    command = start("--access-log", "-", stdout=stuck, stderr=stuck)
    assert command.ask(*(target.format(number) for number in range(30))) == [NOISY[target]] * 30
    assert command.ask("/") == [200]
    assert command.stop() == 0


PROGRAM = """
import sys, greenserve
greenserve.monkey_patch()

def fail():
    raise RuntimeError("x" * 1000)

def app(environ, start_response):
    if environ["PATH_INFO"] == "/raise":
        fail()
    greenserve.spawn(fail)
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]

sys.exit(greenserve.serve(app, bind=sys.argv[-1], access_log="-"))
"""


def test_a_program_of_its_own_that_configures_no_logging(start: Start, tmp_path: Path, stuck: int) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    command = start(words=("program.py",), stdout=stuck, stderr=stuck)
    assert command.ask(*["/", "/raise"] * 30) == [200, 500] * 30
    assert command.stop() == 0


def test_a_program_of_its_own_sees_the_servers_errors(start: Start, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    command = start(words=("program.py",), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert command.ask("/raise") == [500]
    assert command.stop() == 0
    said = command.process.stderr.read().decode()
    assert said.count("GET /raise HTTP/1.1: the application raised an error\nTraceback (most recent call last):\n") == 1
    assert "stopping" not in said  # less than a warning


def test_what_is_lost_at_the_end_is_said(start: Start, stuck: int) -> None:
    command = start("--access-log", "-", stdout=stuck, stderr=subprocess.PIPE)
    assert command.ask(*["/print"] * 30) == [200] * 30
    assert command.stop() == 0
    said = command.process.stderr.read().decode()
    assert "the access log lacks 30 lines" in said
    assert re.search(r"greenserve: \d\d lines of standard output were dropped", said)


def test_a_log_to_a_fifo_that_nobody_reads(start: Start, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")
    command = start("--access-log", "log", "--log-buffer", "64K", stderr=subprocess.PIPE)
    assert command.ask(*["/"] * 3000) == [200] * 3000
    assert command.stop() == 0
    said = command.process.stderr.read().decode()
    lacks = sum(map(int, re.findall(r"the access log lacks (\d+) lines", said)))
    assert 0 < lacks <= 3000
    assert "Traceback" not in said


@pytest.mark.parametrize("shell", ["> /dev/full", "2> /dev/full", "> /dev/full 2>&1", ">&-", "2>&-", ">&- 2>&- <&-"])
def test_standard_streams_that_are_full_or_closed(start: Start, shell: str) -> None:
    arguments = [] if ">&-" in shell else ["--access-log", "-"]
    command = start(*arguments, shell=shell)
    for target, status in NOISY.items():
        assert command.ask(target, target) == [status, status]
    assert command.stop() == 0


def test_the_access_log_goes_to_a_closed_standard_output_without_a_word(start: Start) -> None:
    """As with everything else that is printed there: /dev/null has taken its place, never a client's connection."""
    command = start("--access-log", "-", shell=">&-")
    assert command.ask("/", "/print") == [200, 200]
    assert command.stop() == 0


@pytest.mark.parametrize("target", ["-", "log"])
def test_a_reader_that_pauses_gets_every_line(start: Start, tmp_path: Path, target: str) -> None:
    if target == "log":
        os.mkfifo(tmp_path / "log")
    command = start("--access-log", target, stdout=subprocess.PIPE)
    reader = command.process.stdout.fileno() if target == "-" else os.open(tmp_path / "log", os.O_RDONLY)
    assert command.ask(*["/"] * 2000) == [200] * 2000  # some 160 kB: the pipe holds 64
    lines = bytearray()

    def read() -> None:
        while piece := os.read(reader, 65536):
            lines.extend(piece)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    assert command.stop() == 0
    thread.join(PATIENCE)
    assert len(re.findall(rb'(?m)^- - - \[.*\] "GET / HTTP/1.1" 200 5 "-" "-"$', bytes(lines))) == 2000
    assert lines.count(b"\n") == 2000


def test_the_streams_are_what_programs_know(start: Start, tmp_path: Path) -> None:
    before = """
import os, pathlib, signal, sys, time
sys.stdout.reconfigure(line_buffering=True)
sys.stdout.buffer.write(b"bytes\\n")
print("text", file=sys.stdout)
signal.signal(signal.SIGALRM, lambda number, frame: print("handler"))
signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
for _ in range(2000):
    print("loop")
signal.setitimer(signal.ITIMER_REAL, 0)
time.sleep(0)  # a handler that has yet to be called in main is called now
os.system("echo child")
facts = [each for stream in (sys.stdout, sys.stderr) for each in (stream.name, stream.fileno(), stream.isatty())]
pathlib.Path("facts").write_text(repr([*facts, sys.stdout.encoding, sys.stdout.writable(), sys.stdout.readable()]))
"""
    command = start(before=before, stdout=subprocess.PIPE)
    assert command.stop() == 0
    facts = ["<stdout>", 1, False, "<stderr>", 2, False, "utf-8", True, False]
    assert (tmp_path / "facts").read_text() == repr(facts)
    said = command.process.stdout.read().decode()
    assert said.count("loop") == 2000
    assert said.startswith("bytes\ntext\n")
    assert said.endswith("child\n")
    assert set(said.replace("handler", "").split()) == {"bytes", "text", "loop", "child"}


def test_what_is_printed_gets_through_in_its_order(start: Start) -> None:
    command = start(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert command.ask("/print", "/log", "/errors", "/raise") == [200, 200, 200, 500]
    assert command.stop() == 0
    assert command.process.stdout.read() == b"x" * 1000 + b"\n"
    said = command.process.stderr.read().decode().splitlines()
    found = [line for line in said if "x" * 1000 in line]
    assert found == ["x" * 1000, "ERROR:root:" + "x" * 1000, "x" * 1000, "RuntimeError: " + "x" * 1000]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_signals_for_other_purposes_end_no_request(start: Start, tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "log"
    command = start("--access-log", "log")
    connection = command.connect()
    connection.sendall(b"GET / HTTP/1.1\r\nHo")
    path.rename(tmp_path / "log.1")
    command.process.send_signal(number)
    if number != signal.SIGUSR2:
        until_blocking(path.exists)  # without a line
    assert command.ask("/") == [200]
    connection.sendall(b"st: a\r\n\r\n")
    assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
    connection.close()
    assert command.stop() == 0
    assert path.read_text().count("\n") == 2


def test_an_applications_own_handlers_stay(start: Start, tmp_path: Path) -> None:
    (tmp_path / "handling.py").write_text(
        "import signal, pathlib\n"
        "for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):\n"
        "    signal.signal(number, lambda number, frame: pathlib.Path(f'got.{number}').touch())\n"
    )
    command = start(before="import handling")
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        command.process.send_signal(number)
        until_blocking((tmp_path / f"got.{number.value}").exists)
    assert command.ask("/") == [200]
    assert command.stop() == 0


def test_a_closed_terminal_stops_the_server_gracefully(start: Start) -> None:
    """SIGHUP comes when the terminal goes, and more than once: requests in progress finish all the same."""
    master, terminal = pty.openpty()
    command = start(prefix=(require_program("setsid"), "--ctty"), stdin=terminal)
    os.close(terminal)
    connection = command.connect()
    connection.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    until_blocking((command.directory / "begun").exists)
    os.close(master)  # the terminal goes
    until_blocking(command.refuses)
    for _ in range(3):
        command.process.send_signal(signal.SIGHUP)
    (command.directory / "go").touch()
    assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
    connection.close()
    assert command.process.wait(PATIENCE) == 0
