"""The access log when its file misbehaves."""

from __future__ import annotations

import json
import os
from pathlib import Path

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
