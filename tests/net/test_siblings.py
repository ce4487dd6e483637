"""The way between two workers, in one hub: messages, descriptors, a worker that has gone, one that does not read."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

import greenserve
from greenserve.hub.core.hub import Hub
from greenserve.net import siblings
from greenserve.net.siblings import INLINE, Siblings
from tests.waiting import until

pytestmark = pytest.mark.skipif(not siblings.is_possible(), reason="abstract addresses of sockets are Linux's")


class Worker:
    """One, and what it has heard."""

    def __init__(self, hub: Hub, secret: bytes, index: int) -> None:
        self.heard: list[tuple[socket.socket, bytes]] = []
        self.siblings = Siblings(hub, secret, index, lambda *found: self.heard.append(found))

    def close(self) -> None:
        self.siblings.close()
        for sock, _ in self.heard:
            sock.close()


@pytest.fixture
def workers(hub: Hub) -> Iterator[list[Worker]]:
    secret = os.urandom(32)
    with closing(Worker(hub, secret, 1)) as first, closing(Worker(hub, secret, 2)) as second:
        yield [first, second]


@pytest.mark.parametrize("size", [0, 1, INLINE, INLINE + 1, 1 << 20])
def test_a_message_comes_whole_and_its_descriptor_with_it(workers: list[Worker], size: int) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        message = os.urandom(size) + b"."
        with theirs:
            workers[0].siblings.send(2, message, theirs.fileno())
        until(lambda: workers[1].heard)
        sock, came = workers[1].heard[0]
        assert came == message
        sock.send(b"hello")
        assert ours.recv(10) == b"hello"


def test_nobody_listens_in_a_free_slot(workers: list[Worker]) -> None:
    with pytest.raises(OSError, match="refused"):
        workers[0].siblings.send(7, b"x", 0)


def test_the_next_worker_of_a_slot_is_reached(hub: Hub, workers: list[Worker]) -> None:
    workers[0].siblings.send_end(2, b"one").close()
    until(lambda: workers[1].heard)
    workers[1].siblings.close()
    with closing(Worker(hub, workers[0].siblings._secret, 2)) as successor:
        workers[0].siblings.send_end(2, b"two").close()
        until(lambda: successor.heard)
        assert [message for _, message in successor.heard] == [b"two"]
    assert [message for _, message in workers[1].heard] == [b"one"]


def test_what_was_sent_is_heard_before_the_end(workers: list[Worker]) -> None:
    workers[0].siblings.send_end(2, b"last").close()
    workers[1].siblings.hear_rest()
    assert [message for _, message in workers[1].heard] == [b"last"]


def test_a_worker_that_does_not_read_holds_up_its_senders_in_order_and_not_for_ever(
    hub: Hub, workers: list[Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # a listener that accepts nothing
    with silent:
        silent.bind(workers[0].siblings._address(3))
        silent.listen(5)
        monkeypatch.setattr(siblings, "SEND_SECONDS", 0.05)
        send = workers[0].siblings.send

        def fill() -> None:
            while True:
                send(3, b"x" * INLINE, 0)

        with pytest.raises(TimeoutError):
            fill()
        monkeypatch.setattr(siblings, "SEND_SECONDS", 20.0)
        threads = [greenserve.spawn(send, 3, b"%d" % number + b"x" * 9999, 0) for number in range(3)]
        greenserve.sleep(0)
        peer, _ = silent.accept()
        with peer:
            peer.setblocking(False)
            heard: list[bytes] = []

            def all_heard() -> bool:
                try:
                    while True:
                        data, fds, _, _ = socket.recv_fds(peer, INLINE, 2)
                        heard.append(data[:1])
                        for fd in fds:
                            os.close(fd)
                except BlockingIOError:
                    return all(thread.dead for thread in threads) and heard[-1] == b"2"

            until(all_heard)
            assert heard[-3:] == [b"0", b"1", b"2"]


def test_another_users_process_is_not_heard(workers: list[Worker], monkeypatch: pytest.MonkeyPatch) -> None:
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
        stranger.connect(workers[1].siblings._address(2))
        socket.send_fds(stranger, [b"{}"], [0])
        stranger.setblocking(False)

        def closed() -> bool:
            try:
                return not stranger.recv(1)
            except ConnectionResetError:
                return True
            except BlockingIOError:
                return False

        until(closed)
    assert workers[1].heard == []
