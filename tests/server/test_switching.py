"""101 and Upgrade (RFC 9110 §7.8): the protocol changes when the client asked for it, and then HTTP is over."""

from __future__ import annotations

import logging

import pytest

from greenserve.errors import BadRequest, ProtocolError
from greenserve.websocket import HandshakeRejected, is_upgrade
from tests.server.live import Client, hello, serving

UPGRADE = b"GET /switch HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SECRET = b"GET /secret HTTP/1.1\r\nHost: a\r\n\r\n"


def switching(upgrade="websocket", pieces=()):
    def application(environ, start_response):
        if environ["PATH_INFO"] == "/secret":
            raise AssertionError("a request in the tunnel was served")
        start_response("101 Switching Protocols", [("Connection", "Upgrade"), ("Upgrade", upgrade)])
        return pieces

    return application


@pytest.mark.parametrize("pieces", [[], iter(()), [b"a"], [b"a" * 100_000], iter([b"a"])])
@pytest.mark.parametrize("together", [True, False])
def test_after_a_101_nothing_is_read_as_http(pieces, together, caplog):
    with serving(switching(pieces=pieces)) as server, Client(server) as client:
        client.send(UPGRADE + SECRET if together else UPGRADE)
        line, *head = [client.file.readline() for _ in range(5)]
        assert line == b"HTTP/1.1 101 Switching Protocols\r\n"
        assert b"Connection: Upgrade\r\n" in head
        assert client.file.readline() == b"\r\n"
        if not together:
            client.send(SECRET)
        assert client.at_end()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",  # Connection does not name it
        b"GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    ],
)
def test_101_to_a_client_that_did_not_ask_for_it_is_an_error_of_the_application(request_head, caplog):
    with serving(switching()) as server, Client(server) as client:
        client.send(request_head)
        assert client.response()[0] == 500
        assert client.at_end()
    assert "101" in caplog.text


@pytest.mark.parametrize("key", ["gunicorn.socket", "eventlet.input"])
def test_an_application_that_has_the_socket_may_still_answer_and_read(key, caplog):
    """The answer goes nowhere."""
    read = []

    def application(environ, start_response):
        read.append(environ["wsgi.input"].read())
        sock = environ[key].get_socket()
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\nmine")
        read.append(environ["wsgi.input"].read())
        sock.close()
        start_response("101 Switching Protocols", [("Connection", "Upgrade"), ("Upgrade", "websocket")])
        return [b"x" * 100_000]

    with serving(application) as server:
        for body in (b"", b"body"):
            with Client(server) as client:
                client.send(UPGRADE[:-2] + b"Content-Length: %d\r\n\r\n" % len(body) + body)
                assert client.file.read().endswith(b"\r\n\r\nmine")
    assert read == [b"", b"", b"body", b""]
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_what_the_application_has_taken_with_the_socket_is_no_request_body():
    def application(environ, start_response):
        environ["gunicorn.socket"].sendall(b"mine")
        try:
            environ["wsgi.input"].read()
        except ConnectionError as error:
            environ["gunicorn.socket"].sendall(str(error).encode())
        return []

    with serving(application) as server, Client(server) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345")
        assert b"the application has taken" in client.file.read()


@pytest.mark.parametrize("protocol", ["h2c", "websocket", "TLS/1.0"])
def test_an_upgrade_that_is_not_taken_up_changes_nothing_for_the_application(protocol):
    def application(environ, start_response):
        start_response(status="200 OK", headers=[("Content-Length", "2")], exc_info=None)
        return [b"ok"]

    with serving(application) as server, Client(server) as client:
        for _ in range(2):
            assert client.get(headers=f"Connection: Upgrade\r\nUpgrade: {protocol}\r\n") == b"ok"


def test_an_upgrade_in_http_1_0_is_none():
    def application(environ, start_response):
        start_response("200 OK", [])
        return [str(is_upgrade(environ)).encode()]

    head = b"Host: a\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n"
    with serving(application) as server:
        for version, answer in ((b"0", b"False"), (b"1", b"True")):
            with Client(server) as client:
                client.send(b"GET / HTTP/1.%b\r\n" % version + head)
                assert client.response()[2] == answer


# Refusals


def refusing(error):
    def application(environ, start_response):
        if environ["PATH_INFO"] == "/":
            raise error
        return hello(environ, start_response)

    return application


class OwnError(ProtocolError):
    status = 499
    headers = (("Location", "/x\r\nSet-Cookie: admin=1\r\n\r\n<script>"),)


@pytest.mark.parametrize(
    "error",
    [
        HandshakeRejected(403, "no", [("Location", "/x\r\nSet-Cookie: admin=1\r\n\r\n<script>")]),
        HandshakeRejected(401, "no", [("WWW-Authenticate", 'Basic realm="\u20ac"')]),
        HandshakeRejected(403, "no", [("Transfer-Encoding", "chunked")]),
        HandshakeRejected(403, "no", [("X", None)]),
        HandshakeRejected(101, "no"),
        HandshakeRejected(1000, "no"),
        OwnError("no"),
    ],
)
def test_a_refusal_that_breaks_the_rules_is_an_error_of_the_application(error, caplog):
    with serving(refusing(error)) as server, Client(server) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        status, fields, body = client.response()
        assert status == 500
        assert "set-cookie" not in fields
        assert b"admin" not in body
        assert client.at_end()
        with Client(server) as other:
            assert other.get("/other") == b"hello"
    assert "breaks the rules" in caplog.text
    assert "defect" not in caplog.text


@pytest.mark.parametrize(
    ("error", "status"),
    [(HandshakeRejected(499, "why"), 499), (HandshakeRejected(403, "\u20ac \ud800"), 403), (BadRequest("why"), 400)],
)
def test_a_refusal_is_answered_with_its_status(error, status):
    with serving(refusing(error)) as server, Client(server) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.response()[0] == status


def test_a_refusal_that_the_application_answers_itself_may_have_any_status():
    def application(environ, start_response):
        error = HandshakeRejected(499, "why")
        start_response(error.status_line, error.response_headers)
        return [error.body]

    with serving(application) as server, Client(server) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.response()[0] == 499
