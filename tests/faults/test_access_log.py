"""The access log when its file misbehaves."""

from __future__ import annotations

import json
import os
import re
import socket
from pathlib import Path

import pytest

from tests.faults.conftest import Faulty
from tests.waiting import until_blocking
from tests.wire import get


def test_a_full_disk_stops_nothing_and_is_said_once(faulty: Faulty) -> None:
    server = faulty.start("--access-log", "/dev/full")
    connection = faulty.raw(server)
    for _ in range(20):
        connection.send(get())
        assert connection.answer() == (200, b"hello")
    connection.close()
    assert server.stop() == 0
    assert server.output.count("access log cannot be written") == 1


def test_rotation_loses_no_line(faulty: Faulty) -> None:
    path = faulty.directory / "access.log"
    server = faulty.start("--access-log", str(path), "--access-log-format", "json")
    connection = faulty.raw(server)

    def ask(target: str) -> None:
        connection.send(get(target))
        assert connection.answer()[0] == 200

    ask("/1")
    written(path, 1)
    os.rename(path, path.with_suffix(".1"))
    ask("/2")
    written(path, 1)
    ask("/3")
    connection.close()
    assert server.stop() == 0  # a line is written after its response: only now it is certain to be there
    assert [json.loads(line)["path"] for line in path.with_suffix(".1").read_text().splitlines()] == ["/1"]
    assert [json.loads(line)["path"] for line in path.read_text().splitlines()] == ["/2", "/3"]


def written(path: Path, count: int) -> None:
    """Wait until a file has so many lines."""
    until_blocking(lambda: path.exists() and path.read_text().count("\n") >= count)


def test_a_slow_readers_line_says_what_it_took(faulty: Faulty) -> None:
    path = faulty.directory / "access.log"
    server = faulty.start("--access-log", str(path), "--access-log-format", "json")
    whole, part = faulty.raw(server, get("/whole?20000000")), faulty.raw(server, get("/whole?20000000"))
    assert whole.head()[0] == part.head()[0] == 200
    assert len(whole.file.read(20_000_000)) == 20_000_000
    part.reset()
    server.stop()
    sizes = sorted(json.loads(line)["bytes"] for line in path.read_text().splitlines())
    assert sizes[-1] == 20_000_000
    assert 0 < sizes[0] < 20_000_000
    assert len(sizes) == 2


# What a head may hold beside visible ASCII, in a field that is logged: tabs, C1 (among them CSI and NEL), Latin-1.
WILD = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])
LINE = '%h %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i" "%{X-Wild}i" "%{X-Request-Id}i" %{queue}x %I %O %(f)s'


@pytest.mark.parametrize(
    "options",
    [
        ["--access-log-format", "combined"],
        ["--access-log-format", LINE],
        ["--access-log-format", "json", "--access-log-fields", "default,queue,request.x-wild,request_id,bytes_out"],
    ],
    ids=["combined", "format", "json"],
)
def test_no_client_forges_a_line_or_commands_a_terminal(faulty: Faulty, options: list[str]) -> None:
    path = faulty.directory / "access.log"
    server = faulty.start("--access-log", str(path), *options)
    connection = faulty.raw(server)
    fields = b"".join(b"%b: %b\r\n" % (name, WILD) for name in (b"Referer", b"User-Agent", b"X-Wild", b"X-Request-Id"))
    connection.send(b'GET /%0a%1b[31m?"\\` HTTP/1.1\r\nHost: a\r\n' + fields + b"\r\n")
    assert connection.answer()[0] == 200
    connection.close()
    assert server.stop() == 0
    text = path.read_text("ascii")
    assert text.count("\n") == 1
    assert text[:-1].isprintable()
    if "json" in options:
        assert json.loads(text)["request.x-wild"] == WILD.decode("latin-1").strip()


def test_the_system_log_gets_the_lines(faulty: Faulty) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
        daemon.bind(("127.0.0.1", 0))
        daemon.settimeout(20)
        target = f"syslog:127.0.0.1:{daemon.getsockname()[1]}?facility=local7&tag=shop"
        server = faulty.start("--access-log", target, "--access-log-format", "%m %U %s")
        connection = faulty.raw(server)
        connection.send(get("/a"))
        assert connection.answer()[0] == 200
        line = daemon.recv(9000)
        assert line.startswith(b"<190>1 ")
        assert re.search(rb" shop \d+ - - GET /a 200$", line)
        connection.close()
        assert server.stop() == 0
