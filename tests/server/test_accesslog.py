"""Lines of the access log, and what keeps them trustworthy."""

from __future__ import annotations

import json
import os
import re
from types import SimpleNamespace

import pytest

from greenserve.errors import ConfigurationError
from greenserve.server.access_format import Refusal
from greenserve.server.accesslog import CallLog, FileLog
from tests.server.live import Client, hello, serving
from tests.wsgi.fakes import head_of

# Each directive of Apache's and of gunicorn's that is known.
EVERYTHING = (
    '%a %{c}a %b %B %D %h %H %I %l %m %O %P "%q" "%r" %s %>s %t %T %{ms}T %u "%U" %v "%{X-Id}i" "%{x-id}o" %% '
    '%{queue}x %{SSL_CIPHER}x %(h)s %(t)s "%(r)s" %(s)s "%(f)s" "%(a)s" %(L)s %(M)s %(p)s "%({x-id}i)s" "%(q)s"'
)
REFUSED = Refusal(SimpleNamespace(peer_address="10.0.0.1"))


def subject(head, **more):
    """A request, as the log knows it."""
    connection = SimpleNamespace(peer_address="10.0.0.9", extra=None)
    values = {"request": head, "client_address": "10.0.0.1", "connection": connection, "body": None, "started": 1.0}
    return SimpleNamespace(**values | more)


def logged(tmp_path, raw, style, *, status="200 OK", sent=5, seconds=0.25):
    path = tmp_path / "access.log"
    log = FileLog(str(path), style)
    log.write(subject(head_of(raw)), status, sent, seconds)
    log.close()
    return path.read_text()


def test_combined(tmp_path):
    line = logged(
        tmp_path, b"GET /a?b HTTP/1.1\r\nHost: x\r\nReferer: http://r/\r\nUser-Agent: agent/1\r\n\r\n", "combined"
    )
    assert re.fullmatch(
        r"10\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "
        r'"GET /a\?b HTTP/1\.1" 200 5 "http://r/" "agent/1"\n',
        line,
    )


def test_a_client_cannot_forge_a_line(tmp_path):
    line = logged(tmp_path, b'GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: a" \\ \xe9\tz\r\n\r\n', "combined")
    assert line.endswith('"a\\" \\\\ \\xe9\\x09z"\n')
    assert line.count("\n") == 1


def test_json(tmp_path):
    entry = json.loads(logged(tmp_path, b"POST /p?q=1 HTTP/1.0\r\nHost: h\r\n\r\n", "json", status="404 Not Found"))
    assert entry.pop("time").endswith("+00:00")
    assert entry == {
        "remote_addr": "10.0.0.1",
        "method": "POST",
        "path": "/p",
        "query": "q=1",
        "protocol": "HTTP/1.0",
        "host": "h",
        "status": 404,
        "bytes": 5,
        "duration": 0.25,
        "referer": None,
        "user_agent": None,
    }


@pytest.mark.parametrize("style", ["combined", "json", EVERYTHING])
def test_no_byte_of_a_client_begins_a_line_or_commands_a_terminal(tmp_path, style):
    """C0 but tab is refused in a head. What is left: DEL, C1 (NEL and CSI among them), and all the rest of Latin-1."""
    wild = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])
    head = head_of(b"GET / HTTP/1.1\r\nHost: a\r\nReferer: %b\r\nUser-Agent: %b\r\n\r\n" % (wild, wild))
    path = tmp_path / "access.log"
    log = FileLog(str(path), style)
    log.write(subject(head), "200 OK", 5, 0.25)
    log.close()
    line = path.read_text(encoding="utf-8")
    assert line[:-1].isprintable()
    assert line[:-1].isascii()
    assert len(line.splitlines()) == 1
    if style == "json":
        assert json.loads(line)["user_agent"] == wild.decode("latin-1").strip()


@pytest.mark.parametrize("style", ["combined", "json", EVERYTHING])
def test_a_line_is_printable_whatever_is_in_it(style):
    """Whatever a head may let through one day, or an address: every character to U+2FFF, and some beyond."""
    wild = "".join(map(chr, [*range(0x3000), 0xD800, 0xFEFF, 0xFFFF, 0x1F600, 0x10FFFF]))
    fields = SimpleNamespace(host=wild)
    values = {"method": "GET", "target": wild, "path": wild, "query": wild, "http_version": "1.1", "size": 0}
    cgi = {"HTTP_REFERER": wild, "HTTP_USER_AGENT": wild}
    sent = {"referer": wild, "user-agent": wild}
    request = SimpleNamespace(**values, fields=fields, cgi=cgi, get=sent.get)
    lines = []
    CallLog(lines.append, style).write(subject(request), "200 OK", 0, 0.0)
    (line,) = lines
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    assert line.isascii()


def test_a_file_that_cannot_be_opened_is_a_clear_error(tmp_path):
    with pytest.raises(ConfigurationError, match="access_log"):
        FileLog(str(tmp_path / "missing" / "log"), "combined")


def test_a_rotated_file_is_reopened(tmp_path):
    path = tmp_path / "access.log"
    log = FileLog(str(path), "json")
    os.rename(path, tmp_path / "access.log.1")
    log.write(REFUSED, "400", 0, 0.0)
    log.close()
    assert json.loads(path.read_text())["status"] == 400
    assert (tmp_path / "access.log.1").read_text() == ""


def test_what_was_dropped_is_said_once_a_second_and_at_the_end(tmp_path, caplog):
    log = FileLog(str(tmp_path / "access.log"), "combined", limit=10)
    log.write(REFUSED, "400", 0, 0.0)
    log.write(REFUSED, "400", 0, 0.0)
    log.check()
    log.check()
    log.write(REFUSED, "400", 0, 0.0)
    log.close()
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "the access log lacks 2 lines",
        "the access log lacks 1 lines",
    ]


def test_a_function_for_lines_that_raises_harms_no_request(caplog):
    def call(line):
        raise ValueError("closed")

    log = CallLog(call)
    for _ in range(3):
        log.write(REFUSED, "400", 0, 0.0)
    assert [record.getMessage() for record in caplog.records] == [
        "the access log's function raised; requests are still served"
    ]


def test_every_request_of_a_server_has_its_line(tmp_path):
    def application(environ, start_response):
        if environ["PATH_INFO"] == "/fails":
            raise RuntimeError
        return hello(environ, start_response)

    path = tmp_path / "access.log"
    with serving(application, access_log=str(path), access_log_format="json") as server:
        with Client(server) as client:
            client.get("/ok")
            client.send(b"GET /fails HTTP/1.1\r\nHost: a\r\n\r\n")
            client.response()
        with Client(server) as client:
            client.send(b"BROKEN\r\n\r\n")
            client.response()
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(entry["path"], entry["status"]) for entry in entries] == [("/ok", 200), ("/fails", 500), (None, 400)]
