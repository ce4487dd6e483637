"""Names and addresses: who waits for a lookup, and which questions are none."""

from __future__ import annotations

import socket as real_socket
import threading

import pytest

from greenserve.green import socket
from greenserve.hub import resolver, sleep, spawn
from greenserve.hub.threadpool import ThreadPool
from tests.hub.support import run


@pytest.fixture
def clock():
    return [100.0]


@pytest.fixture
def lookups(clock):
    pool = ThreadPool(2, "lookups")
    yield resolver.Lookups(pool, clock=lambda: clock[0])
    pool.close()


class Resolver:
    """Counts its lookups; each waits until it is allowed to end."""

    def __init__(self, error=None):
        self.calls = 0
        self.allowed = threading.Semaphore(0)
        self.error = error

    def __call__(self, name):
        self.calls += 1
        assert self.allowed.acquire(timeout=30)
        if self.error is not None:
            raise self.error
        return f"{name}:{self.calls}"


def test_a_numeric_address_needs_no_lookup(monkeypatch):
    monkeypatch.setattr(resolver, "_lookups", None)
    assert resolver.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)[0][4] == ("127.0.0.1", 80)
    assert resolver.getaddrinfo("::1", 80)[0][0] == socket.AF_INET6
    assert resolver.getaddrinfo(None, 80)
    assert resolver.gethostbyname("127.0.0.1") == "127.0.0.1"
    assert resolver.gethostbyname_ex("127.0.0.1")[2] == ["127.0.0.1"]
    flags = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    assert resolver.getnameinfo(("127.0.0.1", 80), flags) == ("127.0.0.1", "80")
    assert resolver.resolved(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 1)) == ("127.0.0.1", 1)
    assert resolver.resolved(socket.AF_INET6, socket.SOCK_STREAM, ("fe80::1%lo", 1, 0, 2))[0] == "fe80::1%lo"


def test_the_hosts_file_counts():
    assert socket.gethostbyname("localhost") == "127.0.0.1"
    assert {answer[4][0] for answer in socket.getaddrinfo("localhost", 80)} <= {"127.0.0.1", "::1"}
    assert socket.gethostbyaddr("127.0.0.1")[2] == ["127.0.0.1"]
    assert socket.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICSERV)[1] == "80"


def test_an_error_is_the_real_one():
    with pytest.raises(real_socket.gaierror):
        socket.getaddrinfo("127.0.0.1", "no such service")
    with pytest.raises(real_socket.gaierror):
        socket.getaddrinfo("name", 80, flags=socket.AI_NUMERICHOST)


def test_a_slow_lookup_blocks_nobody(lookups):
    libc = Resolver()
    asking = spawn(lookups.ask, libc, "slow")
    sleep(0)
    assert not asking.dead
    libc.allowed.release()
    assert asking.wait() == "slow:1"


def test_equal_questions_at_one_time_are_one_lookup(lookups):
    libc = Resolver()
    asking = [spawn(lookups.ask, libc, "name") for _ in range(5)]
    sleep(0)
    libc.allowed.release()
    assert {asker.wait() for asker in asking} == {"name:1"}


def test_an_answer_serves_for_some_seconds_and_no_longer(lookups, clock):
    libc = Resolver()
    for _ in range(2):
        libc.allowed.release()
    assert lookups.ask(libc, "name") == "name:1"
    assert lookups.ask(libc, "name") == "name:1"
    clock[0] += resolver.CACHE_SECONDS
    assert lookups.ask(libc, "name") == "name:2"


def test_an_error_is_not_kept(lookups):
    libc = Resolver(real_socket.gaierror(-3, "try again"))
    for _ in range(2):
        libc.allowed.release()
        with pytest.raises(real_socket.gaierror, match="try again"):
            lookups.ask(libc, "name")
    assert libc.calls == 2


def test_the_answers_are_bounded(lookups, monkeypatch):
    monkeypatch.setattr(resolver, "CACHE_ENTRIES", 4)
    for number in range(20):
        lookups.ask(str, number)
    assert len(lookups._calls) <= 4


def test_an_answer_is_the_askers_own():
    first = socket.getaddrinfo("localhost", 80)
    first.clear()
    assert socket.getaddrinfo("localhost", 80)


def test_a_forked_child_looks_up_for_itself_what_its_parent_was_looking_up():
    done = run(
        """
        import os, threading, warnings
        warnings.simplefilter("ignore")
        import greenserve
        from greenserve.green import socket
        from greenserve.hub import resolver
        asked, go_on, real = threading.Event(), threading.Event(), resolver._getaddrinfo
        parent = os.getpid()
        def slow(host, *args):
            if args[-1] & socket.AI_NUMERICHOST:
                raise socket.gaierror("not a number")
            if os.getpid() == parent:
                asked.set()
                go_on.wait()
            return real("127.0.0.1", *args)
        resolver._getaddrinfo = slow
        thread = greenserve.spawn(socket.getaddrinfo, "a.name", 80)
        while not asked.is_set():
            greenserve.sleep(0.001)
        child = os.fork()
        if child == 0:
            assert socket.getaddrinfo("a.name", 80)[0][4] == ("127.0.0.1", 80)
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        go_on.set()
        assert thread.wait()[0][4] == ("127.0.0.1", 80)
        """
    )
    assert done.stderr == ""
