"""Which connections may come in: limits of all and of each client, what gives way, and how cheap a refusal is."""

from __future__ import annotations

import logging
import re
import resource
import socket
import threading
from contextlib import ExitStack

import pytest

from greenserve import sleep
from greenserve.server import admission, machine
from greenserve.server.admission import Admission, Verdict, client_of
from greenserve.server.phases import Phase
from greenserve.settings import Settings
from tests.server.live import Client, Connection, hello, serving
from tests.server.test_tls import secured
from tests.waiting import until_blocking

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Gate:
    """An application whose requests are held until `open`."""

    def __init__(self):
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()

    def __call__(self, environ, start_response):
        self.entered.release()
        while not self.open.is_set():  # an OS thread sets it
            sleep(0.005)
        return hello(environ, start_response)


@pytest.fixture
def gate():
    held = Gate()
    try:
        yield held
    finally:
        held.open.set()


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(admission, "PATIENCE", 0.0)


def until_connections(server, number):
    until_blocking(lambda: len(server._worker.connections) == number)


def until_silent(connection, phase):
    until_blocking(lambda: connection.phase is phase and not connection.greenlet)


def held_request(server, gate, stack):
    client = stack.enter_context(Client(server))
    client.send(GET)
    assert gate.entered.acquire(timeout=10)
    return client


def from_address(server, address):
    return Connection(socket.create_connection((server.address.host, server.address.port), 10, (address, 0)))


def said(caplog, start):
    return [text for record in caplog.records if (text := record.getMessage()).startswith(start)]


# All connections


def test_a_connection_beyond_the_limit_gets_503_and_is_closed_and_those_before_are_served(impatient, gate, caplog):
    with serving(gate, max_connections=2) as server, ExitStack() as stack:
        held = [held_request(server, gate, stack) for _ in range(2)]
        refused = stack.enter_context(Client(server))
        status, fields, text = refused.response()
        assert (status, fields["retry-after"], fields["connection"]) == (503, "10", "close")
        assert b"as many connections as it may have" in text
        assert refused.at_end()
        assert len(server._worker.connections) == 2
        gate.open.set()
        assert [client.response()[2] for client in held] == [b"hello", b"hello"]
    (text,) = said(caplog, "refused connections")
    assert text.startswith("refused connections: 1, the last from 127.0.0.1: there are max_connections (2) already")


def test_after_one_has_gone_another_may_come(impatient, gate):
    with serving(gate, max_connections=1) as server, ExitStack() as stack:
        first = held_request(server, gate, stack)
        with Client(server) as refused:
            assert refused.head()[0] == 503
        gate.open.set()
        assert first.response()[2] == b"hello"
        first.close()
        until_connections(server, 0)
        with Client(server) as client:
            assert client.get() == b"hello"
        assert server._worker.admission._clients.get("127.0.0.1", 0) <= 1


@pytest.mark.parametrize("sent", [b"", GET[:9], GET], ids=["silent", "within a head", "kept alive"])
def test_the_connection_that_is_idle_for_longest_gives_way(monkeypatch, sent):
    monkeypatch.setattr(admission, "SILENT_SECONDS", 0.0)
    with serving(hello, max_connections=3) as server, ExitStack() as stack:
        clients = []
        for age in (20, 30, 10):
            known = set(server._worker.connections)
            clients.append(stack.enter_context(Client(server)))
            clients[-1].send(sent)
            if sent == GET:
                assert clients[-1].response()[2] == b"hello"
            until_connections(server, len(known) + 1)
            (connection,) = server._worker.connections - known
            if sent:
                until_silent(connection, Phase.IDLE if sent == GET else Phase.HEAD)
            connection.deadline -= age  # it is idle for so long
        assert stack.enter_context(Client(server)).get() == b"hello"
        assert clients[1].at_end()
        for client in (clients[0], clients[2]):
            client.send(GET[len(sent) :] if sent != GET else GET)
            assert client.response()[2] == b"hello"


def test_over_tls_a_connection_beyond_the_limit_is_closed_without_a_byte(impatient, gate):
    with secured(gate, max_connections=1) as server, ExitStack() as stack:
        worker = server._worker
        first = stack.enter_context(Client(server))
        until_connections(server, 1)
        for each in worker.connections:
            each.deadline += 600  # silent since a time to come: it does not give way
        with Client(server) as refused:
            assert refused.at_end()
        assert len(worker.connections) == 1
        assert first.socket.fileno() >= 0


def test_while_all_are_busy_new_ones_wait_a_moment_in_the_kernels_queue_and_none_is_lost(gate, caplog):
    with serving(gate, max_connections=3) as server, ExitStack() as stack:
        worker = server._worker
        clients = [stack.enter_context(Client(server)) for _ in range(20)]
        for client in clients:
            client.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        for _ in range(3):
            assert gate.entered.acquire(timeout=10)
        assert len(worker.connections) == 3
        gate.open.set()
        assert [client.response()[2] for client in clients] == [b"hello"] * 20
    assert not said(caplog, "refused")


def test_the_log_says_that_idle_connections_were_closed_and_what_to_do(monkeypatch, caplog):
    monkeypatch.setattr(admission, "SILENT_SECONDS", 0.0)
    with serving(hello, max_connections=1) as server, ExitStack() as stack:
        for _ in range(5):
            assert stack.enter_context(Client(server)).get() == b"hello"
    (text,) = said(caplog, "closed idle connections to make room: 1; ")  # the next line is due after a minute
    assert "max_connections (1) already; raise the limit of open files (ulimit -n;" in text


# Those of one client


def test_a_clients_connections_are_limited_and_those_of_others_are_not(caplog):
    with serving(hello, max_connections_per_client=2, trusted_proxies="none") as server, ExitStack() as stack:
        mine = [stack.enter_context(Client(server)) for _ in range(2)]
        assert [client.get() for client in mine] == [b"hello"] * 2
        with Client(server) as third:
            status, fields, _ = third.response()
            assert (status, fields["retry-after"]) == (503, "10")
            assert third.at_end()
        other = stack.enter_context(from_address(server, "127.0.0.2"))
        other.send(GET)
        assert other.head()[0] == 200
        assert [client.get() for client in mine] == [b"hello"] * 2
        mine.pop().close()
        until_blocking(lambda: server._worker.admission._clients["127.0.0.1"] < 2)
        assert stack.enter_context(Client(server)).get() == b"hello"
    (text,) = said(caplog, "refused connections: 1, the last from 127.0.0.1")
    assert "a client may have max_connections_per_client (2)" in text


def test_a_unix_sockets_clients_are_not_told_apart(tmp_path):
    with serving(hello, bind=f"unix:{tmp_path}/socket", max_connections_per_client=1) as server, ExitStack() as stack:
        clients = [stack.enter_context(Client(server)) for _ in range(5)]
        assert [client.get() for client in clients] == [b"hello"] * 5


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("::1", "127.0.0.1", False),
    ],
)
def test_a_client_is_an_ipv4_address_or_a_64_of_ipv6(one, other, same):
    assert (client_of(one) == client_of(other)) is same


# Without sockets


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def made(connections=(), **options):
    clock = Clock()
    return Admission(Settings.from_kwargs(**options), set(connections), clock), clock


def test_trusted_proxies_and_exempt_networks_are_not_limited():
    door, _ = made(
        trusted_proxies="192.0.2.1",
        max_connections_per_client_exempt="2001:db8::/32, 198.51.100.0/24",
        max_connections=100,
        max_connections_per_client=1,
    )
    free = ["192.0.2.1", "2001:db8::1", "198.51.100.7", ""]
    limited = ["192.0.2.2", "2001:db9::1", "127.0.0.1"]
    for address in free + limited:
        assert door.admits_client(address)
        door.enter(address)
    assert all(door.admits_client(address) for address in free)
    assert not any(door.admits_client(address) for address in limited)


@pytest.mark.parametrize("address", ["10.1.2.3", "172.31.0.1", "192.168.1.1", "100.64.0.1", "fd00::1", "fe80::1"])
def test_private_networks_are_limited_only_where_a_number_was_given(address):
    for door, limited in ((made(max_connections=4)[0], False), (made(max_connections_per_client=1)[0], True)):
        assert door.each == 1
        door.enter(address)
        door.enter("203.0.113.1")
        assert door.admits_client(address) is not limited
        assert not door.admits_client("203.0.113.1")


def test_where_every_peer_is_a_trusted_proxy_none_is_limited():
    door, _ = made(trusted_proxies="*", max_connections=100, max_connections_per_client=1)
    door.enter("192.0.2.1")
    assert door.admits_client("192.0.2.1")


def test_what_enters_and_leaves_leaves_nothing_behind():
    door, _ = made(max_connections=100)
    addresses = [f"192.0.2.{n % 7}" for n in range(50)] + [f"2001:db8:0:{n}::1" for n in range(50)] + [""]
    for address in addresses:
        door.enter(address)
    for address in reversed(addresses):
        door.leave(address)
    assert door._clients == {}


def test_a_flood_of_refusals_is_one_line_a_second_with_a_count(caplog):
    door, clock = made(max_connections=100, max_connections_per_client=1)
    door.enter("192.0.2.1")
    for _ in range(1000):
        assert not door.admits_client("192.0.2.1")
    assert len(said(caplog, "refused connections: 1, ")) == 1
    clock.now += 1.0
    door.tick()
    door.tick()
    assert len(said(caplog, "refused connections: 999, ")) == 1
    assert len(caplog.records) == 2
    assert all(record.levelno == logging.WARNING for record in caplog.records)


def test_a_flood_of_connections_does_not_look_at_all_those_there_are_each_time(monkeypatch):
    looked = []
    monkeypatch.setattr(admission.deadlines, "silent_since", lambda each: looked.append(each) or float("inf"))
    door, clock = made(connections=range(50), max_connections=50)
    for _ in range(1000):
        assert door.judge("192.0.2.1") is Verdict.WAIT
    assert len(looked) == 50
    clock.now += 1.0
    for _ in range(1000):
        assert door.judge("192.0.2.1") is Verdict.REFUSED
    assert len(looked) == 100


# Requests that wait


def test_a_request_beyond_the_queue_gets_503_at_once_and_those_in_it_are_served(gate, caplog):
    with serving(gate, concurrency=1, max_queue=2) as server, ExitStack() as stack:
        first = held_request(server, gate, stack)
        waiting = [stack.enter_context(Client(server)) for _ in range(2)]
        for client in waiting:
            client.send(GET)
        until_blocking(lambda: len(server._worker.pool.waiting) == 2)
        refused = stack.enter_context(Client(server))
        refused.send(GET)
        status, fields, text = refused.response()
        assert (status, fields["retry-after"], fields["connection"]) == (503, "10", "close")
        assert b"overloaded" in text
        refused.socket.shutdown(socket.SHUT_WR)
        assert refused.at_end()
        gate.open.set()
        assert [client.response()[2] for client in (first, *waiting)] == [b"hello"] * 3
    (text,) = said(caplog, "requests answered with 503: 1")
    assert "max_queue (2) requests wait already" in text


def test_a_request_beyond_the_queue_is_in_the_access_log(gate, tmp_path):
    log = tmp_path / "access.log"
    with serving(gate, concurrency=1, max_queue=0, access_log=str(log)) as server, ExitStack() as stack:
        first = held_request(server, gate, stack)
        refused = stack.enter_context(Client(server))
        refused.send(GET)
        assert refused.response()[0] == 503
        gate.open.set()
        assert first.response()[0] == 200
    lines = re.findall(r'"(.*)" (\d+) \d+ "-"', log.read_text())
    assert lines == [("-", "503"), ("GET / HTTP/1.1", "200")]  # a request that has no green thread is not looked at


def test_by_default_all_may_wait_for_their_turn(gate):
    with serving(gate, concurrency=1) as server, ExitStack() as stack:
        first = held_request(server, gate, stack)
        waiting = [stack.enter_context(Client(server)) for _ in range(50)]
        for client in waiting:
            client.send(GET)
        until_blocking(lambda: len(server._worker.pool.waiting) == 50)
        gate.open.set()
        assert [client.response()[2] for client in (first, *waiting)] == [b"hello"] * 51


# What the machine gives


@pytest.mark.parametrize(
    ("files", "fit"), [(16, 8), (64, 32), (256, 192), (1024, 922), (65536, 58983), (2**31, 2**31 - 2**31 // 10)]
)
def test_some_open_files_are_left_to_the_application(files, fit):
    assert machine._by_files(files) == fit


def test_by_default_connections_are_limited_by_open_files_and_memory(monkeypatch):
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    monkeypatch.setattr(machine, "memory", lambda: 1 << 40)
    monkeypatch.setattr(machine, "open_files", lambda: 4096)
    door, _ = made()
    assert (door.most, door.each) == (4096 - 409, (4096 - 409) // 4)
    monkeypatch.setattr(machine, "memory", lambda: 512 << 20)
    door, _ = made()
    assert (door.most, door.each) == (3276, 819)
    door, _ = made(max_head="16K")
    assert door.most * (16384 + 16384) <= 256 << 20
    monkeypatch.undo()
    assert machine.open_files() == soft


@pytest.mark.parametrize(
    ("limits", "found"),
    [
        ({}, None),
        ({"": "max"}, None),
        ({"a/b": "1000000"}, 1000000),
        ({"a": "2000000", "a/b": "max"}, 2000000),
        ({"a": "1000000", "a/b": "2000000"}, 1000000),
    ],
)
def test_memory_is_that_of_the_narrowest_control_group(monkeypatch, tmp_path, limits, found):
    (tmp_path / "own").write_text("0::/a/b\n")
    for group, limit in limits.items():
        (tmp_path / "fs" / group).mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / group / "memory.max").write_text(limit + "\n")
    monkeypatch.setattr(machine, "OWN_CGROUP", tmp_path / "none")
    whole = machine.memory()
    monkeypatch.setattr(machine, "OWN_CGROUP", tmp_path / "own")
    monkeypatch.setattr(machine, "CGROUPS", tmp_path / "fs")
    assert machine.memory() == (whole if found is None else found)
