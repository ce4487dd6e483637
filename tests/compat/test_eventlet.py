"""Eventlet's ways to start a server: `wsgi.server(sock, app)` and `serve(sock, handle)`, unchanged."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from greenserve.green.http.client import HTTPConnection, HTTPSConnection

import greenserve
from greenserve import wsgi
from greenserve.errors import ConfigurationError
from greenserve.green import socket, ssl
from tests.conftest import REPOSITORY

LOCALHOST = str(REPOSITORY / "tests" / "certificates" / "localhost.pem")


def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    greenserve.sleep(0)
    return [environ.get("greeting", "nothing").encode()]


@contextmanager
def served(*arguments: Any, **options: Any) -> Iterator[tuple[str, int]]:
    """The address of `wsgi.server`, which runs in a green thread beside the test."""
    listener = greenserve.listen(("127.0.0.1", 0))
    thread = greenserve.spawn(wsgi.server, listener, app, *arguments, **options)
    try:
        yield listener.getsockname()
    finally:
        thread.kill()
        listener.close()


def ask(address: tuple[str, int], path: str = "/") -> Any:
    with contextlib.closing(HTTPConnection(*address, timeout=10)) as connection:
        connection.request("GET", path)
        answer: Any = connection.getresponse()
        answer.text = answer.read().decode()
        return answer


def test_it_serves_from_a_green_thread_and_ends_when_that_is_killed() -> None:
    listener = greenserve.listen(("127.0.0.1", 0))
    thread = greenserve.spawn(wsgi.server, listener, app, io.StringIO())
    assert ask(listener.getsockname()).text == "nothing"
    thread.kill()
    assert thread.dead
    again = greenserve.spawn(wsgi.server, listener, app, io.StringIO())  # the socket is the program's
    assert ask(listener.getsockname()).text == "nothing"
    again.kill()
    listener.close()


def test_environ_reaches_every_request() -> None:
    with served(io.StringIO(), {"greeting": "hello"}) as address:
        assert [ask(address).text for _ in range(2)] == ["hello", "hello"]


def test_a_log_may_be_a_file_or_a_logger(caplog: pytest.LogCaptureFixture) -> None:
    file = io.StringIO()
    with served(file) as address:
        ask(address, "/one?two")
    begun, line = file.getvalue().splitlines()
    assert begun == f"({os.getpid()}) wsgi starting up on http://127.0.0.1:{address[1]}"
    assert line.startswith("127.0.0.1 - - [")
    assert '"GET /one?two HTTP/1.1" 200 7' in line
    caplog.set_level(logging.INFO, "web")
    with served(log=logging.getLogger("web")) as address:
        ask(address, "/logged")
    assert '"GET /logged HTTP/1.1" 200' in caplog.messages[-1]


def test_the_lines_go_to_standard_error_or_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    with served() as address:
        ask(address, "/seen")
    assert '"GET /seen HTTP/1.1" 200' in capsys.readouterr().err
    with served(log_output=False) as address:
        ask(address, "/unseen")
    assert capsys.readouterr().err == ""


def test_without_keepalive_each_response_is_the_last() -> None:
    with served(log_output=False, keepalive=False) as address:
        assert ask(address).getheader("Connection") == "close"
    with served(log_output=False, keepalive=True) as address:
        assert ask(address).getheader("Connection") is None


def test_limits_are_settings() -> None:
    with served(log_output=False, url_length_limit=100, socket_timeout=30, max_size=10) as address:
        assert ask(address, "/" + "x" * 90).status == 200
        assert ask(address, "/" + "x" * 100).status == 414


def test_what_has_no_meaning_here_is_named() -> None:
    with pytest.warns(RuntimeWarning, match="no server_event; use greenserve.Server"), served(server_event=object()):
        greenserve.sleep(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with served(log_output=False, debug=False, minimum_chunk_size=1, server_event=None) as address:
            assert ask(address).status == 200
    listener = greenserve.listen(("127.0.0.1", 0))
    with pytest.raises(TypeError, match="unexpected keyword argument 'maxsize'"):
        wsgi.server(listener, app, maxsize=3)
    listener.close()
    with pytest.raises(AttributeError):
        wsgi.serve  # noqa: B018


def test_a_socket_of_wrap_ssl_speaks_tls() -> None:
    def secure(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [f"{environ['wsgi.url_scheme']} {environ['SSL_PROTOCOL']}".encode()]

    file = io.StringIO()
    listener = greenserve.wrap_ssl(greenserve.listen(("127.0.0.1", 0)), certfile=LOCALHOST, server_side=True)
    thread = greenserve.spawn(wsgi.server, listener, secure, file)
    context = ssl.create_default_context(cafile=LOCALHOST)  # green
    address = listener.getsockname()
    with contextlib.closing(HTTPSConnection("localhost", address[1], timeout=10, context=context)) as connection:
        for _ in range(2):
            connection.request("GET", "/")
            assert connection.getresponse().read() == b"https TLSv1.3"
    assert f"starting up on https://127.0.0.1:{address[1]}\n" in file.getvalue()
    thread.kill()
    listener.close()


def test_a_unix_socket_of_wrap_ssl_is_refused() -> None:
    with socket.socket(socket.AF_UNIX) as plain:
        wrapped = greenserve.wrap_ssl(plain, certfile=LOCALHOST, server_side=True)
        with wrapped, pytest.raises(ConfigurationError, match="without wrap_ssl"):
            wsgi.server(wrapped, app)


def test_in_main_it_ends_gracefully_by_a_signal() -> None:
    program = """
import greenserve
from greenserve import wsgi
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"hi"]
with greenserve.listen(("127.0.0.1", 0)) as listener:
    wsgi.server(listener, app)
print("over", flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stderr is not None
        assert "wsgi starting up on http://127.0.0.1:" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert process.stdout.read() == "over\n"
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_serve_takes_a_listening_socket_and_a_handler() -> None:
    listener = greenserve.listen(("127.0.0.1", 0))

    def shout(connection: Any, _address: Any) -> None:
        connection.sendall(connection.recv(100).upper())
        raise greenserve.StopServe

    thread = greenserve.spawn(greenserve.serve, listener, shout)
    with greenserve.connect(listener.getsockname(), timeout=10) as connection:
        connection.sendall(b"hello")
        assert connection.recv(100) == b"HELLO"
    thread.wait()
    listener.close()
    with pytest.raises(TypeError, match="options by keyword"):
        greenserve.serve(app, "127.0.0.1:0")  # type: ignore[call-overload]
