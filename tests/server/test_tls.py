"""HTTPS: from accept to the answer, over real sockets."""

from __future__ import annotations

import logging

from tests.server.live import Client, echo, hello
from tests.server.tls_support import TlsClient, secured


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
