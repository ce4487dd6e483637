"""HTTPS: from accept to the answer, over real sockets."""

from __future__ import annotations

import logging
import socket
import ssl
import subprocess
import threading

import pytest

from greenserve.net.tls import TlsSocket
from tests.conftest import require_program
from tests.server.live import Client, echo, hello
from tests.server.tls_support import TlsClient, secured
from tests.waiting import until_blocking


def test_a_request_over_tls():
    def application(environ, start_response):
        start_response("200 OK", [])
        names = ("wsgi.url_scheme", "HTTPS", "SSL_PROTOCOL", "SERVER_PORT")
        return [repr([environ[name] for name in names]).encode()]

    with secured(application) as server, TlsClient(server) as client:
        expected = ["https", "on", "TLSv1.3", str(server.address.port)]
        assert client.get() == repr(expected).encode()
        assert client.get() == repr(expected).encode()
        assert client.socket.selected_alpn_protocol() is None


def test_a_body_and_a_large_answer():
    with secured(echo) as server, TlsClient(server) as client:
        body = bytes(range(256)) * 10_000
        client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert client.response()[2] == b"POST /x " + body


def test_plain_http_on_the_port_gets_a_readable_answer(caplog):
    caplog.set_level(logging.INFO)
    with secured(hello) as server, Client(server) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        status, _, body = client.response()
        assert status == 400
        assert b"https://" in body
        assert client.at_end()
    assert "http request" in caplog.text


def test_what_is_no_tls_is_closed_with_one_line(caplog):
    caplog.set_level(logging.INFO)
    with secured(hello) as server, Client(server) as client:
        client.send(b"\0" * 100)
        client.file.read()
        with TlsClient(server) as other:
            assert other.get() == b"hello"
    assert [record.levelname for record in caplog.records if "handshake" in record.message] == ["INFO"]


MUCH = bytes(range(256)) * 32_768  # 8 MiB: more than the sockets between the two hold


def get(path="/", *, version="1.1", close=False):
    fields = "Host: a\r\nConnection: close\r\n" if close else "Host: a\r\n"
    return f"GET {path} HTTP/{version}\r\n{fields}\r\n".encode()


def answering(*pieces, headers=()):
    def application(environ, start_response):
        start_response("200 OK", list(headers))
        return iter(pieces)

    return application


@pytest.mark.parametrize(
    ("request_head", "headers"),
    [(get(version="1.0"), ()), (get(close=True), (("Content-Length", str(len(MUCH))),)), (get(close=True), ())],
)
def test_a_slow_reader_gets_all_and_then_an_end_that_tls_says(request_head, headers):
    """Where the close is the framing, an end that TLS does not say is a part that is missing."""
    with secured(answering(MUCH, headers=headers)) as server, TlsClient(server) as client:
        client.send(request_head)
        got = b""
        while piece := client.socket.recv(65536):  # raises at an end without that word
            got += piece
    assert len(got) >= len(MUCH)


def test_an_end_that_cannot_be_said_at_once_is_said_later(monkeypatch):
    """The client has taken the answer from a socket that had no room for one record more."""
    refused = []

    def shutdown(self, how):
        if not refused:
            refused.append(how)
            raise BlockingIOError
        real(self, how)

    real = TlsSocket.shutdown
    monkeypatch.setattr(TlsSocket, "shutdown", shutdown)
    with secured(hello) as server, TlsClient(server) as client:
        client.send(get(version="1.0"))
        assert client.file.read().endswith(b"hello")  # to an end that TLS says
    assert refused


def test_an_answer_that_is_cut_off_does_not_look_like_a_whole_one():
    def application(environ, start_response):
        start_response("200 OK", [])
        yield b"part"
        raise ValueError("of a test")

    with secured(application) as server, TlsClient(server) as client:
        client.send(get(version="1.0"))
        with pytest.raises(OSError):  # a reset, or an end that TLS has not said
            client.file.read()


def test_many_requests_in_one_record():
    with secured(echo) as server, TlsClient(server) as client:
        client.send(b"".join(get(f"/{number}") for number in range(500)))
        for number in range(500):
            assert client.response()[2] == b"GET /%d " % number


def test_a_stream_arrives_piece_by_piece():
    pieces = [b"first", b"second"]
    go_on = threading.Event()

    def application(environ, start_response):
        start_response("200 OK", [])
        yield pieces[0]
        assert go_on.wait(10)
        yield pieces[1]

    with secured(application) as server, TlsClient(server) as client:
        client.send(get())
        client.head()
        assert client.file.readline() == b"5\r\n"
        assert client.file.readline() == b"first\r\n"
        go_on.set()
        assert client.file.readline() == b"6\r\n"
        assert client.file.readline() == b"second\r\n"


def test_a_file_is_sent_encrypted(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(MUCH)

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", str(len(MUCH)))])
        return environ["wsgi.file_wrapper"](path.open("rb"))

    with secured(application) as server, TlsClient(server) as client:
        for _ in range(2):
            client.send(get())
            assert client.response()[2] == MUCH


def test_a_client_that_has_said_its_end_is_answered():
    said = threading.Event()

    def application(environ, start_response):
        assert said.wait(10)
        return hello(environ, start_response)

    with secured(application) as server, TlsClient(server) as client:
        client.send(get())
        client.socket.setblocking(False)
        with pytest.raises(ssl.SSLWantReadError):  # its own end is said, and the server's not awaited
            client.socket._sslobj.shutdown()
        client.socket.settimeout(10)
        said.set()
        assert client.response()[2] == b"hello"


def test_a_body_that_ends_too_early_is_an_error():
    ended = []

    def application(environ, start_response):
        try:
            environ["wsgi.input"].read()
        except OSError as error:
            ended.append(error)
            raise
        return hello(environ, start_response)

    with secured(application) as server, TlsClient(server) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
        client.socket.shutdown(socket.SHUT_WR)
        client.socket.close()
        until_blocking(lambda: ended)


@pytest.mark.parametrize("command", ["k", "K"])
def test_the_client_may_change_its_keys_and_have_ours_changed(command):
    """RFC 8446 §4.6.3; s_client's command K asks for ours, too."""
    program = require_program("openssl")
    with secured(hello) as server:
        address = f"127.0.0.1:{server.address.port}"
        with subprocess.Popen(
            [program, "s_client", "-connect", address, "-tls1_3"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=0,
        ) as process:
            for _ in range(3):
                process.stdin.write(f"{command}\n")
                line = process.stdout.readline()
                while "KEYUPDATE" not in line:  # it takes a command only at the start of what it reads at once
                    assert line
                    line = process.stdout.readline()
                process.stdin.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                line = process.stdout.readline()
                while "hello" not in line and "HTTP/1.1 200 OK" not in line:
                    assert line
                    line = process.stdout.readline()
            process.kill()
