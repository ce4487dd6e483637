"""Green TLS: both sides, waits in both directions, deadlines, and the end."""

from __future__ import annotations

import errno
import ssl as real_ssl
from pathlib import Path

import pytest

from greenserve.errors import AlreadyWaiting
from greenserve.green import socket, ssl
from greenserve.hub import sleep, spawn

CERTIFICATES = Path(__file__).parent.parent / "certificates"
LOCALHOST = str(CERTIFICATES / "localhost.pem")
OTHER = str(CERTIFICATES / "other.example.pem")


def server_context(certificate=LOCALHOST):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def client_context(*, verify=True):
    context = ssl.create_default_context(cafile=LOCALHOST)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def connected(server=None, client=None, name="localhost", **options):
    """Two ends of one TLS connection, hands shaken: (client's, server's)."""
    left, right = socket.socketpair()
    serving = spawn((server or server_context()).wrap_socket, right, server_side=True)
    client_side = (client or client_context()).wrap_socket(left, server_hostname=name, **options)
    return client_side, serving.wait()


@pytest.fixture
def pair():
    client, server = connected()
    with client, server:
        yield client, server


def test_its_sockets_are_ssl_sockets_and_green_ones(pair):
    for sock in pair:
        assert isinstance(sock, real_ssl.SSLSocket)
        assert isinstance(sock, socket.socket)


def test_default_contexts_are_green():
    assert isinstance(ssl.create_default_context(), ssl.SSLContext)
    assert isinstance(ssl._create_unverified_context(), ssl.SSLContext)
    assert isinstance(ssl.create_default_context(), real_ssl.SSLContext)
    assert not isinstance(real_ssl.create_default_context(), ssl.SSLContext)


def test_a_context_can_be_configured():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_TICKET
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_bytes_go_both_ways(pair):
    client, server = pair
    client.sendall(b"question")
    assert server.recv(100) == b"question"
    server.sendall(memoryview(b"answer"))
    buffer = bytearray(10)
    assert client.recv_into(buffer) == 6
    assert client.version() == server.version()
    assert client.getpeercert()["subject"]


def test_a_reader_waits_while_others_run(pair):
    client, server = pair
    reader = spawn(server.recv, 10)
    sleep(0)
    assert not reader.dead
    client.send(b"late")
    assert reader.wait() == b"late"


def test_one_reads_while_another_writes(pair):
    client, server = pair
    data = bytes(3_000_000)
    sent = [spawn(client.sendall, data), spawn(server.sendall, data)]

    def receive(sock):
        count = 0
        while count < len(data):
            count += len(sock.recv(1 << 16))
        return count

    received = [spawn(receive, client), spawn(receive, server)]
    assert [thread.wait() for thread in received] == [len(data)] * 2
    for thread in sent:
        thread.wait()


def test_a_second_reader_is_refused(pair):
    client, server = pair
    reader = spawn(client.recv, 1)
    sleep(0)
    with pytest.raises(AlreadyWaiting):
        client.recv(1)
    server.send(b"x")
    assert reader.wait() == b"x"


def test_a_connection_may_be_read_by_who_has_just_killed_its_reader(pair):
    server, client = pair
    reader = spawn(server.recv, 1)
    sleep(0.001)
    reader.kill(block=False)
    spawn(client.sendall, b"x")
    assert server.recv(1) == b"x"
    assert reader.dead


def test_two_that_wait_for_the_same_direction_share_the_wait(pair):
    client, server = pair
    reader = spawn(client.recv, 1)
    sleep(0)
    closer = spawn(client.unwrap)  # waits to read as well: for the peer's good-bye
    sleep(0)
    assert not reader.dead
    assert not closer.dead
    plain = server.unwrap()
    assert closer.wait() is client
    assert plain is server
    reader.join()


def test_what_is_buffered_inside_is_found_without_waiting(pair):
    client, server = pair
    client.sendall(b"0123456789")
    assert server.recv(4) == b"0123"
    assert server.pending() == 6
    assert server.recv(100) == b"456789"


def test_unwrap_returns_to_the_clear(pair):
    client, server = pair
    closing = spawn(client.unwrap)
    sleep(0)
    plain = server.unwrap()
    assert closing.wait() is client
    plain.sendall(b"clear")
    assert client.recv(10) == b"clear"


def test_the_peers_end_is_the_end(pair):
    client, server = pair
    server.send(b"x")
    client.recv(1)  # with the session tickets: to close with bytes unread would be a reset
    reader = spawn(server.recv, 1)
    sleep(0)
    client.close()
    assert reader.wait() == b""


def test_closing_wakes_the_reader_with_ebadf(pair):
    client, _ = pair
    reader = spawn(client.recv, 1)
    sleep(0)
    client.close()
    with pytest.raises(OSError) as caught:
        reader.wait()
    assert caught.value.errno == errno.EBADF


def test_each_operation_has_its_deadline(pair):
    client, _ = pair
    client.settimeout(0.01)
    with pytest.raises(TimeoutError, match="read operation timed out"):
        client.recv(1)
    with pytest.raises(TimeoutError, match="write operation timed out"):
        client.sendall(bytes(10_000_000))


def test_a_handshake_has_a_deadline():
    left, right = socket.socketpair()
    left.settimeout(0.01)
    with right, pytest.raises(TimeoutError, match="handshake operation timed out"):
        client_context().wrap_socket(left, server_hostname="localhost")
    left.close()


def test_timeout_zero_does_not_wait(pair):
    client, _ = pair
    client.settimeout(0)
    with pytest.raises(ssl.SSLWantReadError):
        client.recv(1)


def test_a_handshake_by_hand_without_waiting():
    left, right = socket.socketpair()
    serving = spawn(server_context().wrap_socket, right, server_side=True)
    left.setblocking(False)
    client = client_context().wrap_socket(left, server_hostname="localhost", do_handshake_on_connect=False)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    client.do_handshake(block=True)
    assert client.gettimeout() == 0
    with client, serving.wait():
        pass


def test_a_certificate_that_is_not_the_hosts_is_refused():
    left, right = socket.socketpair()
    serving = spawn(server_context().wrap_socket, right, server_side=True)
    serving.quiet = True
    with pytest.raises(ssl.SSLCertVerificationError):
        client_context().wrap_socket(left, server_hostname="elsewhere.example")
    with pytest.raises(ssl.SSLError):
        serving.wait()
    for sock in (left, right):
        sock.close()


def test_sni_chooses_the_certificate():
    server = server_context()
    asked = []

    def choose(sock, name, context):
        asked.append(name)
        sock.context = server_context(OTHER)

    server.sni_callback = choose
    context = ssl.create_default_context(cafile=OTHER)
    client, serving = connected(server, context, "other.example")
    with client, serving:
        assert asked == ["other.example"]
        assert ("DNS", "other.example") in client.getpeercert()["subjectAltName"]


def test_alpn_finds_the_common_protocol():
    server, client = server_context(), client_context()
    server.set_alpn_protocols(["http/1.1"])
    client.set_alpn_protocols(["h2", "http/1.1"])
    one, two = connected(server, client)
    with one, two:
        assert one.selected_alpn_protocol() == two.selected_alpn_protocol() == "http/1.1"


def test_connect_and_accept_shake_hands():
    with server_context().wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True) as listener:
        accepting = spawn(listener.accept)
        with client_context().wrap_socket(socket.socket(), server_hostname="localhost") as client:
            client.connect(listener.getsockname())
            connection, _ = accepting.wait()
            with connection, connection.makefile("rwb") as file:
                client.sendall(b"line\n")
                assert file.readline() == b"line\n"


def test_sendfile_goes_through_tls(pair, tmp_path):
    client, server = pair
    path = tmp_path / "file"
    path.write_bytes(b"content")
    with path.open("rb") as file:
        assert client.sendfile(file) == 7
    assert server.recv(100) == b"content"


def test_a_certificate_can_be_fetched():
    with server_context().wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True) as listener:
        accepting = spawn(listener.accept)
        pem = ssl.get_server_certificate(listener.getsockname(), ca_certs=LOCALHOST)
        assert pem.strip() in Path(LOCALHOST).read_text()
        accepting.wait()[0].close()
