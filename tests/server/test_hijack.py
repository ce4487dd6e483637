"""An application that takes the connection's socket, and what the server does with what it leaves."""

from __future__ import annotations

import os
import socket

import pytest

from tests.server.live import Client, hello, serving

KEYS = ("gunicorn.socket", "eventlet.input", "greenserve.socket")
GET = b"GET /take HTTP/1.1\r\nHost: a\r\n\r\n"


def taking(key, use):
    """An application that answers on the socket which it finds under `key`, and leaves it as `use` does."""

    def application(environ, start_response):
        if environ["PATH_INFO"] != "/take":
            return hello(environ, start_response)
        sock = environ[key].get_socket()
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        use(sock)
        return []

    return application


def leave(sock):
    """Leave it as it is, for its client to close."""


def wait_for_ever(sock):
    sock.settimeout(None)


def block(sock):
    """Make the open file itself block, as a program does that is handed the descriptor."""
    os.set_blocking(sock.fileno(), True)


def duplicate(sock):
    with socket.socket(fileno=os.dup(sock.fileno())) as another:
        another.setblocking(True)


@pytest.mark.parametrize("use", [leave, wait_for_ever, block, duplicate])
@pytest.mark.parametrize("key", KEYS)
def test_a_socket_that_an_application_took_and_left_holds_up_nobody(key, use):
    with serving(taking(key, use)) as server, Client(server) as taken, Client(server) as other:
        taken.send(GET)
        assert taken.file.readline() == b"HTTP/1.1 101 Switching Protocols\r\n"
        assert taken.file.read() == b"\r\n"  # the server has shut its side, and this client keeps its own open
        assert other.get() == b"hello"


def test_what_comes_on_a_socket_that_was_left_is_thrown_away_up_to_a_bound():
    with serving(taking("gunicorn.socket", leave)) as server, Client(server) as taken, Client(server) as other:
        taken.send(GET)
        assert taken.file.read().endswith(b"\r\n\r\n")
        with pytest.raises(OSError):
            taken.send(b"x" * (1 << 26))  # far more than the bound and all buffers together
        assert other.get() == b"hello"


def test_the_body_goes_with_a_socket_that_is_taken_and_reading_it_then_says_so():
    errors = []

    def application(environ, start_response):
        sock = environ["gunicorn.socket"]
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + sock.recv(5))
        try:
            environ["wsgi.input"].read()
        except ConnectionError as error:
            errors.append(str(error))
        return []

    with serving(application) as server, Client(server) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
        assert client.file.read() == b"HTTP/1.1 200 OK\r\n\r\nhello"
    assert errors == ["the application has taken the connection, and with it the request's body"]


@pytest.mark.parametrize("use", [block, duplicate])
def test_a_socket_that_an_application_makes_blocking_and_does_not_take_holds_up_nobody(use):
    """One may get at the descriptor without taking the connection, and the open file is shared with its duplicates."""

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/take":
            use(environ["greenserve.socket"])
            size = 8_000_000  # more than the sockets' buffers hold
            start_response("200 OK", [("Content-Length", str(size))])
            return (b"x" * 1_000_000 for _ in range(size // 1_000_000))
        return hello(environ, start_response)

    with serving(application) as server, Client(server) as client, Client(server) as other:
        for _ in range(2):  # the second finds the socket blocking from the start
            client.send(GET)
            assert client.file.readline() == b"HTTP/1.1 200 OK\r\n"
            assert other.get() == b"hello"  # while the first one takes nothing
            while client.file.readline() != b"\r\n":
                pass
            assert client.file.read(8_000_000) == b"x" * 8_000_000
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n")
        assert other.get() == b"hello"
