"""WebSockets of a real server, with the `websockets` library's client and with raw sockets."""

from __future__ import annotations

import contextlib
import gc
import inspect
import json
import logging
import os
import socket
import threading

import pytest
from websockets.exceptions import ConnectionClosed as PeerClosed
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect

import greenserve
from greenserve.websocket import ConnectionClosed, HandshakeRejected, accept, handler, is_upgrade
from tests.server.live import Client, serving
from tests.waiting import until_blocking
from tests.wire import CLOSE, PING, TEXT, frame

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"


@handler
def echo(ws):
    for message in ws:
        ws.send(message)


@contextlib.contextmanager
def connected(server, path="/", **options):
    """The `websockets` library's client."""
    with connect(server.url.replace("http", "ws") + path, max_size=None, **options) as client:
        yield client


def request(path="/", headers=UPGRADE) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: test\r\n{headers}\r\n".encode()


def opened(server) -> Client:
    """A raw socket after the 101."""
    client = Client(server)
    client.send(request())
    assert client.response(body=False)[0] == 101
    return client


# -- messages


@pytest.mark.parametrize("compression", ["deflate", None])
@pytest.mark.parametrize("message", ["", "grüße", b"", bytes(range(256)), "x" * 70_000, os.urandom(900_000)])
def test_messages_come_back_as_they_were(message, compression):
    with serving(echo) as server, connected(server, compression=compression) as client:
        client.send(message)
        assert client.recv(timeout=10) == message


def test_a_fragmented_message_is_one_message():
    with serving(echo) as server, connected(server) as client:
        client.send(iter(["a", "b" * 1000, "", "ü"]))
        assert client.recv(timeout=10) == "a" + "b" * 1000 + "ü"


def test_a_message_of_many_mebibytes_passes_when_it_may():
    big = handler(lambda ws: [ws.send(message) for message in ws], max_message=None)
    data = os.urandom(1 << 20) * 12
    with serving(big) as server, connected(server) as client:
        client.send(data)
        assert client.recv(timeout=20) == data


def test_the_setting_limits_messages():
    with serving(echo, ws_max_message="1 KiB") as server, connected(server) as client:
        client.send(b"x" * 1025)
        with pytest.raises(ConnectionClosedError) as caught:
            client.recv(timeout=10)
        assert caught.value.rcvd.code == 1009


def test_compression_is_agreed_and_used_both_ways():
    text = json.dumps([{"name": "somebody", "id": number} for number in range(2000)])
    with serving(echo, access_log="-") as server:
        with connected(server) as client:
            assert [extension.name for extension in client.protocol.extensions] == ["permessage-deflate"]
            client.send(text)
            assert client.recv(timeout=10) == text
        with opened(server) as raw:
            assert raw  # offered nothing, and was given nothing


def test_compression_can_be_switched_off():
    with serving(echo, ws_compression=False) as server, connected(server) as client:
        assert client.protocol.extensions == []
    plain = handler(lambda ws: None, compression=False)
    with serving(plain) as server, connected(server) as client:
        assert client.protocol.extensions == []


def test_frames_right_behind_the_handshake_are_not_lost():
    with serving(echo) as server, Client(server) as client:
        client.send(request() + frame(TEXT, b"one") + frame(TEXT, b"two"))
        assert client.response(body=False)[0] == 101
        assert client.file.read(5) == b"\x81\x03one"
        assert client.file.read(5) == b"\x81\x03two"


def test_subprotocol_origin_path_and_cookies():
    seen = []

    @handler(subprotocols=["v2", "v1"], headers=[("Set-Cookie", "a=b")])
    def application(ws):
        seen.append((ws.subprotocol, ws.path, ws.origin))
        ws.send("done")

    with serving(application) as server:
        origin = server.url
        with connected(server, "/chat?room=1", subprotocols=["v1", "v2"], origin=origin) as client:
            assert client.subprotocol == "v2"
            assert client.response.headers["Set-Cookie"] == "a=b"
            assert client.recv(timeout=10) == "done"
    assert seen == [("v2", "/chat?room=1", origin)]


def test_receive_times_out_and_goes_on():
    @handler
    def application(ws):
        with pytest.raises(TimeoutError):
            ws.receive(timeout=0.02)
        ws.send("nothing yet")
        ws.send(ws.receive(timeout=10))

    with serving(application) as server, connected(server) as client:
        assert client.recv(timeout=10) == "nothing yet"
        client.send("something")
        assert client.recv(timeout=10) == "something"


def test_a_handler_is_a_wsgi_application_by_its_signature_too():
    @handler
    def chat(ws):
        """Says what comes."""

    assert list(inspect.signature(chat).parameters) == ["environ", "start_response"]
    assert (chat.__name__, chat.__doc__) == ("chat", "Says what comes.")


# -- while the application is busy


def test_pings_are_answered_while_the_application_is_busy_elsewhere():
    go_on = threading.Event()

    @handler
    def application(ws):
        while not go_on.is_set():
            greenserve.sleep(0.005)

    with serving(application) as server, connected(server) as client:
        for _ in range(3):
            assert client.ping().wait(10)
        go_on.set()


def test_a_client_that_leaves_is_noticed_while_the_application_is_busy_elsewhere():
    noticed = threading.Event()

    @handler
    def application(ws):
        while not ws.closed:
            greenserve.sleep(0.005)
        noticed.set()

    with serving(application) as server:
        with connected(server):
            pass
        assert noticed.wait(10)


def test_the_server_pings_and_drops_who_does_not_answer():
    ended = []

    @handler(ping_interval=0.1, ping_timeout=0.1)
    def application(ws):
        try:
            ws.receive()
        except ConnectionClosed as closed:
            ended.append(closed.code)

    with serving(application) as server, opened(server) as client:
        assert client.file.read(2) == bytes([0x80 | PING, 4])
        assert len(client.file.read()) == 4
    assert ended == [1006]


def test_who_answers_pings_is_kept():
    with serving(echo, ws_ping_interval=0.1, ws_ping_timeout=0.1) as server, connected(server) as client:
        with pytest.raises(TimeoutError):
            client.recv(timeout=0.8)
        client.send("still here")
        assert client.recv(timeout=10) == "still here"


def test_slow_readers_block_nobody():
    data = b"x" * 65536

    @handler
    def application(ws):
        if ws.path == "/flood":
            while True:
                ws.send(data)
        for message in ws:
            ws.send(message)

    with serving(application) as server:
        slow = [Client(server) for _ in range(3)]
        for client in slow:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            client.send(request("/flood"))
        with connected(server) as client:
            for number in range(50):
                client.send(str(number))
                assert client.recv(timeout=10) == str(number)
        for client in slow:
            client.close()


def test_green_threads_and_os_threads_share_a_websocket():
    each = 50

    @handler
    def application(ws):
        def send(name):
            for number in range(each):
                ws.send(f"{name}{number}:" + name * 3000)

        os_threads = [threading.Thread(target=send, args=(name,)) for name in "AB"]
        for thread in os_threads:
            thread.start()
        green = [greenserve.spawn(send, name) for name in "ab"]
        for thread in green:
            thread.wait()
        while any(thread.is_alive() for thread in os_threads):
            greenserve.sleep(0.002)

    with serving(application) as server, connected(server) as client:
        turns = dict.fromkeys("ABab", 0)
        with contextlib.suppress(PeerClosed):
            while True:
                head, rest = client.recv(timeout=10).split(":")
                assert rest == head[0] * 3000
                assert int(head[1:]) == turns[head[0]]
                turns[head[0]] += 1
        assert turns == dict.fromkeys("ABab", each)


def test_an_os_thread_receives():
    @handler
    def application(ws):
        got = []
        thread = threading.Thread(target=lambda: got.append(ws.receive(timeout=10)))
        thread.start()
        while thread.is_alive():
            greenserve.sleep(0.002)
        ws.send(got[0])

    with serving(application) as server, connected(server) as client:
        client.send("across")
        assert client.recv(timeout=10) == "across"


# -- ends


def test_the_handlers_return_closes_with_1000():
    with serving(handler(lambda ws: None)) as server, connected(server) as client:
        with pytest.raises(PeerClosed) as caught:
            client.recv(timeout=10)
        assert caught.value.rcvd.code == 1000


def test_our_code_and_reason_reach_the_client():
    with serving(handler(lambda ws: ws.close(4321, "because"))) as server, connected(server) as client:
        with pytest.raises(PeerClosed) as caught:
            client.recv(timeout=10)
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4321, "because")


def test_the_clients_code_and_reason_reach_us():
    seen = []

    @handler
    def application(ws):
        try:
            for _ in ws:
                pass
        except ConnectionClosed as closed:
            seen.append((closed.code, closed.reason))

    with serving(application) as server, connected(server) as client:
        client.close(4000, "bye")
    assert seen == [(4000, "bye")]


def test_closing_while_another_thread_receives_ends_it():
    seen = []

    @handler
    def application(ws):
        reader = greenserve.spawn(list, ws)
        greenserve.sleep(0.01)
        ws.close()
        seen.append(reader.wait())

    with serving(application) as server, connected(server) as client, pytest.raises(PeerClosed):
        client.recv(timeout=10)
    assert seen == [[]]


def test_a_handlers_error_closes_with_1011_and_is_logged_once(caplog):
    @handler
    def application(ws):
        raise RuntimeError("mine")

    with serving(application) as server, connected(server, "/broken") as client:
        with pytest.raises(ConnectionClosedError) as caught:
            client.recv(timeout=10)
        assert caught.value.rcvd.code == 1011
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert "/broken" in errors[0].getMessage()
    assert errors[0].exc_info[0] is RuntimeError


def test_an_applications_error_after_accept_without_with_is_1011_too(caplog):
    def application(environ, start_response):
        accept(environ)
        raise ConnectionResetError("of a database, not of the client")

    with serving(application) as server, connected(server) as client:
        with pytest.raises(ConnectionClosedError) as caught:
            client.recv(timeout=10)
        assert caught.value.rcvd.code == 1011
    assert "of a database" in caplog.text


def test_a_client_that_leaves_is_no_error(caplog):
    def application(environ, start_response):
        ws = accept(environ)
        while True:
            ws.receive()

    with serving(application) as server:
        with connected(server):
            pass
        opened(server).close()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def answer_with(status, body):
    def answer(environ, start_response):
        start_response(status, [("Content-Type", "text/plain")])
        return body()

    return answer


def answer_by_write(environ, start_response):
    start_response("200 OK", [])(b"x" * 70_000)
    return []


def answer_with_a_file(environ, start_response):
    start_response("200 OK", [])
    return environ["wsgi.file_wrapper"](open(__file__, "rb"))


def answer_101(environ, start_response):
    start_response("101 Switching Protocols", [("Upgrade", "websocket"), ("Connection", "Upgrade")])
    return []


def read_first(environ, start_response):
    assert environ["wsgi.input"].read() == b""
    return []


@pytest.mark.parametrize(
    "answer",
    [
        answer_with("200 OK", lambda: [b"nobody reads this"]),
        answer_with("200 OK", lambda: [b"x" * 70_000]),
        answer_with("200 OK", lambda: (b"x" * 70_000, b"y")),
        answer_with("200 OK", lambda: iter([b"x", b"y" * 70_000])),
        answer_with("204 No Content", list),
        answer_by_write,
        answer_with_a_file,
        answer_101,
        read_first,
    ],
)
def test_a_response_after_accept_goes_nowhere(answer, caplog):
    def application(environ, start_response):
        ws = accept(environ)
        ws.send("x")
        return answer(environ, start_response)

    with serving(application) as server, opened(server) as client:
        assert client.file.read(3) == b"\x81\x01x"
        assert client.file.read(4) == bytes([0x80 | CLOSE, 2]) + (1000).to_bytes(2)
        client.send(frame(CLOSE, (1000).to_bytes(2)))
        assert client.at_end()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


LENGTH = ("Content-Length: 8", frame(TEXT, b"hi"))
CHUNKED = ("Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    ("first", "sent"),
    [
        (None, LENGTH),
        (None, CHUNKED),
        ("wsgi.websocket", LENGTH),
        ("wsgi.websocket", CHUNKED),
        ("greenserve.socket", LENGTH),  # a chunked body has been read by then
    ],
)
def test_a_body_before_the_upgrade_is_never_read_as_frames(first, sent):
    def application(environ, start_response):
        if first == "greenserve.socket":
            environ[first].sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        elif first is not None:
            environ[first].receive()
        return echo(environ, start_response)

    field, body = sent
    with serving(application) as server, Client(server) as client:
        client.send(request(headers=f"{UPGRADE}{field}\r\n") + body)
        assert client.response()[0] == 400


def test_a_socket_may_be_taken_for_an_upgrade_once_the_body_is_read():
    def application(environ, start_response):
        body = environ["wsgi.input"].read()
        environ["greenserve.socket"].sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + body)
        return []

    with serving(application) as server, Client(server) as client:
        client.send(request(headers=f"{UPGRADE}Content-Length: 5\r\n") + b"hello")
        assert client.response(body=False)[0] == 101
        assert client.file.read() == b"hello"


# -- what is refused


@pytest.mark.parametrize(
    ("headers", "status", "field"),
    [
        ("", 426, ("upgrade", "websocket")),
        (UPGRADE.replace(": 13", ": 8"), 426, ("sec-websocket-version", "13")),
        (UPGRADE.replace(KEY, "short"), 400, None),
        (UPGRADE + "Origin: https://evil.example\r\n", 403, None),
    ],
)
def test_a_handshake_that_will_not_do_is_an_ordinary_response(headers, status, field):
    with serving(echo) as server, Client(server) as client:
        client.send(request(headers=headers))
        got, fields, body = client.response()
        assert got == status
        assert body
        if field:
            assert fields[field[0]] == field[1]


def test_an_allowed_origin_passes():
    with serving(echo, ws_origin="https://friend.example") as server:
        with connected(server, origin="https://friend.example") as client:
            client.send("x")
            assert client.recv(timeout=10) == "x"
        with pytest.raises(InvalidStatus) as caught, connected(server, origin="https://evil.example"):
            pass
        assert caught.value.response.status_code == 403


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ("Origin: http://test\r\n", 101),
        ("Origin: https://test\r\n", 403),
        ("Origin: https://test\r\nX-Forwarded-Proto: https\r\n", 101),
        ("Origin: http://test\r\nX-Forwarded-Proto: https\r\n", 403),
        ("Origin: http://test:81\r\n", 403),
    ],
)
def test_the_same_origin_is_the_same_scheme_host_and_port(fields, status, caplog):
    with serving(echo) as server, Client(server) as client:
        client.send(request(headers=UPGRADE + fields))
        assert client.response(body=False)[0] == status
    assert ("--ws-origin http" in caplog.text) is (status == 403)


def test_a_refused_origin_is_logged_without_what_would_steer_a_terminal(caplog):
    with serving(echo) as server, Client(server) as client:
        client.send(request(headers=UPGRADE + "Origin: http://x\xa0\x9b2J\x85\r\n").decode().encode("latin-1"))
        assert client.response()[0] == 403
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.getMessage().isascii()
    assert record.getMessage().isprintable()


def test_an_application_may_answer_a_refusal_itself():
    def application(environ, start_response):
        try:
            accept(environ)
        except HandshakeRejected as error:
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [f"not today: {error.status}".encode()]
        return []

    with serving(application) as server, Client(server) as client:
        assert client.get() == b"not today: 426"
        assert client.get() == b"not today: 426"  # and the connection was kept


def test_http_and_websockets_share_an_application():
    def application(environ, start_response):
        if is_upgrade(environ):
            return echo(environ, start_response)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"a page"]

    with serving(application) as server, Client(server) as page, connected(server) as client:
        assert page.get() == b"a page"
        client.send("x")
        assert client.recv(timeout=10) == "x"


# -- the server around them


def test_websockets_do_not_count_as_requests_in_progress():
    def application(environ, start_response):
        if is_upgrade(environ):
            return echo(environ, start_response)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"hello"]

    with serving(application, concurrency=2) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connected(server)) for _ in range(10)]
        pool = server._worker.pool
        until_blocking(lambda: (pool.detached, pool.busy) == (10, 0))
        with Client(server) as client:
            assert client.get() == b"hello"
        for client in clients:
            client.send("x")
            assert client.recv(timeout=10) == "x"
            client.close()
        until_blocking(lambda: pool.detached == 0)
        until_blocking(lambda: not server._worker.connections)


@pytest.mark.parametrize(("restarting", "code"), [(False, 1001), (True, 1012)])
def test_a_draining_server_says_why_and_waits_for_the_handlers(restarting, code):
    cleaned = []

    @handler
    def application(ws):
        for message in ws:
            ws.send(message)
        greenserve.sleep(0.05)
        cleaned.append(ws.close_code)

    with serving(application) as server, connected(server) as client:
        client.send("x")
        assert client.recv(timeout=10) == "x"
        worker = server._worker
        worker.hub.call_soon_threadsafe(lambda: worker.drain(10, restarting=restarting))
        with pytest.raises(PeerClosed) as caught:
            client.recv(timeout=10)
        assert caught.value.rcvd.code == code
        server.stop()
    assert cleaned == [code]


def test_a_handler_that_does_not_end_is_killed_at_the_grace_deadline(caplog):
    ended = []

    @handler
    def application(ws):
        try:
            greenserve.sleep(3600)
        finally:
            ended.append(True)

    with serving(application) as server, opened(server) as client:
        until_blocking(lambda: server._worker.pool.detached == 1)
        server.stop(0.05)
        assert client.file.read(2) == bytes([0x80 | CLOSE, 2 + len("the server is stopping")])
    assert ended == [True]
    assert "killed" in caplog.text


def test_one_access_log_line_with_status_duration_and_bytes(tmp_path):
    log = tmp_path / "access.log"

    @handler
    def application(ws):
        ws.send(b"x" * 1000)
        greenserve.sleep(0.1)

    with serving(application, access_log=str(log), access_log_format="json") as server, opened(server) as client:
        assert client.file.read(4 + 1000)[-1:] == b"x"
        client.file.read(4)
    (line,) = log.read_text().splitlines()
    entry = json.loads(line)
    assert entry["status"] == 101
    assert entry["duration"] >= 0.1
    assert 1000 < entry["bytes"] < 1300  # the handshake and the frames


def test_nothing_is_left_after_many_connections():
    with serving(echo) as server:
        worker, found = server._worker, []
        for _ in range(3):
            for number in range(40):
                with opened(server) as client:
                    if number % 4 == 0:
                        continue  # gone without a word
                    client.send(frame(TEXT, b"x"))
                    assert client.file.read(3) == b"\x81\x01x"
                    if number % 4 == 1:
                        client.send(frame(CLOSE, (1000).to_bytes(2)))
                        assert client.file.read()
            until_blocking(lambda: not worker.connections and worker.pool.detached == 0)
            gc.collect()
            found.append((len(os.listdir("/proc/self/fd")), len(worker.hub.io.descriptors), worker.pool.busy))
        assert found[1] == found[2]  # the first round may fill caches
