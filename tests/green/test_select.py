"""Green select, poll, epoll and selectors: they park, and they name everything that is ready."""

from __future__ import annotations

import fcntl
import os
import resource
import tempfile

import pytest

from greenserve.green import select, selectors, socket
from greenserve.hub import sleep, spawn


@pytest.fixture
def pairs():
    made = [socket.socketpair() for _ in range(3)]
    yield made
    for pair in made:
        for sock in pair:
            sock.close()


def test_select_names_every_ready_descriptor(pairs):
    for _, right in pairs:
        right.send(b"x")
    lefts = [left for left, _ in pairs]
    assert select.select(lefts, lefts, [], 5) == (lefts, lefts, [])


def test_select_waits_while_others_run(pairs):
    left, right = pairs[0]
    selecting = spawn(select.select, [left, pairs[1][0]], [], [])
    sleep(0)
    assert not selecting.dead
    right.send(b"x")
    assert selecting.wait() == ([left], [], [])


def test_select_is_level_triggered(pairs):
    left, right = pairs[0]
    right.send(b"x")
    for _ in range(2):
        assert select.select([left], [], [], 5)[0] == [left]


def test_select_times_out(pairs):
    assert select.select([pairs[0][0]], [], [], 0.01) == ([], [], [])
    assert select.select([], [], [], 0.01) == ([], [], [])


def test_select_refuses_a_negative_timeout():
    with pytest.raises(ValueError, match="non-negative"):
        select.select([], [], [], -1)


def test_select_works_while_another_green_thread_reads_the_same_socket(pairs):
    left, right = pairs[0]
    reader = spawn(left.recv, 1)
    selecting = spawn(select.select, [left], [], [])
    sleep(0)
    right.send(b"x")
    assert reader.wait() == b"x"
    selecting.kill()


def test_a_regular_file_is_always_ready():
    with tempfile.TemporaryFile() as file:
        assert select.select([file], [file], [], 5) == ([file], [file], [])


def test_a_bad_descriptor_raises():
    closed, other = os.pipe()
    os.close(closed)
    os.close(other)
    with pytest.raises(OSError):
        select.select([closed], [], [], 0)


def test_poll(pairs):
    left, right = pairs[0]
    poller = select.poll()
    poller.register(left, select.POLLIN)
    assert poller.poll(1) == []
    waiting = spawn(poller.poll)
    sleep(0)
    right.send(b"x")
    assert waiting.wait() == [(left.fileno(), select.POLLIN)]
    poller.modify(left, select.POLLIN | select.POLLOUT)
    assert poller.poll() == [(left.fileno(), select.POLLIN | select.POLLOUT)]
    poller.unregister(left)
    with pytest.raises(KeyError):
        poller.unregister(left)
    with pytest.raises(TypeError):
        poller.poll("soon")


def test_epoll(pairs):
    left, right = pairs[0]
    with select.epoll() as poller:
        poller.register(left, select.EPOLLIN)
        assert poller.poll(0.001) == []
        for _ in range(2):
            waiting = spawn(poller.poll)
            sleep(0)
            right.send(b"x")
            assert waiting.wait() == [(left.fileno(), select.EPOLLIN)]
            left.recv(1)
    assert poller.closed


def test_closing_an_epoll_wakes_its_waiter(pairs):
    poller = select.epoll()
    waiting = spawn(poller.poll)
    sleep(0)
    poller.close()
    with pytest.raises(OSError):
        waiting.wait()


@pytest.mark.parametrize("name", ["SelectSelector", "PollSelector", "EpollSelector", "DefaultSelector"])
def test_selectors(pairs, name):
    with getattr(selectors, name)() as selector:
        for left, _ in pairs:
            selector.register(left, selectors.EVENT_READ, "data")
        assert selector.select(0.001) == []
        selecting = spawn(selector.select)
        sleep(0)
        for _, right in pairs:
            right.send(b"x")
        assert selecting.wait()
        assert len(selector.select(5)) == 3


def test_without_epoll_an_os_thread_waits(pairs, monkeypatch):
    monkeypatch.setattr(select, "_epoll", None)
    left, right = pairs[0]
    selecting = spawn(select.select, [left], [], [])
    sleep(0.001)
    right.send(b"x")
    assert selecting.wait() == ([left], [], [])
    assert select.select([pairs[1][0]], [], [], 0.01) == ([], [], [])


def test_select_takes_descriptors_above_1023():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 1100:
        pytest.skip(f"this system allows {hard} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1100), hard))
    pairs = [socket.socketpair() for _ in range(2)]
    high = []
    try:
        for number, sock in enumerate([sock for pair in pairs for sock in pair]):
            high.append(fcntl.fcntl(sock, fcntl.F_DUPFD_CLOEXEC, 1030 + number))
        a, b, c, d = high
        os.close(pairs[1][1].detach())
        assert select.select([a, c], [], [], 0) == ([], [], [])
        assert select.select([a], [a, 1030], [a], 0) == ([], [a, 1030], [])
        spawn(os.write, b, b"x")
        assert select.select([a, pairs[0][0], c], [], [c], 30) == ([a, pairs[0][0]], [], [])
        assert select.select([a], [b], []) == ([a], [b], [])
        os.close(d)
        high.remove(d)
        assert select.select([c], [c], []) == ([c], [c], [])  # hung up: reading gives the end, writing an error
        with pytest.raises(OSError, match="Bad file descriptor"):
            select.select([a, 1099], [], [])
        with pytest.raises(ValueError, match="descriptor"):
            select.select([a, -1], [], [])
        with pytest.raises(TypeError):
            select.select([a, "descriptor"], [], [])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in high:
            os.close(fd)
        for sock in [sock for pair in pairs for sock in pair]:
            sock.close()


@pytest.mark.parametrize("close", [lambda sock: sock.close(), lambda sock: os.close(sock.detach())])
def test_what_is_closed_while_select_waits_is_never_ready_and_the_others_are(close):
    """As in the kernel, which has looked up the descriptors at the beginning."""
    datagrams = (socket.AF_INET, socket.SOCK_DGRAM)
    with socket.socket(*datagrams) as closed, socket.socket(*datagrams) as idle:
        waiting = spawn(select.select, [closed, idle], [], [], 0.05)
        sleep(0)
        close(closed)
        assert waiting.wait() == ([], [], [])
    left, right = socket.socketpair()
    with left, right, socket.socket(*datagrams) as closed:
        waiting = spawn(select.select, [closed, left, left], [], [closed], 30)
        sleep(0)
        close(closed)
        right.send(b"x")
        assert waiting.wait() == ([left, left], [], [])
