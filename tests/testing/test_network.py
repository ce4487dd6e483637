"""The network in memory: what it does when nothing is wrong, and each of its faults."""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator
from typing import Any

import pytest
from greenserve.green.http.client import HTTPConnection

import greenserve
from greenserve import testing
from greenserve.errors import AlreadyWaiting, BindError

SERVER = ("server", 80)


@pytest.fixture
def clock() -> Iterator[testing.VirtualClock]:
    with testing.virtual_time(seed=1) as clock:
        yield clock


@pytest.fixture
def network(clock: testing.VirtualClock) -> Iterator[testing.Network]:
    with testing.network(seed=1) as network:
        yield network


def echo(connection: Any, _address: Any) -> None:
    while data := connection.recv(4096):
        connection.sendall(data)


def read_all(connection: Any) -> bytes:
    return b"".join(iter(lambda: connection.recv(4096), b""))


def pair(address: Any = SERVER) -> tuple[Any, Any]:
    """Both ends of a new connection."""
    with greenserve.listen(address) as listener:
        accepting = greenserve.spawn(listener.accept)
        client = greenserve.connect(address)
        return client, accepting.wait()[0]


def test_a_server_and_its_clients_know_nothing_of_it(network: testing.Network) -> None:
    with greenserve.StreamServer(SERVER, echo) as server:
        assert server.address == SERVER
        clients = [greenserve.connect(SERVER) for _ in range(10)]
        for number, client in enumerate(clients):
            client.sendall(b"%d" % number)
            client.shutdown(1)
        assert [read_all(client) for client in clients] == [b"%d" % number for number in range(10)]
        for client in clients:
            client.close()
    assert len(network.connections) == 10
    assert network.connections[3].carried == 2


def test_sockets_are_green_sockets_with_addresses_and_options(network: testing.Network) -> None:
    client, server = pair()
    assert isinstance(client, greenserve.green.socket.socket)
    assert client.getpeername() == server.getsockname() == SERVER
    assert client.getsockname() == server.getpeername() == network.connections[0].client
    client.setsockopt(6, 1, 1)
    assert (client.getsockopt(6, 1), client.getsockopt(6, 2)) == (1, 0)
    assert client.fileno() == -1
    with client.makefile("rwb") as file:
        file.write(b"one\ntwo\n")
        file.flush()
        assert server.recv(100) == b"one\ntwo\n"
        server.sendall(b"three\nfour")
        server.close()
        assert file.readline() == b"three\n"
        assert file.read() == b"four"
    client.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        client.recv(1)


def test_the_standard_librarys_clients_run_over_it(network: testing.Network) -> None:
    def answer(connection: Any, _address: Any) -> None:
        with connection.makefile("rb") as file:
            while file.readline() != b"\r\n":
                pass
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    network.to(SERVER, pieces=2, latency=0.01)
    with greenserve.StreamServer(SERVER, answer):
        client: Any = HTTPConnection("server")
        client.sock = greenserve.connect(SERVER)
        client.request("GET", "/")
        assert client.getresponse().read() == b"hello"
        client.close()


def test_nobody_listens(network: testing.Network) -> None:
    with pytest.raises(ConnectionRefusedError):
        greenserve.connect(SERVER)
    with greenserve.listen(SERVER), pytest.raises(BindError, match="in use"):
        greenserve.listen(SERVER)
    with pytest.raises(ConnectionRefusedError):
        greenserve.connect(SERVER)


def test_names_for_the_same_place_are_the_same(network: testing.Network) -> None:
    with greenserve.StreamServer(("", 0), echo) as server:
        port = server.address[1]
        for host in ("localhost", "127.0.0.1", "anything"):
            with greenserve.connect((host, port)) as client:
                client.sendall(b"x")
                assert client.recv(1) == b"x"


def test_latency_takes_its_time_and_no_real_one(clock: testing.VirtualClock, network: testing.Network) -> None:
    network.to(SERVER, latency=100.0)
    with greenserve.StreamServer(SERVER, echo):
        client = greenserve.connect(SERVER)
        assert clock() == 200.0
        client.sendall(b"x")
        assert clock() == 200.0
        assert client.recv(1) == b"x"
        assert clock() == 400.0
        client.settimeout(150.0)
        client.sendall(b"y")
        with pytest.raises(TimeoutError):
            client.recv(1)
        assert clock() == 550.0
        assert client.recv(1) == b"y"
        client.close()


def test_jitter_keeps_the_order_within_a_connection(network: testing.Network) -> None:
    network.to(jitter=1.0)
    client, server = pair()
    data = bytes(range(256))
    for octet in data:
        client.send(bytes([octet]))
    client.close()
    assert read_all(server) == data


def test_pieces_are_small_and_complete(network: testing.Network) -> None:
    network.to(pieces=3)
    client, server = pair()
    client.sendall(b"abcdefghij")
    client.close()
    pieces = list(iter(lambda: server.recv(100), b""))
    assert b"".join(pieces) == b"abcdefghij"
    assert max(map(len, pieces)) <= 3
    assert len(set(map(len, pieces))) > 1


def test_a_full_connection_makes_the_sender_wait(clock: testing.VirtualClock, network: testing.Network) -> None:
    network.to(capacity=10)
    client, server = pair()
    assert client.send(b"x" * 25) == 10
    client.settimeout(5.0)
    with pytest.raises(TimeoutError):
        client.send(b"x")
    client.settimeout(0.0)
    with pytest.raises(BlockingIOError):
        client.send(b"x")
    client.settimeout(None)
    sender = greenserve.spawn(client.sendall, b"x" * 90)
    got = 0
    while got < 100:
        got += len(server.recv(7))
    sender.wait()


def test_sendall_has_one_deadline(clock: testing.VirtualClock, network: testing.Network) -> None:
    network.to(capacity=10)
    client, server = pair()
    client.settimeout(5.0)

    def read_slowly() -> None:
        while True:
            greenserve.sleep(1.0)
            server.recv(10)

    reader = greenserve.spawn(read_slowly)
    with pytest.raises(TimeoutError):
        client.sendall(b"x" * 1000)
    assert clock() == 5.0
    assert client.gettimeout() == 5.0
    reader.kill()


def test_a_cut_reaches_both_ends(network: testing.Network) -> None:
    client, server = pair()
    reader = greenserve.spawn(server.recv, 10)
    greenserve.sleep(0)
    network.connections[0].cut()
    for call in (reader.wait, lambda: client.recv(1), lambda: client.send(b"x")):
        with pytest.raises(ConnectionResetError):
            call()


def test_a_cut_after_so_many_bytes(network: testing.Network) -> None:
    network.to(SERVER, cut_after=10)
    client, server = pair()
    client.sendall(b"1234567")
    assert server.recv(100) == b"1234567"
    with pytest.raises(ConnectionResetError):
        server.sendall(b"1234")
    assert network.connections[0].carried == 10


def test_conditions_change_while_a_connection_is_open(clock: testing.VirtualClock, network: testing.Network) -> None:
    client, server = pair()
    connection = network.connections[0]
    connection.change(latency=3.0)
    assert connection.conditions.latency == 3.0
    client.send(b"x")
    assert server.recv(1) == b"x"
    assert clock() == 3.0


def test_a_refusal_and_a_silence(clock: testing.VirtualClock, network: testing.Network) -> None:
    network.to(("refusing", 1), refuse=True)
    network.to(("silent", 1), silent=True)
    network.to(("far", 1), latency=10.0)
    with greenserve.listen(("refusing", 1)), greenserve.listen(("far", 1)):
        with pytest.raises(ConnectionRefusedError):
            greenserve.connect(("refusing", 1))
        for host, timeout in (("silent", 7.0), ("far", 8.0)):
            before = clock()
            with pytest.raises(TimeoutError):
                greenserve.connect((host, 1), timeout=timeout)
            assert clock() == before + timeout


def test_who_gives_up_while_connecting_leaves_nobody_waiting(
    clock: testing.VirtualClock, network: testing.Network
) -> None:
    network.to(("far", 1), latency=10.0)
    with greenserve.listen(("far", 1)) as listener:
        connecting = greenserve.spawn(greenserve.connect, ("far", 1))
        connection, _ = listener.accept()
        connecting.kill()
        assert connection.recv(1) == b""


def test_closing_is_seen_and_heard(network: testing.Network) -> None:
    client, server = pair()
    client.sendall(b"last words")
    client.close()
    assert read_all(server) == b"last words"
    server.send(b"not read")  # which the server cannot know yet
    greenserve.sleep(0.1)
    with pytest.raises(BrokenPipeError):
        server.send(b"not read")


def test_closing_with_unread_bytes_resets(network: testing.Network) -> None:
    client, server = pair()
    client.sendall(b"unread")
    greenserve.sleep(0.1)
    server.close()
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_closing_wakes_who_waits_with_ebadf(network: testing.Network) -> None:
    client, server = pair()
    listener = greenserve.listen(("other", 1))
    waiting = [greenserve.spawn(server.recv, 1), greenserve.spawn(listener.accept)]
    greenserve.sleep(0)
    server.close()
    listener.close()
    for thread in waiting:
        thread.quiet = True
        with pytest.raises(OSError, match="Bad file descriptor") as caught:
            thread.wait()
        assert caught.value.errno == errno.EBADF
    client.close()


def test_a_second_reader_is_refused(network: testing.Network) -> None:
    _, server = pair()
    reader = greenserve.spawn(server.recv, 1)
    greenserve.sleep(0)
    with pytest.raises(AlreadyWaiting):
        server.recv(1)
    reader.kill()


def test_a_kill_of_a_reader_lets_another_read(network: testing.Network) -> None:
    client, server = pair()
    reader = greenserve.spawn(server.recv, 1)
    greenserve.sleep(0)
    reader.kill()
    client.send(b"x")
    assert server.recv(1) == b"x"


def test_half_closed_connections(network: testing.Network) -> None:
    client, server = pair()
    client.shutdown(1)
    assert server.recv(1) == b""
    server.sendall(b"still there")
    assert client.recv(100) == b"still there"
    with pytest.raises(BrokenPipeError):
        client.send(b"x")


def test_what_a_memory_socket_cannot_do_is_an_error(network: testing.Network) -> None:
    client, _ = pair()
    for call in (lambda: client.bind(SERVER), client.dup, lambda: client.sendmsg([b""], [(1, 1, b"")])):
        with pytest.raises(OSError, match="not supported"):
            call()
    assert client.sendmsg([b"ab", b"c"]) == 3
    assert client.sendfile(io.BytesIO(b"from a file")) == 11


def test_wrong_conditions_are_refused() -> None:
    with testing.virtual_time(), testing.network() as network:
        with pytest.raises(TypeError, match="no such conditions: lag; there are"):
            network.to(SERVER, lag=1)
        with pytest.raises(ValueError, match="pieces must be at least 1, not 0"):
            network.to(SERVER, pieces=0)
        with pytest.raises(RuntimeError, match="already"), testing.network():
            pass


def test_afterwards_the_systems_network_is_there_again() -> None:
    with testing.virtual_time(), testing.network():
        pass
    with testing.network():
        client, server = pair()
        client.send(b"x")
        assert server.recv(1) == b"x"  # in real time, too
    with greenserve.listen(("127.0.0.1", 0)) as listener:
        assert listener.fileno() >= 0


def conversation(seed: int) -> list[tuple[int, bytes]]:
    """The order of the answers, when all clients ask at once."""
    answers: list[tuple[int, bytes]] = []

    def ask(number: int) -> None:
        with greenserve.connect(SERVER) as client:
            client.sendall(b"%d" % number)
            client.shutdown(1)
            answers.append((number, read_all(client)))

    conditions = {"latency": 0.1, "jitter": 0.1, "pieces": 2}
    with (
        testing.virtual_time(seed),
        testing.network(seed, **conditions),
        greenserve.StreamServer(SERVER, echo),
    ):
        greenserve.joinall([greenserve.spawn(ask, number) for number in range(10, 20)])
    return answers


def test_a_seed_decides_and_decides_alike() -> None:
    orders = {seed: conversation(seed) for seed in range(20)}
    assert all(sorted(order) == [(n, b"%d" % n) for n in range(10, 20)] for order in orders.values())
    assert len({tuple(order) for order in orders.values()}) > 10
    assert orders == {seed: conversation(seed) for seed in range(20)}


def test_a_sendall_shortens_nobodys_timeout() -> None:
    with testing.virtual_time() as clock, testing.network(capacity=10):
        listener = greenserve.listen(("host", 80))
        client = greenserve.connect(("host", 80))
        server, _ = listener.accept()
        client.settimeout(10)
        sending = greenserve.spawn(client.sendall, bytes(1000))
        sending.quiet = True
        greenserve.sleep(9)
        server.recv(10)
        greenserve.sleep(0.5)
        assert client.gettimeout() == 10
        began = clock()
        with pytest.raises(TimeoutError):
            client.recv(1)
        assert clock() - began == 10
        with pytest.raises(TimeoutError):
            sending.wait()
        client.close()


def test_a_server_waits_for_a_nonblocking_listener_in_memory_too() -> None:
    with testing.virtual_time(), testing.network():
        listener = greenserve.listen(("host", 80))
        listener.setblocking(False)
        with greenserve.StreamServer(listener, lambda sock, _: sock.sendall(b"hello")):
            greenserve.sleep(1)
            with greenserve.connect(("host", 80)) as client:
                assert client.recv(10) == b"hello"
