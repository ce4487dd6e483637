"""An application that takes the connection's socket over TLS gets one that speaks TLS."""

from __future__ import annotations

import contextlib
import io
import os
import select
import socket
import ssl
import threading

import pytest

from tests.server.live import hello
from tests.server.test_hijack import GET, KEYS, block, duplicate, leave, taking, wait_for_ever
from tests.server.tls_support import TlsClient, secured

ANSWER = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
MUCH = os.urandom(6 << 20)  # more than the sockets between the two hold


@pytest.mark.parametrize("use", [leave, wait_for_ever, block, duplicate])
@pytest.mark.parametrize("key", KEYS)
def test_a_socket_that_was_taken_and_left_is_closed_in_order(key, use):
    with secured(taking(key, use)) as server, TlsClient(server) as taken, TlsClient(server) as other:
        taken.send(GET)
        assert taken.file.read() == ANSWER  # to an end that TLS says: else this raises
        assert other.get() == b"hello"


def used(use, client_part, **options):
    """Take the socket, `use` it in the application, and do the client's part meanwhile. Raises what `use` has."""
    errors = []

    def application(environ, start_response):
        sock = environ["greenserve.socket"]
        sock.sendall(ANSWER)
        try:
            use(sock)
        except BaseException as error:
            errors.append(error)
        return []

    with secured(application, **options) as server, TlsClient(server) as client:
        client.send(GET)
        assert client.file.read(len(ANSWER)) == ANSWER
        client_part(client)
    if errors:
        raise errors[0]


def expecting(data):
    """A client's part: it reads `data`."""

    def client_part(client):
        assert client.file.read(len(data)) == data

    return client_part


def test_it_echoes_what_is_large_in_both_directions():
    def echo(sock):
        while data := sock.recv(65536):
            sock.sendall(data)

    def client_part(client):
        assert exchanged(client.socket, MUCH) == MUCH
        client.socket.shutdown(socket.SHUT_WR)

    used(echo, client_part)


def exchanged(sock, data):
    """Send `data` and receive as much, both at once, in one thread: an SSLSocket is not for two."""
    sock.setblocking(False)
    rest, got = memoryview(data), bytearray()
    while len(got) < len(data):
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            rest = rest[sock.send(rest[:65536]) :] if rest else rest
        try:
            got += sock.recv(65536)
        except ssl.SSLWantReadError:
            assert any(select.select([sock], [sock] if rest else [], [], 10))
    sock.settimeout(10)
    return got


def test_small_reads_see_all_of_a_record():
    """What OpenSSL has decrypted no poller sees."""

    def count(sock):
        sock.settimeout(5)
        got = b""
        while len(got) < 50_000:
            got += sock.recv(999)
        sock.sendall(b"%d" % len(got))

    def client_part(client):
        client.send(b"x" * 50_000)
        assert client.file.read(5) == b"50000"

    used(count, client_part)


def test_recv_into_makefile_and_a_look_ahead():
    def read(sock):
        buffer = bytearray(3)
        assert sock.recv(2, socket.MSG_PEEK) == b"ab"
        assert sock.recv_into(buffer) == 3
        assert buffer == b"abc"
        with sock.makefile("rwb") as file:
            assert file.readline() == b"def\n"
            file.write(b"done")
            file.flush()

    def client_part(client):
        client.send(b"abcdef\n")
        assert client.file.read(4) == b"done"

    used(read, client_part)


def test_its_timeout():
    def wait(sock):
        sock.settimeout(0.01)
        with pytest.raises(TimeoutError):
            sock.recv(10)
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(10)
        sock.settimeout(None)
        sock.sendall(b"waited")

    used(wait, expecting(b"waited"))


def test_a_client_that_takes_nothing_times_a_sender_out():
    over = threading.Event()

    def send(sock):
        sock.settimeout(0.05)
        try:
            with pytest.raises(TimeoutError):
                sock.sendall(MUCH * 4)
        finally:
            over.set()

    used(send, lambda client: over.wait(5))


def test_in_another_os_thread():
    started = threading.Event()

    def use(sock):
        def run():
            sock.sendall(sock.recv(5).upper())

        thread = threading.Thread(target=run)
        thread.start()
        started.set()
        thread.join()

    def client_part(client):
        assert started.wait(5)
        client.send(b"hello")
        assert client.file.read(5) == b"HELLO"

    used(use, client_part)


def test_it_is_a_stream_socket_only(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"from a file")

    def use(sock):
        green = sock._socket
        for refused in (green.recvfrom, green.recvmsg, green.sendmsg, green.sendto, green.dup):
            with pytest.raises(NotImplementedError, match="one stream"):
                refused(b"")
        with path.open("rb") as file:
            assert green.sendfile(file) == 11
        assert green.send(io.BytesIO(b" and a view").getbuffer()) == 11
        assert green.send(b"") == 0
        assert green.recv(0) == b""

    used(use, expecting(b"from a file and a view"))


def test_closing_says_the_end_in_tls_too():
    def use(sock):
        sock.sendall(b"x")
        sock.close()

    def client_part(client):
        assert client.file.read() == b"x"  # without that word this raises

    used(use, client_part)


def test_a_killed_one_does_not_look_like_an_end_in_order():
    def use(sock):
        sock.sendall(b"x")
        sock.recv(1)

    with secured(taking("greenserve.socket", use), graceful_timeout=0.05) as server:
        client = TlsClient(server)
        client.send(GET)
        assert client.file.read(len(ANSWER) + 1) == ANSWER + b"x"
        server._worker.hub.call_soon_threadsafe(server._worker.force, "of a test")
        with pytest.raises(OSError):
            assert client.file.read() != b""
        client.close()


def test_without_taking_it_the_connection_stays_https():
    def application(environ, start_response):
        environ["greenserve.socket"].getpeername()
        return hello(environ, start_response)

    with secured(application) as server, TlsClient(server) as client:
        assert client.get() == client.get() == b"hello"
