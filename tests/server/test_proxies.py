"""Behind a proxy, over real sockets: what is believed, of whom, and what the logs and WebSockets make of it."""

from __future__ import annotations

import json
import logging

import pytest

from greenserve.websocket import accept
from tests.server.live import Client, serving

KEYS = ("REMOTE_ADDR", "REMOTE_PORT", "wsgi.url_scheme", "HTTP_HOST", "SCRIPT_NAME", "PATH_INFO", "greenserve.peer")
FIELDS = "X-Forwarded-For: 203.0.113.9, 192.0.2.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: example.com\r\n"


def tell(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    found = {key: environ.get(key) for key in KEYS}
    return [json.dumps(found | {key: environ[key] for key in environ if "FORWARDED" in key}).encode()]


def told(server, headers: str, path: str = "/", index: int = 0) -> dict[str, object]:
    with Client(server, index) as client:
        return json.loads(client.get(path, headers=headers))


def test_loopback_and_unix_sockets_are_trusted_by_default(tmp_path):
    with serving(tell, bind=("127.0.0.1:0", f"unix:{tmp_path}/s")) as server:
        for index in (0, 1):
            found = told(server, FIELDS, index=index)
            assert (found["REMOTE_ADDR"], found["REMOTE_PORT"], found["wsgi.url_scheme"]) == ("192.0.2.1", "", "https")
            assert found["HTTP_HOST"] == "example.com"
            assert found["greenserve.peer"][0] == ("127.0.0.1", "")[index]


@pytest.mark.parametrize("trusted", ["none", "10.0.0.0/8", "unix"])
def test_a_stranger_is_not_believed(trusted):
    with serving(tell, trusted_proxies=trusted) as server:
        found = told(server, FIELDS + "Forwarded: for=192.0.2.1\r\n")
    assert (found["REMOTE_ADDR"], found["wsgi.url_scheme"], found["HTTP_HOST"]) == ("127.0.0.1", "http", "test")
    assert found.keys() == set(KEYS)


def test_with_a_star_whatever_connects_is_a_proxy_but_no_address_in_a_field_is():
    with serving(tell, trusted_proxies="*") as server:
        assert told(server, "X-Forwarded-For: 192.0.2.1, 127.0.0.1\r\n")["REMOTE_ADDR"] == "127.0.0.1"
    with serving(tell, trusted_proxies=["*", "127.0.0.1"]) as server:
        assert told(server, "X-Forwarded-For: 192.0.2.1, 127.0.0.1\r\n")["REMOTE_ADDR"] == "192.0.2.1"


def test_the_clients_on_a_kept_connection_are_not_mixed_up():
    with serving(tell) as server, Client(server) as client:
        for number in (1, 2, 1, 3):
            found = json.loads(client.get(headers=f"X-Forwarded-For: 192.0.2.{number}\r\n"))
            assert found["REMOTE_ADDR"] == f"192.0.2.{number}"
        assert json.loads(client.get())["REMOTE_ADDR"] == "127.0.0.1"


def test_what_a_trusted_proxy_must_not_say_is_refused_and_logged(caplog):
    caplog.set_level(logging.INFO, "greenserve")
    with serving(tell) as server, Client(server) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: evil\r\nContent-Length: 2\r\n\r\nab")
        status, _, body = client.response()
        assert client.at_end()
    assert status == 400
    assert b"x-forwarded-for of a trusted proxy" in body
    (record,) = [record for record in caplog.records if "refused" in record.getMessage()]
    assert record.levelno == logging.INFO


def test_the_access_log_has_the_clients_address(tmp_path):
    log = tmp_path / "log"
    with serving(tell, access_log=str(log)) as server:
        told(server, FIELDS)
        told(server, "")
        told(server, "Forwarded: for=_hidden\r\n")
        for wrong in ("X-Forwarded-For: evil\r\n", "X-Forwarded-For: 192.0.2.1\r\nContent-Length: 99999999999\r\n"):
            with Client(server) as client:
                client.send(f"GET / HTTP/1.1\r\nHost: test\r\n{wrong}\r\n".encode())
                client.response()
    addresses = [line.split()[0] for line in log.read_text().splitlines()]
    assert addresses[:4] == ["192.0.2.1", "127.0.0.1", "-", "127.0.0.1"]


@pytest.mark.parametrize(
    ("framing", "body"), [("Transfer-Encoding: chunked", b"9\r\n123456789\r\n"), ("Content-Length: 9", b"")]
)
def test_messages_name_the_client_and_its_proxy(framing, body, caplog):
    caplog.set_level(logging.INFO, "greenserve")

    def application(environ, start_response):
        environ["wsgi.input"].read()
        return tell(environ, start_response)

    with serving(application, max_body=4, buffer_chunked=4) as server, Client(server) as client:
        client.send(f"POST / HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: 192.0.2.1\r\n{framing}\r\n\r\n".encode())
        client.send(body)
        assert client.response()[0] == 413
    assert "refused a request from 192.0.2.1 by way of 127.0.0.1:" in caplog.text


@pytest.mark.parametrize(
    ("origin", "fields", "status"),
    [
        ("https://example.com", "X-Forwarded-Proto: https\r\nX-Forwarded-Host: example.com\r\n", 101),
        ("https://example.com", "Forwarded: for=192.0.2.1;proto=https;host=example.com\r\n", 101),
        ("https://example.com:8443", "Forwarded: proto=https;host=example.com\r\nX-Forwarded-Port: 8443\r\n", 101),
        ("https://test", "X-Forwarded-Proto: wss\r\n", 101),
        ("https://test", "X-Forwarded-Proto: https\r\nX-Forwarded-Host: example.com\r\n", 403),
        ("http://example.com", "Forwarded: for=192.0.2.1;proto=https;host=example.com\r\n", 403),
        ("http://test", "X-Forwarded-For: 192.0.2.1\r\n", 101),
    ],
)
@pytest.mark.parametrize("trusted", ["127.0.0.1", "none"])
def test_the_same_origin_is_what_the_client_sees(origin, fields, status, trusted):
    def application(environ, start_response):
        with accept(environ):
            return []

    handshake = (
        "GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    )
    with serving(application, trusted_proxies=trusted) as server, Client(server) as client:
        client.send(f"{handshake}Origin: {origin}\r\n{fields}\r\n".encode())
        plain = 101 if origin == "http://test" else 403
        assert client.response(body=False)[0] == (plain if trusted == "none" else status)
