"""Responses of a real server: interim ones, trailers, headers of the server's own, error pages."""

from __future__ import annotations

import json
import re

import pytest

from greenserve.errors import ConfigurationError
from tests.e2e.server_process import run_command
from tests.server.live import Client, hello, serving

HINT = ("Link", "</style.css>; rel=preload; as=style")


def hinting(environ, start_response):
    environ["wsgi.early_hints"]([HINT])
    environ["wsgi.early_hints"]([("Link", environ["PATH_INFO"])])
    return hello(environ, start_response)


def test_early_hints_come_before_each_of_the_pipelined_responses():
    with serving(hinting) as server, Client(server) as client:
        client.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n")
        for path in ("/a", "/b"):
            assert client.head() == (103, {"link": HINT[1]})
            assert client.head() == (103, {"link": path})
            status, _, body = client.response()
            assert (status, body) == (200, b"hello")


def test_early_hints_are_there_while_the_application_still_works():
    def application(environ, start_response):
        environ["wsgi.early_hints"]([HINT])
        body = environ["wsgi.input"].read()  # which the client sends when it has the hints
        start_response("200 OK", [])
        return [body]

    with serving(application) as server, Client(server) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
        assert client.head()[0] == 103
        client.send(b"12345")
        assert client.response()[2] == b"12345"


def test_an_http_1_0_client_gets_no_interim_response():
    with serving(hinting) as server, Client(server) as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        status, _, body = client.response()
        assert (status, body) == (200, b"hello")
        assert client.at_end()


def test_hints_that_are_wrong_are_an_error_of_the_application():
    def application(environ, start_response):
        environ["wsgi.early_hints"]([("Link", "a\r\n\r\nHTTP/1.1 200 OK")])

    with serving(application) as server, Client(server) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.response()[0] == 500
        assert client.at_end()


def test_a_response_with_trailers_leaves_the_connection_in_step():
    def application(environ, start_response):
        start_response("200 OK", [("Trailer", "Server-Timing")])
        yield b"one"
        environ["greenserve.send_trailers"]([("Server-Timing", "db;dur=5")])

    with serving(application) as server, Client(server) as client:
        for _ in range(2):
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n")
            status, fields = client.head()
            assert (status, fields["trailer"]) == (200, "server-timing")
            assert client.file.read(8) == b"3\r\none\r\n"
            end = b"0\r\nServer-Timing: db;dur=5\r\n\r\n"
            assert client.file.read(len(end)) == end


@pytest.mark.parametrize("buffered", ["1M", "none"])
def test_the_trailers_of_a_request_are_there_when_its_body_was_read(buffered):
    def application(environ, start_response):
        body = environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [json.dumps([body.decode(), environ["greenserve.trailers"]]).encode()]

    with serving(application, buffer_chunked=buffered) as server, Client(server) as client:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        client.send(head + b"3\r\none\r\n0\r\nX-Sum: 15 \r\nHost: evil\r\nContent-Length: 9\r\nX-sum: 2\r\n\r\n")
        assert json.loads(client.response()[2]) == ["one", [["x-sum", "15"], ["x-sum", "2"]]]
        client.send(head + b"0\r\n\r\n")
        assert json.loads(client.response()[2]) == ["", []]


def test_trailers_are_bounded():
    def application(environ, start_response):
        environ["wsgi.input"].read()
        return hello(environ, start_response)

    with serving(application) as server, Client(server) as client:
        client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: 12345678\r\n" * 2000
        )
        assert client.response()[0] == 431


def test_headers_of_the_server_are_on_every_response_and_give_way_to_the_applications():
    def application(environ, start_response):
        if environ["PATH_INFO"] == "/fails":
            raise RuntimeError
        start_response("200 OK", [("x-frame-options", "SAMEORIGIN")] if environ["PATH_INFO"] == "/own" else [])
        return [b"ok"]

    header = ["Strict-Transport-Security: max-age=31536000", "X-Frame-Options: DENY"]
    with serving(application, header=header, server_header="off", date_header=False) as server:
        for path, status, frame in (("/", 200, "DENY"), ("/own", 200, "SAMEORIGIN"), ("/fails", 500, "DENY")):
            with Client(server) as client:
                client.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                found, fields, _ = client.response()
                assert found == status
                assert fields["x-frame-options"] == frame
                assert fields["strict-transport-security"] == "max-age=31536000"
                assert "server" not in fields
                assert "date" not in fields
        with Client(server) as client:
            client.send(b"BROKEN\r\n\r\n")
            assert client.response()[1]["x-frame-options"] == "DENY"


def test_error_pages_are_what_the_client_prefers_or_the_operators_own(tmp_path):
    (tmp_path / "500.html").write_text("<p>sorry</p>")
    (tmp_path / "style.css").write_text("p { color: red }")

    def application(environ, start_response):
        raise RuntimeError("a secret")

    with serving(application, error_pages=str(tmp_path)) as server:
        answers = {}
        for accept in ("text/html,*/*;q=0.8", "application/json", "text/plain"):
            with Client(server) as client:
                client.send(f"GET / HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n\r\n".encode())
                status, fields, body = client.response()
                assert status == 500
                assert b"secret" not in body
                answers[fields["content-type"]] = body
        assert answers["text/html; charset=utf-8"] == b"<p>sorry</p>"
        assert json.loads(answers["application/problem+json"])["title"] == "Internal Server Error"
        assert answers["text/plain; charset=utf-8"].startswith(b"500 Internal Server Error\n")
        with Client(server) as client:
            client.send(b"BROKEN\r\nAccept: text/html\r\n\r\n")
            assert client.response()[1]["content-type"] == "text/plain; charset=utf-8"


def test_a_body_that_is_too_large_is_refused_in_the_clients_type_and_named_in_the_log(tmp_path):
    (tmp_path / "413.html").write_text("<p>too much</p>")
    log = tmp_path / "access.log"
    with serving(hello, max_body="1K", error_pages=str(tmp_path), access_log=str(log)) as server:
        for accept, body in (("text/html", b"<p>too much</p>"), ("application/json", b'{"type": "about:blank"')):
            with Client(server) as client:
                client.send(
                    f"POST /up HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\nContent-Length: 2000\r\n\r\n".encode()
                )
                status, _, page = client.response()
                assert status == 413
                assert page.startswith(body)
    assert log.read_text().count('"POST /up HTTP/1.1" 413 15 ') == 1


@pytest.mark.parametrize("content", [{}, {"500.html": b"x" * (1 << 18 | 1)}, {"404.txt": b"x"}, None])
def test_error_pages_that_cannot_be_used_are_said_at_the_start(tmp_path, content):
    directory = tmp_path / "pages"
    if content is not None:
        directory.mkdir()
        for name, data in content.items():
            (directory / name).write_bytes(data)
    with pytest.raises(ConfigurationError, match="error_pages"):
        serving(hello, error_pages=str(directory)).start()


def test_check_reports_pages_and_logs_that_cannot_be_used(tmp_path):
    (tmp_path / "hello.py").write_text("def app(environ, start_response): ...")
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "503.html").write_text("x")
    done = run_command("check", "hello:app", "--error-pages", "pages", "--access-log", "-", cwd=tmp_path)
    assert done.returncode == 0
    assert re.search(r"error pages +503\n +access log +-\n", done.stdout)
    for options, why in (
        (("--error-pages", "missing"), "error: error_pages = 'missing': missing: No such file"),
        (("--access-log-fields", "status"), "error: access_log_fields are those of JSON"),
    ):
        done = run_command("check", "hello:app", *options, cwd=tmp_path)
        assert done.returncode == 1
        assert why in done.stdout
