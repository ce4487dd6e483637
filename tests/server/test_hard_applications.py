"""Applications that break their contract: none may harm another request, or the server."""

from __future__ import annotations

import logging
import threading

import pytest

import greenserve
from greenserve.errors import InvalidResponse
from tests.server.live import Client, hello, serving


def errors(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


def answer_of(application, path: str = "/") -> tuple[int, bytes]:
    """Status and body of an application's answer; the same connection must serve another request, or be closed."""
    with serving(application) as server, Client(server) as client:
        client.send(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        status, _, body = client.response()
        return status, body


def late_start(environ, start_response):
    yield b""
    start_response("200 OK", [])
    yield b"late"


def never_start(environ, start_response):
    return [b"no head"]


def never_start_generator(environ, start_response):
    yield b"no head"


def start_twice(environ, start_response):
    start_response("200 OK", [])
    start_response("200 OK", [])
    return [b"twice"]


def start_again_with_exc_info(environ, start_response):
    import sys

    start_response("200 OK", [("X-First", "1")])
    try:
        raise ValueError("replaced")
    except ValueError:
        start_response("503 Service Unavailable", [], sys.exc_info())
    return [b"sorry"]


def returns_none(environ, start_response):
    start_response("200 OK", [])


def returns_number(environ, start_response):
    start_response("200 OK", [])
    return 5


def returns_text(environ, start_response):
    start_response("200 OK", [])
    return "text"


def returns_list_of_text(environ, start_response):
    start_response("200 OK", [])
    return ["text"]


def wrong_signature():
    return []


def bad_status(environ, start_response):
    start_response(200, [])
    return [b""]


def bad_header(environ, start_response):
    start_response("200 OK", [("X-Evil", "a\r\nSet-Cookie: b")])
    return [b""]


def headers_none(environ, start_response):
    start_response("200 OK", None)
    return [b""]


def stop_iteration(environ, start_response):
    raise StopIteration


def connection_error(environ, start_response):
    raise ConnectionRefusedError("the application's own database")


def generator_exit(environ, start_response):
    raise GeneratorExit


def recursion(environ, start_response):
    return recursion(environ, start_response)


@pytest.mark.parametrize(
    "application",
    [
        never_start,
        never_start_generator,
        start_twice,
        returns_none,
        returns_number,
        returns_text,
        returns_list_of_text,
        wrong_signature,
        bad_status,
        bad_header,
        headers_none,
        stop_iteration,
        connection_error,
        generator_exit,
        recursion,
    ],
)
def test_a_broken_application_is_a_500_and_one_error(application, caplog):
    status, _ = answer_of(application)
    assert status == 500
    assert len(errors(caplog)) == 1
    assert "GET / HTTP/1.1" in errors(caplog)[0]


@pytest.mark.parametrize(
    ("application", "expected"),
    [(late_start, (200, b"late")), (start_again_with_exc_info, (503, b"sorry"))],
)
def test_an_odd_application_within_the_contract_is_served(application, expected, caplog):
    assert answer_of(application) == expected
    assert not errors(caplog)


def test_what_a_request_left_behind_cannot_write_into_the_next_response():
    kept = []

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/first":
            kept.append(start_response("200 OK", []))
            kept.append(start_response)
            return [b"first"]
        with pytest.raises(InvalidResponse, match="over"):
            kept[0](b"injected")
        with pytest.raises(ZeroDivisionError):  # PEP 3333: headers were sent, so exc_info is raised
            kept[1]("200 OK", [], (ZeroDivisionError, ZeroDivisionError(), None))
        start_response("200 OK", [])
        return [b"second"]

    with serving(application) as server, Client(server) as client:
        assert client.get("/first") == b"first"
        assert client.get("/second") == b"second"


def test_close_cannot_write_after_the_response():
    problems = []

    class Body:
        def __init__(self, write):
            self.write = write

        def __iter__(self):
            return iter([b"whole"])

        def close(self):
            try:
                self.write(b"more")
            except Exception as error:
                problems.append(error)

    def application(environ, start_response):
        return Body(start_response("200 OK", []))

    with serving(application) as server, Client(server) as client:
        assert client.get() == b"whole"
        assert client.get() == b"whole"
    assert len(problems) == 2


def test_what_a_request_left_behind_cannot_read_the_next_body():
    kept = []

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/first":
            kept.append(environ["wsgi.input"])
            start_response("200 OK", [])
            return [b"first"]
        with pytest.raises(ValueError, match="over"):
            kept[0].read()
        start_response("200 OK", [])
        return [environ["wsgi.input"].read()]

    with serving(application) as server, Client(server) as client:
        client.send(b"POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nunred")
        assert client.response()[2] == b"first"
        client.send(b"POST /second HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nsecond")
        assert client.response()[2] == b"second"


def test_an_error_in_close_does_not_spoil_the_response(caplog):
    class Body:
        def __iter__(self):
            return iter([b"whole"])

        def close(self):
            raise RuntimeError("in close")

    def application(environ, start_response):
        start_response("200 OK", [])
        return Body()

    with serving(application) as server, Client(server) as client:
        assert client.get() == b"whole"
        assert client.get() == b"whole"
    assert len(errors(caplog)) == 2


def test_a_close_that_blocks_holds_up_nobody_else():
    closing, go_on = threading.Event(), threading.Event()

    class Body:
        def __iter__(self):
            return iter([b"whole"])

        def close(self):
            closing.set()
            while not go_on.is_set():
                greenserve.sleep(0.001)

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/quick":
            return hello(environ, start_response)
        start_response("200 OK", [("Content-Length", "5")])
        return Body()

    with serving(application) as server, Client(server) as slow, Client(server) as quick:
        assert slow.get() == b"whole"
        assert closing.wait(10)
        assert quick.get("/quick") == b"hello"
        go_on.set()
        assert slow.get("/quick") == b"hello"


def test_an_endless_response_to_a_quick_reader_holds_up_nobody_else():
    def application(environ, start_response):
        if environ["PATH_INFO"] == "/quick":
            return hello(environ, start_response)
        start_response("200 OK", [])
        return iter(lambda: b"x" * 1000, None)

    with serving(application) as server, Client(server) as endless, Client(server) as quick:
        endless.send(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
        stop = threading.Event()

        def take() -> None:
            while not stop.is_set():
                endless.socket.recv(1 << 20)

        taker = threading.Thread(target=take)
        taker.start()
        try:
            for _ in range(20):
                assert quick.get("/quick") == b"hello"
        finally:
            stop.set()
            taker.join()


def test_an_application_may_spawn_and_return():
    done = threading.Event()

    def background() -> None:
        greenserve.sleep(0.01)
        done.set()

    def application(environ, start_response):
        greenserve.spawn(background)
        return hello(environ, start_response)

    with serving(application) as server, Client(server) as client:
        assert client.get() == b"hello"
        assert done.wait(10)
        assert client.get() == b"hello"


def test_with_two_workers_stuck_in_slow_bodies_the_third_is_served_after_the_deadline():
    def application(environ, start_response):
        environ["wsgi.input"].read()
        return hello(environ, start_response)

    post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc"
    with serving(application, concurrency=2, body_timeout=0.1) as server:
        stuck = [Client(server) for _ in range(2)]
        for client in stuck:
            client.send(post)
        with Client(server) as client:
            assert client.get() == b"hello"
        for client in stuck:
            assert client.response()[0] == 408
            client.close()
