"""TLS by memory BIOs: two transports that speak it with each other, and one that speaks it with the real module."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from pathlib import Path

import pytest

from greenserve.hub import sleep, spawn
from greenserve.hub.core.hub import current_hub
from greenserve.net.send_buffer import FileSlice
from greenserve.net.tls import shake_hands
from greenserve.net.transport import Transport
from tests.net.test_transport import MUCH, Owner
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("hub")

LOCALHOST = str(Path(__file__).parent.parent / "certificates" / "localhost.pem")


def server_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(LOCALHOST)
    return context


def client_context():
    return ssl.create_default_context(cafile=LOCALHOST)


def transports():
    pair = socket.socketpair()
    for sock in pair:
        sock.setblocking(False)
    return [Transport(current_hub(), sock, Owner()) for sock in pair]


@pytest.fixture
def pair():
    client, server = transports()
    serving = spawn(shake_hands, server, server_context(), server_side=True)
    shake_hands(client, client_context(), server_hostname="localhost")
    serving.wait()
    yield client, server
    for transport in (client, server):
        if transport.owner is not None:
            transport.close()


def read(transport, size):
    data = b""
    while len(data) < size:
        piece = transport.receive(1 << 16)
        if piece is None:
            transport.wait_readable(current_hub().clock() + 20)
        elif not piece:
            break
        else:
            data += piece
    return data


def test_what_is_written_is_received_and_is_not_in_the_clear(pair):
    client, server = pair
    assert client.receive(10) is None
    assert client.write(b"secret")
    assert b"secret" not in server.socket.plain.recv(1 << 16, socket.MSG_PEEK)
    assert server.has_data()
    assert read(server, 6) == b"secret"
    assert server.receive(10) is None
    assert server.drained
    server.write_together((b"head ", b"", b"bo", b"dy"))
    assert read(client, 9) == b"head body"
    parts = [b"%05d" % n * 1000 for n in range(100)]
    server.write_together(parts)
    assert read(client, 500_000) == b"".join(parts)


def test_a_read_is_short_only_when_there_is_no_more(pair):
    """Decrypted bytes wait where no poller sees them."""
    client, server = pair
    client.write(b"x" * 40_000)  # three records
    until(server.has_data)
    assert len(server.receive(1000)) == 1000
    assert not server.drained
    assert len(server.receive(50_000)) == 39_000
    assert server.drained


def test_much_in_both_directions_at_once(pair):
    data = os.urandom(MUCH)
    for transport in pair:
        assert not transport.write(data)
    readers = [spawn(read, transport, MUCH) for transport in pair]
    assert [reader.wait() for reader in readers] == [data, data]
    until(lambda: all(transport.buffer is None for transport in pair))


def test_small_pieces_behind_a_refused_one_leave_in_order(pair):
    client, server = pair
    pieces = [os.urandom(1000) for _ in range(MUCH // 1000)]
    for piece in pieces:
        client.write(piece)
    assert client.buffer is not None
    assert read(server, sum(map(len, pieces))) == b"".join(pieces)


def test_a_file_is_encrypted_too(pair, tmp_path):
    client, server = pair
    path = tmp_path / "file"
    path.write_bytes(os.urandom(MUCH))
    with path.open("rb") as file:
        client.write_file(FileSlice(file.fileno(), 0, MUCH))
        assert read(server, MUCH) == path.read_bytes()


def test_the_end_is_said_and_heard(pair):
    client, server = pair
    client.write(b"last")
    client.shut_writing()
    assert read(server, 5) == b"last"
    assert server.receive(10) == b""


def test_an_end_at_the_level_of_tls_alone_is_heard(pair):
    """After it the poller has nothing to tell: the connection below is open."""
    client, server = pair
    client.write(b"last")
    with pytest.raises(ssl.SSLWantReadError):
        client.socket.ssl_object.unwrap()
    client.socket._push()
    until(server.has_data)
    assert server.receive(100) == b"last"
    assert not server.drained
    assert server.receive(100) == b""


def test_a_connection_that_is_cut_is_an_end(pair):
    client, server = pair
    client.socket.plain.shutdown(socket.SHUT_RDWR)
    assert read(server, 1) == b""


def test_the_wrong_name_is_refused_on_both_sides():
    client, server = transports()
    serving = spawn(shake_hands, server, server_context(), server_side=True)
    serving.quiet = True
    with pytest.raises(ssl.SSLCertVerificationError, match="elsewhere"):
        shake_hands(client, client_context(), server_hostname="elsewhere.example")
    with pytest.raises(ssl.SSLError, match="ALERT"):
        serving.wait()
    client.close()
    server.close()


@pytest.mark.parametrize("answer", [None, b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_a_peer_that_does_not_speak_it(answer):
    client, server = transports()
    if answer:
        server.write(answer)
    with pytest.raises(ssl.SSLError if answer else TimeoutError):
        shake_hands(client, client_context(), server_hostname="localhost", deadline=current_hub().clock() + 0.05)
    client.close()
    server.close()


def test_with_the_standard_librarys_tls():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    def echo():
        with server_context().wrap_socket(theirs, server_side=True) as sock:
            while data := sock.recv(65536):
                sock.sendall(data)

    thread = threading.Thread(target=echo)
    thread.start()
    transport = Transport(current_hub(), ours, Owner())
    shake_hands(transport, client_context(), server_hostname="localhost")
    data = os.urandom(MUCH)
    transport.write(data)
    assert read(transport, MUCH) == data
    transport.shut_writing()
    assert read(transport, 1) == b""
    sleep(0)
    transport.close()
    thread.join()
