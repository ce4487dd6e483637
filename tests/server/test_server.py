"""A server's life: listening, starting, stopping, and what it says when it cannot."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import socket
import stat
import threading

import pytest
import requests

import greenserve
from greenserve.errors import BindError, ConfigurationError, HubError
from greenserve.server import Server, admission
from greenserve.settings import TcpAddress
from tests.server.live import Client, hello, serving


def test_a_server_is_a_context_manager_for_tests():
    with greenserve.Server(hello, bind="127.0.0.1:0") as server:
        assert requests.get(server.url, timeout=10).text == "hello"
        address = server.address
    with pytest.raises(OSError):
        socket.create_connection((address.host, address.port), timeout=1)


def test_start_and_stop_can_be_repeated():
    server = serving(hello)
    for _ in range(2):
        server.start()
        with Client(server) as client:
            assert client.get() == b"hello"
        server.stop()
    server.stop()


def test_starting_twice_is_refused():
    with serving(hello) as server, pytest.raises(HubError, match="running already"):
        server.start()


def test_an_address_is_known_only_once_it_listens():
    server = serving(hello)
    with pytest.raises(HubError, match="listen"):
        _ = server.address


def test_a_server_calls_back_for_each_request():
    server = Server(bind="127.0.0.1:0")

    @server.on_request
    def upload(request):
        if request.method == "GET":
            return (str(number).encode() for number in range(3))
        return greenserve.Response(request.body.upper(), 201, {"Content-Type": "text/plain"})

    with server:
        assert requests.get(server.url, timeout=10).text == "012"
        answer = requests.post(server.url, data=b"x" * 100_000, timeout=10)
        assert (answer.status_code, answer.content) == (201, b"X" * 100_000)
        with pytest.raises(HubError, match="running already"):
            server.on_request(upload)


def test_a_function_that_raises_is_an_applications_error_unless_another_one_answers(capfd):
    def fail(request):
        raise RuntimeError("the function's")

    server = Server(bind="127.0.0.1:0")
    server.on_request(fail)
    with server:
        assert requests.get(server.url, timeout=10).status_code == 500
    server.on_request(fail, lambda request, error: f"{error} error")
    with server:
        assert requests.get(server.url, timeout=10).text == "the function's error"


def test_a_server_without_an_application_says_so_and_binds_nothing():
    server = Server(bind="127.0.0.1:0")
    for begin in (server.start, server.serve_forever):
        with pytest.raises(HubError, match="no application: give it one, or a function by on_request"):
            begin()
    assert server.addresses == []


def test_two_servers_live_side_by_side():
    def other(environ, start_response):
        start_response("200 OK", [])
        return [b"other"]

    with serving(hello) as first, serving(other) as second, Client(first) as one, Client(second) as two:
        assert (one.get(), two.get()) == (b"hello", b"other")


def test_several_addresses_at_once(tmp_path):
    path = str(tmp_path / "socket")
    with serving(hello, bind=["127.0.0.1:0", f"unix:{path}", "[::1]:0"]) as server:
        for index in range(3):
            with Client(server, index) as client:
                assert client.get() == b"hello"
        assert stat.S_ISSOCK(os.stat(path).st_mode)
    assert not os.path.exists(path)


def test_a_unix_socket_has_the_mode_and_the_group_of_the_settings(tmp_path):
    path = tmp_path / "socket"
    with serving(hello, bind=f"unix:{path}", socket_mode="606", socket_group=os.getegid()):
        there = path.stat()
        assert (stat.S_IMODE(there.st_mode), there.st_gid) == (0o606, os.getegid())


def test_a_log_that_cannot_be_opened_leaves_no_socket_behind(tmp_path):
    path = tmp_path / "socket"
    server = Server(hello, bind=f"unix:{path}", access_log=str(tmp_path / "missing" / "log"))
    with pytest.raises(ConfigurationError):
        server.serve_forever()
    assert not path.exists()


def test_a_socket_left_behind_is_replaced_but_a_living_one_is_not(tmp_path):
    path = str(tmp_path / "socket")
    left = socket.socket(socket.AF_UNIX)
    left.bind(path)
    left.close()
    with serving(hello, bind=f"unix:{path}") as server:
        with Client(server) as client:
            assert client.get() == b"hello"
        with pytest.raises(BindError):
            serving(hello, bind=f"unix:{path}").listen()
        with Client(server) as client:
            assert client.get() == b"hello"


def test_an_inherited_descriptor_is_served():
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    with serving(hello, bind=f"fd://{listener.fileno()}") as server, Client(server) as client:
        assert server.address == TcpAddress("127.0.0.1", port)
        assert client.get() == b"hello"
    listener.close()


def test_a_descriptor_that_does_not_listen_is_refused():
    sock = socket.socket()
    with pytest.raises(BindError, match="does not listen"):
        serving(hello, bind=f"fd://{sock.fileno()}").listen()
    sock.close()


def test_a_port_in_use_names_its_holder():
    with serving(hello) as server, pytest.raises(BindError, match=f"in use by pid {os.getpid()}"):
        Server(hello, bind=str(server.address)).listen()


def test_a_failed_bind_closes_what_was_open():
    server = Server(hello, bind=["127.0.0.1:0", "192.0.2.1:1"])
    with pytest.raises(BindError):
        server.start()
    assert server.addresses == []


async def asgi(scope, receive, send): ...


class Asgi:
    async def __call__(self, scope, receive, send): ...


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("myapp:app", "a str: import it"),
        (stat, r"a module: give the application in it, such as stat\.app"),
        (5, "5 is not callable"),
        (asgi, "asynchronous"),
        (Asgi(), "asynchronous"),
    ],
)
def test_what_is_no_application_is_refused(given, words):
    with pytest.raises(TypeError, match=words):
        Server(given)


def test_an_unknown_option_names_the_near_one():
    with pytest.raises(ConfigurationError, match="concurrency"):
        Server(hello, concurency=5)


def test_stop_lets_a_request_finish_and_closes_idle_connections():
    entered, go_on = threading.Event(), threading.Event()

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/slow":
            entered.set()
            while not go_on.is_set():
                greenserve.sleep(0.001)
        return hello(environ, start_response)

    server = serving(application).start()
    busy, idle = Client(server), Client(server)
    assert idle.get() == b"hello"
    busy.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    assert entered.wait(10)
    address = server.address
    stopper = threading.Thread(target=server.stop)
    stopper.start()
    assert idle.at_end()
    with pytest.raises(OSError):
        socket.create_connection((address.host, address.port), timeout=1)
    go_on.set()
    status, fields, body = busy.response()
    assert (status, fields["connection"], body) == (200, "close", b"hello")
    stopper.join(10)
    assert not stopper.is_alive()
    busy.close()
    idle.close()


def test_the_grace_deadline_kills_and_says_what(caplog):
    entered, cleaned = threading.Event(), threading.Event()

    def application(environ, start_response):
        entered.set()
        try:
            greenserve.sleep(1000)
        finally:
            cleaned.set()

    server = serving(application).start()
    with Client(server) as client:
        client.send(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
        assert entered.wait(10)
        server.stop(grace=0)
        assert cleaned.is_set()
    assert any("killed" in r.getMessage() and "GET /endless" in r.getMessage() for r in caplog.records)


def test_a_stopped_server_leaves_no_descriptor_behind():
    with serving(hello) as server, Client(server) as client:
        client.get()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with serving(hello) as server, Client(server) as client:
            client.get()
    while len(os.listdir("/proc/self/fd")) > before:  # the last thread may still be ending
        greenserve.sleep(0.01)


def test_thousands_of_sleeping_requests_in_one_process():
    count = 1000
    waiting, go_on = [], threading.Event()

    def application(environ, start_response):
        waiting.append(1)
        while not go_on.is_set():
            greenserve.sleep(0.05)
        return hello(environ, start_response)

    with serving(application, concurrency=count) as server:
        clients = [Client(server) for _ in range(count)]
        for client in clients:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        while len(waiting) < count:
            greenserve.sleep(0.01)
        go_on.set()
        assert all(client.response()[2] == b"hello" for client in clients)
        for client in clients:
            client.close()


def test_a_shortage_of_descriptors_closes_what_is_idle_is_said_once_and_survived(caplog, monkeypatch):
    import resource

    monkeypatch.setattr(admission, "SILENT_SECONDS", 0.0)  # else another test's garbage may free one meanwhile
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    caplog.set_level(logging.ERROR)
    entered, go_on = threading.Event(), threading.Event()

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/busy":
            entered.set()
            while not go_on.is_set():
                greenserve.sleep(0.001)
        return hello(environ, start_response)

    with serving(application) as server, Client(server) as idle, Client(server) as busy:
        assert idle.get() == b"hello"
        busy.send(b"GET /busy HTTP/1.1\r\nHost: a\r\n\r\n")
        assert entered.wait(10)
        waiting = [socket.socket() for _ in range(3)]
        greenserve.sleep(0)  # this thread's hub takes its descriptors before there are none left
        gc.collect()
        held = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 50, hard))
        try:
            with contextlib.suppress(OSError):
                while True:
                    held.append(os.dup(0))
            for sock in waiting:
                sock.settimeout(30)
                sock.connect((server.address.host, server.address.port))
                sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            # The idle one makes room for the first, each that is done for the next.
            assert [sock.recv(12) for sock in waiting] == [b"HTTP/1.1 200"] * 3
            assert idle.at_end()
        finally:
            for fd in held:
                os.close(fd)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        go_on.set()
        assert busy.response()[2] == b"hello"
        for sock in waiting:
            sock.close()
    assert sum("cannot accept" in r.getMessage() for r in caplog.records) == 1
