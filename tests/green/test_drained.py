"""A reader that had to wait, and then took all that there was, waits again without another look: none is forgotten."""

from __future__ import annotations

import os
import socket as real_socket
import sys
import threading
from collections.abc import Iterator

import pytest

from greenserve.green import socket
from greenserve.hub import current_hub, sleep, spawn
from greenserve.hub.core.poller import Poller

Pair = tuple[socket.socket, real_socket.socket]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a green socket always looks first")


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A green socket and its peer, a real one, over TCP."""
    with real_socket.create_server(("127.0.0.1", 0)) as listener:
        peer = real_socket.create_connection(listener.getsockname())
        accepted = listener.accept()[0]
    peer.setsockopt(real_socket.IPPROTO_TCP, real_socket.TCP_NODELAY, 1)
    with peer, socket.socket(fileno=accepted.detach()) as sock:
        yield sock, peer


def drain(sock: socket.socket, peer: real_socket.socket) -> None:
    """Have `sock` wait, and then take all that there is."""
    reader = spawn(sock.recv, 100)
    sleep(0)
    peer.sendall(b"first")
    assert reader.wait() == b"first"
    assert sock._descriptor is not None
    assert sock._descriptor.drained


def until_told(sock: socket.socket) -> None:
    """Let the hub be told that something has come, while nothing waits for it."""
    assert sock._descriptor is not None
    while sock._descriptor.drained:
        sleep(0.001)


def test_a_reader_that_waits_in_turn_with_its_peer_asks_once_for_each_message(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
):
    sock, peer = pair
    asked = []
    original = socket._recv

    def recv(*args: object) -> bytes:
        asked.append(args)
        return original(*args)

    drain(sock, peer)
    monkeypatch.setattr(socket, "_recv", recv)
    for number in range(3):
        reader = spawn(sock.recv, 100)
        sleep(0)
        peer.sendall(b"%d" % number)
        assert reader.wait() == b"%d" % number
    assert len(asked) == 3


def test_what_has_come_meanwhile_is_read_whether_or_not_the_hub_was_told(pair: Pair):
    sock, peer = pair
    drain(sock, peer)
    peer.sendall(b"told")
    until_told(sock)
    assert sock.recv(100) == b"told"
    drain(sock, peer)
    peer.sendall(b"not told")
    assert sock.recv(100) == b"not told"


def test_a_read_that_is_full_is_followed_by_another(pair: Pair):
    sock, peer = pair
    reader = spawn(sock.recv, 4)
    sleep(0)
    peer.sendall(b"abcdef")
    assert reader.wait() == b"abcd"
    assert sock.recv(4) == b"ef"


@pytest.mark.parametrize("told", [True, False])
def test_the_end_is_read(pair: Pair, told: bool):
    sock, peer = pair
    drain(sock, peer)
    peer.shutdown(real_socket.SHUT_WR)
    if told:
        until_told(sock)
    assert [sock.recv(100), sock.recv(100)] == [b"", b""]


def test_bytes_behind_an_urgent_one_are_read(pair: Pair):
    """A read ends where an urgent byte was, and so may leave something of which no event will tell."""
    sock, peer = pair
    reader = spawn(sock.recv, 100)
    sleep(0)
    peer.sendall(b"before")
    peer.send(b"!", real_socket.MSG_OOB)
    peer.sendall(b"behind")
    assert reader.wait() == b"before"
    assert sock.recv(100) == b"behind"


def test_a_unix_sockets_read_ends_where_a_descriptor_was_sent():
    sock, peer = socket.socketpair()
    with sock, peer, open(os.devnull) as file:
        reader = spawn(sock.recv, 100)
        sleep(0)
        real_socket.send_fds(peer, [b"with a descriptor"], [file.fileno()])
        peer.sendall(b"behind")
        assert reader.wait() == b"with a descriptor"
        assert sock.recv(100) == b"behind"


def test_a_call_that_may_not_wait_does_not(pair: Pair):
    sock, peer = pair
    drain(sock, peer)
    assert sock.recv(0) == b""
    with pytest.raises(BlockingIOError):
        sock.recv(100, real_socket.MSG_DONTWAIT)
    with pytest.raises(BlockingIOError):
        sock.recv_into(bytearray(100), 0, real_socket.MSG_DONTWAIT)
    sock.settimeout(0)
    with pytest.raises(BlockingIOError):
        sock.recv(100)
    sock.settimeout(0.01)
    with pytest.raises(TimeoutError):
        sock.recv(100)


def test_a_look_at_what_has_come_drains_nothing(pair: Pair):
    sock, peer = pair
    reader = spawn(sock.recv, 100, real_socket.MSG_PEEK)
    sleep(0)
    peer.sendall(b"data")
    assert reader.wait() == b"data"
    assert sock.recv(100) == b"data"


def test_the_readers_of_a_file_do_so_too(pair: Pair, monkeypatch: pytest.MonkeyPatch):
    sock, peer = pair
    asked = []
    original = socket._recv_into

    def recv_into(*args: object) -> int:
        asked.append(args)
        return original(*args)

    monkeypatch.setattr(socket, "_recv_into", recv_into)
    with sock.makefile("rb") as file:
        for number in range(3):
            reader = spawn(file.readline)
            sleep(0)
            peer.sendall(b"%d\n" % number)
            assert reader.wait() == b"%d\n" % number
    assert len(asked) == 4  # the first time it had to be found out


def test_a_green_thread_of_another_os_thread_looks_first(pair: Pair):
    """Its hub may have been told already of what the first one's has yet to learn."""
    sock, peer = pair
    turn = [threading.Event() for _ in range(3)]
    got = []

    def elsewhere() -> None:
        drain(sock, peer)
        mine = sock._descriptor
        assert mine is not None
        turn[0].set()
        turn[1].wait()
        while mine.drained:
            sleep(0.001)
        got.append(sock.recv(100))
        current_hub().close()

    thread = threading.Thread(target=elsewhere)
    thread.start()
    turn[0].wait()
    drain(sock, peer)
    peer.sendall(b"to the other")
    turn[1].set()
    thread.join(10)
    assert got == [b"to the other"]


def test_an_error_that_loses_what_the_poller_has_reported_is_followed_by_a_look(pair: Pair):
    class Hit(BaseException):
        """What a signal handler raises."""

    sock, peer = pair
    poller: Poller = current_hub().io.poller
    original = poller.wait

    def wait(timeout: float | None) -> list[tuple[int, int]]:
        if original(timeout):
            poller.wait = original  # type: ignore[method-assign]  # as below
            raise Hit
        return []

    drain(sock, peer)
    poller.wait = wait  # type: ignore[method-assign]  # as a signal handler between two instructions would
    peer.sendall(b"data")
    with pytest.raises(Hit):
        sleep(5)
    assert sock.recv(100) == b"data"
