"""Every example of the library runs as it is, in a process of its own, and does what it says."""

from __future__ import annotations

import difflib
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO
from xml.etree import ElementTree

import pytest

from tests.conftest import missing
from tests.e2e.server_process import REPOSITORY, ServerProcess, run_command

EXAMPLES = REPOSITORY / "examples"
PORTED = EXAMPLES / "ported_from_eventlet"
TIMEOUT = 20.0  # seconds

Start = Callable[[str], ServerProcess]


def run(*command: str, cwd: Path = EXAMPLES, env: dict[str, str | None] | None = None) -> str:
    """What an example that ends by itself says on its standard output."""
    done = run_command(executable=(sys.executable, "-W", "error", *command), cwd=cwd, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.fixture
def start() -> Iterator[Start]:
    """`start("echo_server.py")`: the example as a running process, which must end with 0 and without a traceback."""
    servers: list[ServerProcess] = []

    def start_one(name: str) -> ServerProcess:
        server = ServerProcess("127.0.0.1:0", executable=(sys.executable, "-W", "error", name), bind=(), cwd=EXAMPLES)
        servers.append(server)
        server.start()
        return server

    try:
        yield start_one
        for server in servers:
            assert server.stop() == 0
            assert "Traceback" not in server.output, server.output
    finally:
        for server in servers:
            server.kill()


@contextmanager
def connected(server: ServerProcess) -> Iterator[socket.socket]:
    host, _, port = server.addresses[0].rpartition(":")
    with socket.create_connection((host, int(port)), TIMEOUT) as sock:
        yield sock


@contextmanager
def lines(server: ServerProcess) -> Iterator[IO[str]]:
    """A connection to write lines to, and read them from."""
    with connected(server) as sock, sock.makefile("rw", encoding="utf-8") as file:
        yield file


def say(file: IO[str], *texts: str) -> None:
    file.write("".join(f"{text}\n" for text in texts))
    file.flush()


def receive(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := sock.recv(size - len(data))):
        data += piece
    return data


# -- the servers


def test_the_echo_server_sends_everything_back(start: Start) -> None:
    server = start("echo_server.py")
    data = bytes(range(256)) * 4096
    with connected(server) as one, connected(server) as other:
        other.sendall(b"at the same time")
        for start_of_piece in range(0, len(data), 65536):
            piece = data[start_of_piece : start_of_piece + 65536]
            one.sendall(piece)
            assert receive(one, len(piece)) == piece
        assert receive(other, 16) == b"at the same time"
        one.shutdown(socket.SHUT_WR)
        assert one.recv(1) == b""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_echo_server_lets_those_who_are_connected_finish(start: Start, number: signal.Signals) -> None:
    server = start("echo_server.py")
    with connected(server) as sock:
        sock.sendall(b"before")
        assert receive(sock, 6) == b"before"
        server.send_signal(number)
        while True:  # until it has stopped to listen
            try:
                with connected(server):
                    pass
            except OSError:
                break
        sock.sendall(b"after")
        assert receive(sock, 5) == b"after"
    assert server.wait() == 0


def test_the_callback_server_reminds_in_the_order_of_time(start: Start) -> None:
    with lines(start("callback_server.py")) as file:
        say(file, "0.4 last", "0.2 middle", "0 first", "nonsense")
        assert [file.readline() for _ in range(4)] == ["SECONDS TEXT, please\n", "first\n", "middle\n", "last\n"]


def test_the_callback_server_survives_clients_that_go_away_or_never_end_a_line(start: Start) -> None:
    server = start("callback_server.py")
    with lines(server) as file:
        say(file, "0.1 for nobody")
    with connected(server) as sock:
        sock.sendall(b"x" * 2000)
        with suppress(ConnectionResetError):  # which says that some of it was not read
            assert sock.recv(1) == b""
    with lines(server) as file:
        say(file, "0.2 still here")
        assert file.readline() == "still here\n"


def test_the_callback_server_keeps_what_a_slow_client_does_not_read(start: Start) -> None:
    server = start("callback_server.py")
    text = "x" * 900
    with lines(server) as file:
        for _ in range(5000):  # 4.5 MB come back: more than sockets hold
            say(file, f"0 {text}")
        say(file, "0.1 end")
        assert [file.readline() for _ in range(5001)] == [f"{text}\n"] * 5000 + ["end\n"]


def test_the_chat_brings_everybody_what_one_says(start: Start) -> None:
    server = start("tcp_chat.py")
    with lines(server) as ann:
        say(ann, "ann")
        assert [ann.readline() for _ in range(2)] == ["your name?\n", "* ann is here (1)\n"]
        with lines(server) as bob:
            say(bob, "bob", "grüß dich")
            expected = ["* bob is here (2)\n", "bob: grüß dich\n"]
            assert [bob.readline() for _ in range(3)] == ["your name?\n", *expected]
            assert [ann.readline() for _ in range(2)] == expected
            with lines(server) as other:
                say(other, "ann")
                assert [other.readline() for _ in range(3)] == ["your name?\n", "that name is taken\n", ""]
        assert ann.readline() == "* bob has left (1)\n"


def test_the_chat_sends_away_whoever_does_not_read(start: Start) -> None:
    server = start("tcp_chat.py")
    with connected(server) as deaf, lines(server) as ann:
        deaf.sendall(b"deaf\n")
        assert receive(deaf, 11) == b"your name?\n"
        say(ann, "ann")
        text = "x" * 900
        said = 0
        for line in ann:
            if line == "* deaf has left (1)\n":
                break
            if line.startswith("* ann is here") or line == f"ann: {text}\n":
                said += 1
                say(ann, text)
        assert said > 100
        while deaf.recv(65536):  # what was on its way, and then the end
            pass


# -- the programs that end by themselves


def test_the_downloads_are_right() -> None:
    if find_spec("requests") is None:
        missing("the package requests is not installed")
    said = run("downloads.py", "100")
    assert said.startswith("100 of 100 downloads are right: ")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Forty files in two directories, 4 to 43 words each; and one that is none of the pipeline's business."""
    for number in range(40):
        path = tmp_path / ("a" if number % 2 else "b") / f"{number}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text("The files, the files: " + "word " * number, "utf-8")
    (tmp_path / "other.bin").write_bytes(b"\xff")
    return tmp_path


@pytest.mark.parametrize("readers", ["1", "8"])
def test_the_pipeline_counts_every_word_of_every_file(directory: Path, readers: str) -> None:
    counted = json.loads(run("pipeline.py", str(directory), readers))
    assert counted == {
        "files": 40,
        "words": 40 * 4 + sum(range(40)),
        "most common": [["word", sum(range(40))], ["the", 80], ["files", 80]],
    }


def test_the_pipeline_ends_by_the_error_of_any_stage(directory: Path) -> None:
    broken = directory / "a" / "broken.txt"
    broken.write_bytes(b"\xff")
    done = run_command(executable=(sys.executable, "pipeline.py", str(directory)), cwd=EXAMPLES)
    assert (done.returncode, done.stderr) == (1, f"pipeline.py: {broken} is not UTF-8\n")


def test_the_four_models_of_concurrency_compute_the_same_and_are_drawn(tmp_path: Path) -> None:
    chart = tmp_path / "chart.svg"
    said = run("concurrency_models.py", "--requests", "20", "--numbers", "2", "--chart", str(chart))
    head, *rows, last = said.splitlines()
    assert head.split("  ")[-1].strip() == "CPU: 2 prime counts"
    models = ["OS threads", "processes", "asyncio", "green threads"]
    assert [re.sub(r" +[\d.]+ s +[\d.]+ s$", "", row) for row in rows] == models
    assert last.startswith(f"chart: {chart} (")
    svg = "{http://www.w3.org/2000/svg}"
    root = ElementTree.parse(chart).getroot()
    texts = [element.text for element in root.iter(f"{svg}text")]
    assert [text for text in texts if text in models] == 2 * models
    assert len(list(root.iter(f"{svg}rect"))) == 1 + 2 * len(models)


# -- the port


def test_the_ported_program_prints_what_its_readme_shows() -> None:
    shown = re.findall(r"^```\n(.*?)^```", (PORTED / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert [run("after.py", cwd=PORTED)] == shown


def test_the_readme_of_the_port_shows_the_whole_difference() -> None:
    before, after = ((PORTED / name).read_text("utf-8").splitlines() for name in ("before.py", "after.py"))
    diff = difflib.unified_diff(before, after, "before.py", "after.py", n=0, lineterm="")
    shown = re.findall(r"^```diff\n(.*?)^```", (PORTED / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert shown == ["".join(f"{line}\n" for line in diff)]


@pytest.mark.timeout(180)
def test_the_program_prints_the_same_on_eventlet(tmp_path: Path) -> None:
    # Not among the test packages: some libraries behave otherwise when they find Eventlet installed.
    installed = find_spec("eventlet") is not None or install_eventlet(tmp_path)
    if not installed:
        missing("eventlet is not installed, and pip cannot install it")
    on_eventlet = run_command(
        executable=(sys.executable, "-W", "ignore", "before.py"), cwd=PORTED, env={"PYTHONPATH": str(tmp_path)}
    )
    assert on_eventlet.stdout == run("after.py", cwd=PORTED)


def install_eventlet(directory: Path) -> bool:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(directory), "eventlet"]
    return subprocess.run(command, capture_output=True, timeout=120).returncode == 0


# -- the list


def test_the_readme_lists_every_directory_of_examples() -> None:
    listed = set(re.findall(r"\]\((\w+)/README\.md\)", (EXAMPLES / "README.md").read_text("utf-8")))
    assert listed == {path.parent.name for path in EXAMPLES.glob("*/README.md")}
