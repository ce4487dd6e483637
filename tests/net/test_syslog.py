"""The system log: each line is a datagram of the right form; no request suffers from a daemon that comes and goes."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenserve.errors import ConfigurationError
from greenserve.net.syslog import LARGEST, SyslogWriter
from greenserve.server.accesslog import FileLog
from greenserve.settings import Settings
from greenserve.settings.syslog import Syslog, parse_syslog
from tests.server.live import PATIENCE, Client, hello, serving


def daemon(where: str | tuple[str, int]) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX if isinstance(where, str) else socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(PATIENCE)
    sock.bind(where)
    return sock


@pytest.fixture
def local(tmp_path: Path) -> Iterator[socket.socket]:
    with daemon(str(tmp_path / "log")) as sock:
        yield sock


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("syslog:", Syslog()),
        ("syslog:/run/log.sock", Syslog("/run/log.sock")),
        ("syslog:loghost", Syslog(("loghost", 514))),
        ("syslog:[::1]", Syslog(("::1", 514))),
        ("syslog:127.0.0.1:5514", Syslog(("127.0.0.1", 5514))),
        ("syslog:?facility=local7&tag=shop&severity=debug", Syslog(facility="local7", severity="debug", tag="shop")),
    ],
)
def test_where_the_system_log_is(text: str, target: Syslog) -> None:
    assert parse_syslog(text) == target
    settings = Settings.from_kwargs(access_log=text)
    assert settings.access_log == target
    assert Settings.from_kwargs(access_log=settings.shown()["access_log"]) == settings
    assert Settings.from_kwargs(access_log=target) == settings


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("syslog:?facility=local8", "'local8' is not a facility of syslog"),
        ("syslog:?severity=fatal", "'fatal' is not a severity of syslog"),
        ("syslog:?tag=a b", "'a b' is not a tag of syslog"),
        ("syslog:?tag=", "'' is not a tag of syslog"),
        ("syslog:?colour=red", "'colour' is not an option of syslog; known are facility, severity, tag"),
        ("syslog:?tag=a&tag=b", "tag is there twice"),
        ("syslog:host:port", "'port' is not a port"),
        ("syslog:host:0", "neither a host and a port nor the path of a socket"),
        ("syslog:unix:/x", "neither a host and a port nor the path of a socket"),
        ("syslog:/" + "x" * 110, "not the path of a socket"),
    ],
)
def test_a_wrong_one_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^access_log = .*{why}.*Accepted: a path, `-`, or syslog:"):
        Settings.from_kwargs(access_log=text)


def test_a_line_of_this_machine_has_the_form_of_syslog_3(local: socket.socket) -> None:
    writer = SyslogWriter(Syslog(local.getsockname(), "local7", "notice", "shop"))
    writer.put(b"one\n")
    writer.put(b"two\n")
    for text in (b"one", b"two"):
        got = local.recv(9000)
        assert re.fullmatch(rb"<189>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d shop\[%d\]: %b" % (os.getpid(), text), got)
    writer.close()


def test_a_line_by_udp_is_of_rfc_5424() -> None:
    with daemon(("127.0.0.1", 0)) as sock:
        writer = SyslogWriter(Syslog(sock.getsockname()))
        writer.put(b"a line\n")
        assert re.fullmatch(
            rb"<134>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d \S+ greenserve %d - - a line" % os.getpid(),
            sock.recv(9000),
        )
        writer.close()


def test_a_line_that_is_too_long_is_cut(local: socket.socket) -> None:
    writer = SyslogWriter(Syslog(local.getsockname()))
    writer.put(b"x" * 100_000 + b"\n")
    assert local.recv(200_000).count(b"x") == LARGEST
    writer.close()


def test_a_daemon_that_was_started_again_is_found_again(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    with daemon(path) as sock:
        writer = SyslogWriter(Syslog(path))
        writer.put(b"before\n")
        assert sock.recv(9000).endswith(b": before")
    os.unlink(path)
    with daemon(path) as sock:
        writer.put(b"after\n")
        assert sock.recv(9000).endswith(b": after")
        writer.close()


def test_without_a_daemon_the_server_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"access_log = 'syslog:.*/missing': No such file.*a daemon that runs"):
        FileLog(Syslog(str(tmp_path / "missing")), "combined")


def test_requests_are_in_the_system_log(local: socket.socket) -> None:
    target = f"syslog:{local.getsockname()}?tag=shop"
    with serving(hello, access_log=target, access_log_format="%m %U %s") as server, Client(server) as client:
        client.get("/a")
        client.get("/b\x9b31m")
        assert local.recv(9000).endswith(b": GET /a 200")
        client.close()


def test_a_daemon_that_reads_nothing_holds_up_no_request(local: socket.socket) -> None:
    """Its queue takes some ten lines; what the log cannot keep is dropped."""
    with (
        serving(hello, access_log=f"syslog:{local.getsockname()}", log_buffer="4K") as server,
        Client(server) as client,
    ):
        for _ in range(300):
            assert client.get("/") == b"hello"
        assert server._worker.access_log._writer.dropped > 0  # type: ignore[union-attr]  # it runs, and has a log
        local.close()  # so that the writer's thread can end
