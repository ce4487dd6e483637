"""Our client: against our own server, against the `websockets` library's, and against servers that misbehave."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import ssl
import sys
import threading
from pathlib import Path

import pytest
from websockets.sync.server import serve
from wsproto.utilities import generate_accept_token

import greenserve
from greenserve.green.socket import create_server
from greenserve.websocket import ConnectionClosed, HandshakeFailed, connect, handler
from greenserve.websocket.connect import parse_url
from greenserve.websocket.stages import Stage
from tests.server.live import serving

pytestmark = pytest.mark.usefixtures("hub")

LOCALHOST = str(Path(__file__).parent.parent / "certificates" / "localhost.pem")


@handler(subprotocols=["v2", "v1"])
def echo(ws):
    for message in ws:
        ws.send(message)


def ours(server, path="/"):
    return server.url.replace("http", "ws") + path


@contextlib.contextmanager
def theirs(function, **options):
    """The `websockets` library's server, in a thread; its URL."""
    with serve(function, "127.0.0.1", 0, **options) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        scheme = "wss" if "ssl" in options else "ws"
        try:
            yield f"{scheme}://localhost:{server.socket.getsockname()[1]}/"
        finally:
            # In a thread of its own, for it waits for clients, and these live in this one's hub.
            ending = threading.Thread(target=server.shutdown)
            ending.start()
            while ending.is_alive() or thread.is_alive():
                greenserve.sleep(0.005)


def their_echo(connection):
    for message in connection:
        connection.send(message)


@contextlib.contextmanager
def answering(answer: bytes, *, close: bool = True):
    """A server that gives one answer to whatever comes; its URL."""
    listener = create_server(("127.0.0.1", 0))

    def serve_one():
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(answer)
            while not close and connection.recv(65536):
                pass

    thread = greenserve.spawn(serve_one)
    with listener:
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}/"
    thread.kill()


MESSAGES = ["", "grüße", b"", b"\x00\xff", "x" * 70_000, os.urandom(900_000)]


@pytest.mark.parametrize("compression", [True, False])
def test_messages_come_back_from_our_server(compression):
    with serving(echo) as server, connect(ours(server), compression=compression) as ws:
        for message in MESSAGES:
            ws.send(message)
            assert ws.receive(10) == message


@pytest.mark.parametrize("compression", ["deflate", None])
def test_messages_come_back_from_another_server(compression):
    # It keeps its compression's context from message to message, so a frame out of order would not inflate.
    with theirs(their_echo, compression=compression) as url, connect(url) as ws:
        for message in MESSAGES * 2:
            ws.send(message)
            assert ws.receive(10) == message


def test_wss_with_our_own_certificate():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(LOCALHOST)
    with theirs(their_echo, ssl=context) as url:
        trusting = ssl.create_default_context(cafile=LOCALHOST)
        with connect(url, ssl=trusting) as ws:
            for message in MESSAGES:
                ws.send(message)
                assert ws.receive(10) == message
            ws.close()
            assert ws.close_code == 1000
        with pytest.raises(ssl.SSLCertVerificationError):
            connect(url)


def test_many_large_messages_over_tls_in_both_directions_at_once():
    data = os.urandom(300_000)

    def flood(connection):
        sender = threading.Thread(target=lambda: [connection.send(data) for _ in range(10)])
        sender.start()
        for _ in range(10):
            assert connection.recv() == data
        sender.join()
        connection.recv()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(LOCALHOST)
    trusting = ssl.create_default_context(cafile=LOCALHOST)
    with theirs(flood, ssl=context, max_size=None) as url, connect(url, ssl=trusting) as ws:
        sending = greenserve.spawn(lambda: [ws.send(data) for _ in range(10)])
        assert [ws.receive(20) for _ in range(10)] == [data] * 10
        sending.wait()


def test_the_subprotocol_is_agreed_and_headers_are_sent():
    seen = []

    def application(environ, start_response):
        seen.append((environ["HTTP_AUTHORIZATION"], environ["QUERY_STRING"], environ["HTTP_ORIGIN"]))
        return echo(environ, start_response)

    with serving(application, ws_origin="*") as server:
        headers = [("Authorization", "Bearer x")]
        with connect(
            ours(server, "/a?b=c"), subprotocols=["v1", "v2"], headers=headers, origin="https://a.example"
        ) as ws:
            assert ws.subprotocol == "v2"
            assert ws.path == "/a?b=c"
    assert seen == [("Bearer x", "b=c", "https://a.example")]


def test_close_is_told_to_both_sides_and_ends_the_socket():
    with serving(handler(lambda ws: ws.close(4444, "enough"))) as server:
        ws = connect(ours(server))
        with pytest.raises(ConnectionClosed) as caught:
            ws.receive(10)
        assert (caught.value.code, caught.value.reason) == (4444, "enough")
        ws.close()
        assert ws.connection.stage is Stage.CLOSED


def test_only_the_calling_green_thread_waits():
    ticks = []
    with serving(handler(lambda ws: (greenserve.sleep(0.05), ws.send("late")))) as server:
        ticking = greenserve.spawn(lambda: [(ticks.append(1), greenserve.sleep(0.005)) for _ in range(100)])
        with connect(ours(server)) as ws:
            assert ws.receive(10) == "late"
        ticking.kill()
    assert len(ticks) > 3


def test_what_comes_right_behind_the_answer_is_received():
    counting = handler(lambda ws: [ws.send(str(number)) for number in range(50)])
    with serving(counting) as server, connect(ours(server)) as ws:
        assert list(ws) == [str(number) for number in range(50)]


def test_a_refusal_tells_the_status():
    with serving(echo, ws_origin="https://friend.example") as server:
        with pytest.raises(HandshakeFailed) as caught:
            connect(ours(server), origin="https://evil.example")
        assert caught.value.status == 403


def test_a_refusal_tells_the_status_the_headers_and_the_body():
    def application(environ, start_response):
        start_response("401 Unauthorized", [("WWW-Authenticate", "Bearer"), ("X-Two", "1"), ("X-Two", "2")])
        return iter([b"who ", b"are you?"])  # in chunks

    with serving(application) as server, pytest.raises(HandshakeFailed) as caught:
        connect(ours(server))
    assert caught.value.status == 401
    assert {("www-authenticate", "Bearer"), ("x-two", "1"), ("x-two", "2")} <= set(caught.value.headers)
    assert caught.value.body == b"who are you?"


@pytest.mark.parametrize("close", [True, False])
@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"Content-Length: 5\r\n\r\nhello", b"hello"),
        (b"Content-Length: 5\r\n\r\nhello, what follows", b"hello"),
        (b"Content-Length: 0\r\n\r\n", b""),
        (b"Content-Length: 200000\r\n\r\n" + b"x" * 200_000, b"x" * 65536),
        (b"\r\n" + b"x" * 200_000, b"x" * 65536),
        (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nwrong\r\n", b"hello"),
    ],
)
def test_the_body_of_a_refusal_is_read_to_its_end_or_its_bound(answer, body, close):
    with answering(b"HTTP/1.1 503 Busy\r\n" + answer, close=close) as url, pytest.raises(HandshakeFailed) as caught:
        connect(url, timeout=None)
    assert (caught.value.status, caught.value.body) == (503, body)


@pytest.mark.parametrize("answer", [b"\r\npart", b"Content-Length: 10\r\n\r\npart"])
def test_a_refusal_whose_body_does_not_end_is_told_after_a_moment(answer, monkeypatch):
    monkeypatch.setattr(sys.modules[parse_url.__module__], "BODY_SECONDS", 0.1)
    with answering(b"HTTP/1.1 503 Busy\r\n" + answer, close=False) as url, pytest.raises(HandshakeFailed) as caught:
        connect(url, timeout=None)
    assert caught.value.body == b"part"


def test_interim_responses_before_the_answer_are_passed_over():
    listener = create_server(("127.0.0.1", 0))

    def serve_one():
        connection, _ = listener.accept()
        with connection:
            request = connection.recv(65536).decode()
            key = request.partition("Sec-WebSocket-Key: ")[2].split("\r\n")[0]
            lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
            answer = "\r\n".join(
                [*lines, f"Sec-WebSocket-Accept: {generate_accept_token(key.encode()).decode()}", "", ""]
            )
            interim = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
            for octet in (interim + answer).encode():
                connection.sendall(bytes([octet]))
            connection.sendall(b"\x81\x02hi\x88\x00")

    thread = greenserve.spawn(serve_one)
    with listener, connect(f"ws://127.0.0.1:{listener.getsockname()[1]}/") as ws:
        assert ws.receive(5) == "hi"
    thread.wait()


def test_what_comes_after_the_end_of_a_client_is_thrown_away_up_to_a_bound():
    sent = []

    def serve_one():
        connection, _ = listener.accept()
        with connection:
            key = connection.recv(65536).decode().partition("Sec-WebSocket-Key: ")[2].split("\r\n")[0]
            head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            connection.sendall(
                f"{head}Sec-WebSocket-Accept: {generate_accept_token(key.encode()).decode()}\r\n\r\n".encode()
                + b"\x88\x00"
            )
            with contextlib.suppress(OSError):
                while len(sent) < 10_000:
                    connection.sendall(bytes(65536))
                    sent.append(65536)

    listener = create_server(("127.0.0.1", 0))
    thread = greenserve.spawn(serve_one)
    with listener, connect(f"ws://127.0.0.1:{listener.getsockname()[1]}/") as ws, pytest.raises(ConnectionClosed):
        ws.receive()
    thread.wait()
    assert sum(sent) < 64 << 20  # a MiB, and what the kernel holds


def test_a_redirect_is_refused_and_says_where_it_led():
    answer = b"HTTP/1.1 302 Found\r\nLocation: wss://elsewhere.example/\r\nContent-Length: 0\r\n\r\n"
    with answering(answer) as url, pytest.raises(HandshakeFailed, match=r"elsewhere\.example.*not followed") as caught:
        connect(url)
    assert caught.value.status == 302


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "closed the connection"),
        (b"HTTP/1.1 101 Switching", "closed the connection"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "opens no WebSocket: illegal status line"),
        (b"HTTP/1.1 101 Switching Protocols\r\nno colon\r\n\r\n", "opens no WebSocket: illegal header line"),
        (b"HTTP/1.1 101 Switching Protocols\r\nX: " + b"x" * 70_000, "longer than 65536"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 3000, "longer than 65536"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n", "closed the connection"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 403 Forbidden\r\n\r\n", "status 403"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", "accept token"),
    ],
)
def test_what_is_no_acceptance_is_refused_with_a_reason(answer, why):
    with answering(answer) as url, pytest.raises(HandshakeFailed, match=why):
        connect(url)


def test_a_server_that_never_answers_is_a_timeout():
    with answering(b"HTTP/1.1 101 Swi", close=False) as url, pytest.raises(TimeoutError):
        connect(url, timeout=0.1)


def test_a_port_where_nobody_listens_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        connect(f"ws://127.0.0.1:{port}/")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://example.com/", "ws://HOST"),
        ("ws:///path", "ws://HOST"),
        ("ws://example.com/#part", "fragment"),
        ("ws://user:secret@example.com/", "Authorization"),
        ("ws://example.com:99999/", "[Pp]ort"),
    ],
)
def test_urls_that_will_not_do_are_refused(url, why):
    with pytest.raises(ValueError, match=why):
        parse_url(url)


def test_urls_are_taken_apart():
    assert parse_url("ws://example.com") == (False, "example.com", 80, "example.com", "/")
    assert parse_url("wss://Example.com:444/a?b=c") == (True, "example.com", 444, "example.com:444", "/a?b=c")
    assert parse_url("ws://[::1]:8000/x") == (False, "::1", 8000, "[::1]:8000", "/x")


def test_a_context_for_a_plain_url_is_a_mistake():
    with pytest.raises(ValueError, match="wss"):
        connect("ws://127.0.0.1/", ssl=ssl.create_default_context())


def test_failed_and_closed_connections_leave_no_descriptors():
    with serving(echo) as server:
        found = []
        for _ in range(3):
            for _ in range(10):
                with connect(ours(server)) as ws:
                    ws.send("x")
                    ws.receive(10)
                    ws.close()
                with answering(b"") as url, contextlib.suppress(HandshakeFailed):
                    connect(url)
            while server._worker.connections:
                greenserve.sleep(0.005)
            gc.collect()
            found.append(len(os.listdir("/proc/self/fd")))
        assert found[1] == found[2]
