"""Static files over real connections."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from greenserve.errors import ConfigurationError
from greenserve.server import Server
from tests.server.live import Client, hello, serving
from tests.server.test_tls import TlsClient, secured
from tests.static.support import write

CONTENT = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    write(tmp_path, "large.bin", CONTENT)
    write(tmp_path, "small.txt", b"small")
    return tmp_path


def test_files_and_the_application_share_a_connection(tree):
    with serving(hello, static=f"/static={tree}") as server, Client(server) as client:
        for _ in range(2):
            assert client.get("/static/large.bin") == CONTENT
            assert client.get("/static/large.bin", headers="Range: bytes=100000-999999\r\n") == CONTENT[100000:1000000]
            assert client.get("/static/small.txt") == b"small"
            assert client.get("/") == b"hello"
            client.send(b"HEAD /static/large.bin HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.response(body=False)[1]["content-length"] == str(len(CONTENT))


def test_pipelined_requests_are_answered_in_order(tree):
    with serving(hello, static={"/static": str(tree)}) as server, Client(server) as client:
        client.send(b"".join(b"GET /static/%b HTTP/1.1\r\nHost: a\r\n\r\n" % name for name in _NAMES))
        assert [client.response()[2] for _ in _NAMES] == [CONTENT, b"small", CONTENT, b"small"]


_NAMES = (b"large.bin", b"small.txt") * 2


def test_a_large_file_is_sent_by_the_kernel(tree, monkeypatch):
    sent = []
    original = os.sendfile

    def counted(out, in_fd, offset, count):
        sent.append(original(out, in_fd, offset, count))
        return sent[-1]

    monkeypatch.setattr(os, "sendfile", counted)
    with serving(hello, static=f"/static={tree}") as server, Client(server) as client:
        assert client.get("/static/large.bin", headers="Range: bytes=10-900000\r\n") == CONTENT[10:900001]
    assert sum(sent) == 900001 - 10


def test_a_request_that_asks_for_an_upgrade_gets_its_file(tree):
    with serving(hello, static=f"/static={tree}") as server, Client(server) as client:
        assert client.get("/static/small.txt", headers="Connection: Upgrade\r\nUpgrade: h2c\r\n") == b"small"


def test_a_file_that_becomes_shorter_is_not_taken_for_whole(tmp_path, caplog):
    path = tmp_path / "file"
    path.touch()
    os.truncate(path, 30_000_000)
    with serving(hello, static=f"/={tmp_path}") as server:
        for headers in ("", "Range: bytes=0-9999999,20000000-\r\n"):
            os.truncate(path, 30_000_000)
            with Client(server) as client:
                client.send(f"GET /file HTTP/1.1\r\nHost: a\r\n{headers}\r\n".encode())
                status, fields = client.head()
                assert status == (206 if headers else 200)
                os.truncate(path, 1000)
                assert len(client.file.read()) < int(fields["content-length"])
        with Client(server) as client:
            assert len(client.get("/file")) == 1000
    assert caplog.text.count("cut short") == 2


def test_a_file_that_grows_is_sent_as_it_was(tmp_path):
    path = write(tmp_path, "file", b"x" * 20_000_000)
    with serving(hello, static=f"/={tmp_path}") as server, Client(server) as client:
        client.send(b"GET /file HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.head()[1]["content-length"] == "20000000"
        with path.open("ab") as file:
            file.write(b"y" * 1000)
        assert client.file.read(20_000_000) == b"x" * 20_000_000
        assert client.get("/none") == b"hello"


def test_a_client_that_leaves_takes_its_descriptor_along(tmp_path):
    write(tmp_path, "file", b"x" * 20_000_000)
    with serving(hello, static=f"/={tmp_path}") as server:
        for _ in range(20):
            with Client(server) as client:
                client.send(b"GET /file HTTP/1.1\r\nHost: a\r\n\r\n")
                assert client.head()[0] == 200
        deadline = time.monotonic() + 10
        while _open_in(tmp_path):
            assert time.monotonic() < deadline
            with Client(server) as client:
                client.get("/none")


def _open_in(directory: Path) -> list[str]:
    paths = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            paths.append(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            pass
    return [path for path in paths if path.startswith(str(directory))]


def test_the_access_log_has_a_line_for_each(tree, tmp_path):
    log = tmp_path / "access.log"
    with serving(hello, static=f"/static={tree}", access_log=str(log)) as server, Client(server) as client:
        client.get("/static/large.bin")
        client.get("/static/small.txt", headers="Range: bytes=0-1\r\n")
        client.send(b"GET /static/small.txt HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\n\r\n")
        assert client.response()[0] == 304
    ends = [line.split('"')[2].split() for line in log.read_text().splitlines()]
    assert ends == [["200", str(len(CONTENT))], ["206", "2"], ["304", "-"]]


def test_a_directory_that_cannot_be_served_is_said_before_the_server_listens(tmp_path, monkeypatch):
    with pytest.raises(ConfigurationError, match=r"static = '/s=.*/none': .*No such file.*create it, or write /s=DIR"):
        Server(hello, bind="127.0.0.1:0", static=f"/s={tmp_path}/none").start()
    write(tmp_path, "file")
    with pytest.raises(ConfigurationError, match="Not a directory"):
        Server(hello, bind="127.0.0.1:0", static=f"/s={tmp_path}/file").start()
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may enter each
    with pytest.raises(ConfigurationError, match="Permission denied; let the server's user enter it"):
        Server(hello, bind="127.0.0.1:0", static=f"/s={tmp_path}").start()


def test_files_go_out_over_tls(tree):
    with secured(hello, static=f"/static={tree}") as server, TlsClient(server) as client:
        assert client.get("/static/large.bin") == CONTENT
        assert client.get("/static/large.bin", headers="Range: bytes=100000-\r\n") == CONTENT[100000:]
        assert client.get("/static/small.txt") == b"small"
