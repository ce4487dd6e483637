"""Lines of the access log by choice: directives of Apache and gunicorn, fields of JSON, and what only a live server
knows of a request.
"""

from __future__ import annotations

import json
import os
import re
import string
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.errors import ConfigurationError
from greenserve.server.access_format import _GETTERS, make_format
from greenserve.server.accesslog import CallLog
from greenserve.server.phases import Phase
from greenserve.settings import Settings
from greenserve.settings.log_format import DEFAULT_FIELDS, FIELDS, Reference, parse_fields, parse_format
from tests.server.live import Client, serving
from tests.server.test_accesslog import EVERYTHING, REFUSED, subject
from tests.wsgi.fakes import head_of

RAW = b"GET /a%20b?c=d HTTP/1.1\r\nHost: example.com\r\nReferer: http://r/\r\nUser-Agent: agent/1\r\nX-Id: 7\r\n\r\n"
MEASURED = {
    "arrived": 0.5,
    "first_byte": 1.125,
    "response_head": b"HTTP/1.1 200 OK\r\nX-Id: a\r\nContent-Type: text/plain\r\nx-id: b\r\n\r\n",
}


def line(style, *, fields=DEFAULT_FIELDS, status="200 OK", sent=5, seconds=0.25, about=None):
    lines = []
    log = CallLog(lines.append, style, fields)
    log.write(about if about is not None else subject(head_of(RAW), **MEASURED), status, sent, seconds)
    assert lines[0].endswith("\n")
    return lines[0][:-1]


@pytest.mark.parametrize(
    ("directive", "text"),
    [
        ("%a", "10.0.0.1"),
        ("%h", "10.0.0.1"),
        ("%{c}a", "10.0.0.9"),
        ("%b", "5"),
        ("%B", "5"),
        ("%D", "250000"),
        ("%T", "0"),
        ("%{s}T", "0"),
        ("%{ms}T", "250"),
        ("%{us}T", "250000"),
        ("%H", "HTTP/1.1"),
        ("%I", str(len(RAW))),
        ("%O", str(len(MEASURED["response_head"]) + 5)),
        ("%l", "-"),
        ("%u", "-"),
        ("%m", "GET"),
        ("%P", str(os.getpid())),
        ("%q", "?c=d"),
        ("%r", "GET /a%20b?c=d HTTP/1.1"),
        ("%s", "200"),
        ("%>s", "200"),
        ("%<s", "200"),
        ("%U", "/a%20b"),
        ("%v", "example.com"),
        ("%{Referer}i", "http://r/"),
        ("%{user-AGENT}i", "agent/1"),
        ("%{Accept}i", "-"),
        ("%{X-Id}o", "a, b"),
        ("%{first_byte}x", "0.125000"),
        ("%{queue}x", "0.500000"),
        ("%{request_id}x", "-"),
        ("%{response.content-type}x", "text/plain"),
        ("%{SSL_PROTOCOL}x", "-"),
        ("%%h", "%h"),
        ("100%% %m", "100% GET"),
        ("%(h)s", "10.0.0.1"),
        ("%(a)s", "agent/1"),
        ("%(f)s", "http://r/"),
        ("%(q)s", "c=d"),
        ("%(L)s", "0.250000"),
        ("%(M)s", "250"),
        ("%(p)s", f"<{os.getpid()}>"),
        ("%({Referer}i)s", "http://r/"),
        ("%({x-id}o)s", "a, b"),
        ('%(m)s "%(U)s"', 'GET "/a%20b"'),
    ],
)
def test_a_directive_writes_what_apache_or_gunicorn_would(directive, text):
    assert line(directive) == text


def test_the_time_is_that_of_a_combined_line():
    assert re.fullmatch(r"(\[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]) \1", line("%t %(t)s"))


def test_the_combined_format_of_both_servers_is_combined():
    apache = '%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i"'
    gunicorn = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'
    assert line(apache) == line(gunicorn) == line("combined")


def test_an_empty_body_is_a_dash_or_a_zero():
    assert line("%b %B %(b)s %(B)s", sent=0) == "- 0 - 0"


@pytest.mark.parametrize("style", ["combined", "json", EVERYTHING])
def test_a_request_that_is_not_known_has_dashes(style):
    written = line(style, status="400", about=REFUSED)
    assert "400" in written
    assert "10.0.0.1" in written


def test_json_has_the_fields_that_were_asked_for_in_their_order():
    fields = parse_fields(["status", "queue", "request.X-Id", "response.x-id", "tls"])
    entry = json.loads(line("json", fields=fields))
    assert list(entry.items()) == [
        ("status", 200),
        ("queue", 0.5),
        ("request.x-id", "7"),
        ("response.x-id", "a, b"),
        ("tls", None),
    ]


def test_the_variables_of_a_connection_are_fields():
    connection = SimpleNamespace(peer_address="::1", extra={"SSL_PROTOCOL": "TLSv1.3", "SSL_CIPHER": "X"})
    about = subject(head_of(RAW), connection=connection)
    assert line("%{tls}x %{SSL_CIPHER}x %{SSL_CLIENT_S_DN}x", about=about) == "TLSv1.3 X -"


def test_every_field_has_a_value_and_every_value_is_a_field():
    assert {name for name in FIELDS if not name.endswith(".")} == set(_GETTERS)
    assert set(DEFAULT_FIELDS) <= set(FIELDS)


@pytest.mark.parametrize(
    ("style", "measured"),
    [("combined", False), ("json", False), ("%h %D %{tls}x %I", False), ("%O", True), ("%{queue}x", True)],
)
def test_only_what_asks_for_it_is_measured(style, measured):
    assert make_format(style)[1] is measured
    assert make_format("json", ("status", "response.etag"))[1] is True


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("plain", "neither a word"),
        ("%", "is not a directive"),
        ("%h %", "is not a directive"),
        ("%!200{X}i", "is not a directive"),
        ("%Z", "'%Z' is not a directive that is known"),
        ("%(Z)s", "is not a directive that is known"),
        ("%(h)", "is not a directive"),
        ("%{HOME}e", "is not a directive that is known"),
        ("%{nonsense}x", "'nonsense' is not a field; known are time,"),
        ("%{a b}i", "names no field"),
        ("%{}i", "names no field"),
        ("%h\n%h", "control character"),
        ("%h\x1b[31m", "control character"),
    ],
)
def test_a_format_that_is_wrong_is_refused_with_the_reason(text, why):
    with pytest.raises(ConfigurationError, match=rf"^access_log_format = .*{re.escape(why)}"):
        Settings.from_kwargs(access_log_format=text)


@given(st.text(string.printable + "%%%%{}()", max_size=30))
def test_any_text_is_a_format_that_writes_one_harmless_line_or_is_refused(text):
    try:
        parts = parse_format(text)
    except ConfigurationError:
        return
    written = line("%%" + text)
    assert written.isprintable()
    literal = "%" + "".join(part for part in parts if isinstance(part, str))
    if not any(isinstance(part, Reference) for part in parts):
        assert written == literal


@pytest.mark.parametrize(
    ("value", "fields"),
    [
        ("status,queue", ("status", "queue")),
        (["Status", "queue first_byte"], ("status", "queue", "first_byte")),
        ("default,tls", (*DEFAULT_FIELDS, "tls")),
        ("request.X-Id,variable.SSL_CIPHER", ("request.x-id", "variable.SSL_CIPHER")),
    ],
)
def test_fields_are_parsed_and_shown(value, fields):
    settings = Settings.from_kwargs(access_log_fields=value)
    assert settings.access_log_fields == fields
    assert Settings.from_kwargs(access_log_fields=settings.shown()["access_log_fields"]) == settings


@pytest.mark.parametrize(
    "value", ["", [], "nope", "request.", "request.a b", "status,status", "default,status", 1, None]
)
def test_bad_fields_are_refused(value):
    with pytest.raises(ConfigurationError, match=r"^access_log_fields = .*Accepted: of time,"):
        Settings.from_kwargs(access_log_fields=value)


def test_fields_without_json_are_a_mistake_that_is_named():
    with pytest.raises(ConfigurationError, match="access_log_format to json"):
        serving(answering, access_log="-", access_log_fields="status,queue").start()


# -- what only a live server knows


def answering(environ, start_response):
    body = environ["wsgi.input"].read()
    if environ["PATH_INFO"] == "/fails":
        raise RuntimeError
    environ["wsgi.early_hints"]([("Link", "</a>")])
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Request-Id", "own-1")])
    if environ["PATH_INFO"] == "/stream":
        return iter([b"123", b"45"])
    return [body or b"hello"]


FIELD_NAMES = "status,bytes,bytes_in,bytes_out,first_byte,queue,duration,request_id,response.content-type,peer_addr"


def test_times_and_bytes_of_a_live_server():
    lines = []
    server = serving(answering, buffer_chunked="none")
    server.access_log = CallLog(lines.append, "json", parse_fields(FIELD_NAMES.split(",")))
    requests = [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nX-Request-Id: theirs\r\nContent-Length: 9\r\n\r\n123456789",
        b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n",
        b"GET /fails HTTP/1.1\r\nHost: a\r\n\r\n",
    ]
    sizes = [len(request) for request in requests]
    sizes[3] -= len(b"4\r\n\r\n0\r\n\r\n")  # chunks are framing
    heads = []
    with server, Client(server) as client:
        for request in requests:
            client.send(request)
            if b"/fails" not in request:
                assert client.head()[0] == 103
            before = client.file.peek()
            client.response()
            heads.append(before.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
    entries = [json.loads(each) for each in lines]
    assert [entry["status"] for entry in entries] == [200, 200, 200, 200, 500]
    assert [entry["bytes"] for entry in entries[:4]] == [5, 9, 5, 4]
    assert [entry["bytes_in"] for entry in entries] == sizes
    assert [entry["bytes_out"] - entry["bytes"] for entry in entries] == [len(head) for head in heads]
    assert [entry["request_id"] for entry in entries] == ["own-1", "theirs", "own-1", "own-1", None]
    assert [entry["response.content-type"] for entry in entries[:4]] == ["text/plain"] * 4
    for entry in entries:
        assert 0 <= entry["first_byte"] <= entry["duration"]
        assert entry["queue"] is None or entry["queue"] >= 0
        assert entry["peer_addr"] == "127.0.0.1"


def test_a_request_that_no_application_has_seen_has_no_times():
    lines = []
    server = serving(answering, max_body="1K", buffer_chunked="2K")
    server.access_log = CallLog(lines.append, "json", parse_fields(FIELD_NAMES.split(",")))
    refused = [
        b"BROKEN\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        b'GET / HTTP/1.1\r\nHost: a\r\nForwarded: for="\r\n\r\n',
    ]
    with server:
        for request in refused:
            with Client(server) as client:
                client.send(request)
                client.response()
    entries = [json.loads(each) for each in lines]
    assert [entry["status"] for entry in entries[:3]] == [400, 413, 400]
    assert len(entries) == 4
    for entry in entries[:3]:
        assert (entry["first_byte"], entry["duration"], entry["request_id"]) == (None, 0.0, None)
        assert entry["bytes"] > 20


def test_a_request_that_waited_for_its_turn_says_for_how_long():
    lines = []
    server = serving(waiting, concurrency=1, buffer_chunked=None)
    server.access_log = CallLog(lines.append, "json", ("path", "queue", "duration"))
    with server, Client(server) as first, Client(server) as second:
        first.send(b"POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n")
        assert first.head()[0] == 103  # its application runs, and waits for the body
        second.send(b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n")
        while not server._worker.pool.waiting:
            pass
        first.send(b"x")
        first.response()
        assert second.head()[0] == 103
        second.response()
    one, two = map(json.loads, lines)
    assert (one["path"], two["path"]) == ("/first", "/second")
    assert two["queue"] > one["queue"]


def waiting(environ, start_response):
    environ["wsgi.early_hints"]([("Link", "</a>")])
    environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [b"done"]


def test_a_request_whose_head_comes_in_pieces_is_measured_too():
    lines = []
    server = serving(answering)
    server.access_log = CallLog(lines.append, "json", ("queue", "first_byte"))
    with server, Client(server) as client:
        client.send(b"GET / HTTP/1.1\r\n")
        while not [each for each in list(server._worker.connections) if each.phase is Phase.HEAD]:
            pass
        client.send(b"Host: a\r\n")
        client.send(b"\r\n")
        assert client.head()[0] == 103
        client.response()
    (entry,) = map(json.loads, lines)
    assert entry["queue"] >= 0
    assert entry["first_byte"] >= 0


def test_an_early_request_of_a_pipeline_says_when_it_came_and_the_others_do_not():
    lines = []
    server = serving(answering)
    server.access_log = CallLog(lines.append, "json", ("queue",))
    with server, Client(server) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
        for _ in range(2):
            assert client.head()[0] == 103
            client.response()
    first, second = [json.loads(each)["queue"] for each in lines]
    assert first >= 0
    assert second is None
