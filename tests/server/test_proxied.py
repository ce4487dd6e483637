"""The PROXY protocol over real sockets: whose the connection is from then on, and what ends without a request."""

from __future__ import annotations

import json
import logging
import ssl
import struct
from pathlib import Path

import pytest

from greenserve.cli.health import Unhealthy, ask
from greenserve.errors import ConfigurationError
from greenserve.net.proxy_protocol import LOCAL
from greenserve.server import worker as worker_module
from greenserve.server.phases import Phase
from tests.net.test_proxy_protocol import TCP4, UNIX, tlv, v2
from tests.server.live import Client, serving
from tests.server.test_proxies import tell
from tests.server.tls_support import LOCALHOST, client_context
from tests.waiting import until_blocking

V1 = b"PROXY TCP4 192.0.2.1 10.0.0.9 4711 443\r\n"
GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"


def proxied(**options):
    return serving(tell, proxy_protocol=True, **options)


def seen(client, headers=""):
    found = json.loads(client.get(headers=headers))
    return found["REMOTE_ADDR"], found["REMOTE_PORT"], found["wsgi.url_scheme"], found["greenserve.peer"]


@pytest.mark.parametrize("header", [V1, v2(TCP4), v2(TCP4 + tlv(4, bytes(3000)))])
def test_the_client_is_the_one_that_the_header_names(header):
    with proxied() as server, Client(server) as client:
        own = ["127.0.0.1", str(client.socket.getsockname()[1])]
        client.send(header)
        for _ in range(2):
            assert seen(client) == ("192.0.2.1", "4711", "http", own)


def test_connections_are_limited_by_the_client_that_the_header_names_not_by_the_proxy():
    with proxied(max_connections_per_client=1) as server, Client(server) as one, Client(server) as other:
        one.send(V1)
        assert seen(one)[0] == "192.0.2.1"
        other.send(V1.replace(b"192.0.2.1", b"192.0.2.2"))
        assert seen(other)[0] == "192.0.2.2"
        with Client(server) as third:
            third.send(V1)
            assert third.at_end()
        assert seen(one)[0] == "192.0.2.1"
        one.close()
        until_blocking(lambda: len(server._worker.connections) == 1)
        with Client(server) as again:
            again.send(V1)
            assert seen(again)[0] == "192.0.2.1"


@pytest.mark.parametrize("header", [LOCAL, b"PROXY UNKNOWN\r\n", v2(b"", family=0)])
def test_a_proxys_own_connection_is_its_own(header):
    with proxied() as server, Client(server) as client:
        client.send(header)
        assert seen(client) == ("127.0.0.1", str(client.socket.getsockname()[1]), "http", None)


def test_a_client_on_the_proxys_unix_socket_has_no_address():
    with proxied() as server, Client(server) as client:
        client.send(v2(UNIX, family=0x31))
        assert seen(client)[:2] == ("", "")


def test_over_a_unix_socket(tmp_path):
    with proxied(bind=f"unix:{tmp_path}/s") as server, Client(server) as client:
        client.send(V1)
        assert seen(client) == ("192.0.2.1", "4711", "http", ["", ""])


@pytest.mark.parametrize("header", [V1, v2(TCP4)])
def test_the_header_may_come_in_pieces_and_with_the_request(header):
    with proxied() as server:
        with Client(server) as client:
            client.send(header + GET + GET)
            for _ in range(2):
                assert json.loads(client.response()[2])["REMOTE_ADDR"] == "192.0.2.1"
        whole = header + GET
        for cut in range(1, len(whole), 3):
            with Client(server) as client:
                client.send(whole[:cut])
                wait_for(server, lambda each: each.stream.has_data() or each.phase is not Phase.PROXY)
                client.send(whole[cut:])
                assert json.loads(client.response()[2])["REMOTE_ADDR"] == "192.0.2.1"


def wait_for(server, fits):
    """Until the server knows a connection of which that holds."""
    until_blocking(lambda: any(fits(connection) for connection in list(server._worker.connections)))


def test_the_tls_handshake_comes_behind_it():
    with proxied(tls_cert=LOCALHOST) as server:
        for header, address in ((V1, "192.0.2.1"), (LOCAL, "127.0.0.1")):
            with Client(server) as client:
                client.send(header)
                client.file.close()
                client.socket = client_context().wrap_socket(client.socket, server_hostname="localhost")
                client.file = client.socket.makefile("rb")
                assert seen(client)[:3] == (address, client_port(client, address), "https")


def client_port(client, address):
    return "4711" if address == "192.0.2.1" else str(client.socket.getsockname()[1])


def test_a_hello_that_comes_with_the_header_is_answered():
    """The first bytes of TLS are in the kernel already when the header is taken."""
    with proxied(tls_cert=LOCALHOST) as server, Client(server) as client:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        client.send(V1 + outgoing.read())
        incoming.write(client.socket.recv(65536))
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                incoming.write(client.socket.recv(65536))
        assert tls.version() == "TLSv1.3"


def test_a_proxy_that_has_ended_tls_says_so():
    with proxied() as server, Client(server) as client:
        client.send(v2(TCP4 + tlv(0x20, b"\x01\0\0\0\0")))
        assert seen(client)[:3] == ("192.0.2.1", "4711", "https")


def test_the_clients_address_decides_whether_its_fields_count_not_the_proxys():
    fields = "X-Forwarded-For: 203.0.113.9\r\n"
    with proxied() as server:
        with Client(server) as client:
            client.send(V1)
            assert seen(client, fields)[0] == "192.0.2.1"
        with Client(server) as client:
            client.send(b"PROXY TCP4 127.0.0.9 127.0.0.1 1 2\r\n")
            own = str(client.socket.getsockname()[1])
            assert seen(client, fields) == ("203.0.113.9", "", "http", ["127.0.0.1", own])


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (GET, "it begins with b'GET / HTTP/1', not with a PROXY header"),
        (b"PROXY TCP9 a b 1 2\r\n", "is not a PROXY line"),
        (SHORT := b"PROXY TC", "its PROXY header did not arrive in time"),
        (b"", "its PROXY header did not arrive in time"),
        (struct.pack("!12sBBH", v2(b"")[:12], 0x21, 0x11, 60000), "more than 4096"),
    ],
)
def test_without_a_header_a_connection_is_closed_with_one_line(sent, why, caplog, monkeypatch):
    monkeypatch.setattr(worker_module, "SWEEP_SECONDS", 0.05)
    caplog.set_level(logging.INFO, "greenserve")
    with proxied(header_timeout=0.1) as server, Client(server) as client:
        client.send(sent)
        try:
            assert client.file.read() == b""
        except ConnectionResetError:  # what was sent had not been read
            pass
    lines = [record for record in caplog.records if "refused" in record.getMessage()]
    assert [(record.levelno, why in record.getMessage()) for record in lines] == [(logging.INFO, True)]


def test_a_header_that_never_ends_is_closed_at_the_end_of_the_connection(caplog):
    caplog.set_level(logging.INFO, "greenserve")
    with proxied() as server, Client(server) as client:
        client.send(SHORT)
        client.socket.shutdown(1)
        assert client.file.read() == b""
    assert "it ended within its PROXY header" in caplog.text


def test_whatever_only_connects_is_not_worth_a_line(caplog):
    caplog.set_level(logging.INFO, "greenserve")
    with proxied() as server:
        with Client(server):
            pass
        with Client(server) as client:
            client.send(V1)
            assert seen(client)[0] == "192.0.2.1"
    assert "refused" not in caplog.text


def test_from_a_stranger_no_header_is_taken(caplog):
    caplog.set_level(logging.INFO, "greenserve")
    with proxied(trusted_proxies="10.0.0.1") as server, Client(server) as client:
        try:
            client.send(V1 + GET)
            assert client.file.read() == b""
        except (ConnectionResetError, BrokenPipeError):
            pass
    assert "with proxy_protocol only trusted_proxies may connect" in caplog.text


def test_health_says_whom_the_proxies_must_include():
    with (
        proxied(trusted_proxies="192.0.2.0/24") as server,
        pytest.raises(Unhealthy, match="must name this machine too"),
    ):
        ask(server.addresses[0], Path(), proxied=True)


def test_without_trusted_proxies_it_makes_no_sense():
    with pytest.raises(ConfigurationError, match="name the proxies in trusted_proxies"):
        proxied(trusted_proxies="none").start()


def test_a_header_that_is_not_expected_says_where_to_switch_it_on():
    with serving(tell) as server, Client(server) as client:
        client.send(V1 + GET)
        status, _, body = client.response()
    assert status == 400
    assert b"--proxy-protocol" in body


def test_the_access_log_has_the_client(tmp_path):
    log = tmp_path / "log"
    with proxied(access_log=str(log)) as server, Client(server) as client:
        client.send(V1)
        client.get()
    assert log.read_text().startswith("192.0.2.1 - - [")


def test_a_server_that_stops_closes_what_waits_for_a_header():
    with proxied(graceful_timeout=30) as server, Client(server) as client:
        wait_for(server, lambda each: each.phase is Phase.PROXY)
        server.stop()
        assert client.file.read() == b""
