"""Blocking calls on OS threads: who waits, who does not, how many threads there are."""

from __future__ import annotations

import contextvars
import os
import subprocess
import sys
import textwrap
import threading
import traceback
from pathlib import Path

import pytest

from greenserve.hub import Timeout, sleep, spawn, threadpool
from greenserve.hub.core.deadlock import bystanders
from greenserve.hub.core.hub import current_hub, running
from greenserve.hub.proxy import Proxy
from greenserve.hub.threadpool import ThreadPool
from tests.hub.support import run
from tests.waiting import until


@pytest.fixture
def pool():
    pool = ThreadPool(2, "testing", idle_seconds=60)
    yield pool
    pool.close()


class Gate:
    """A call that blocks its OS thread until it is opened."""

    def __init__(self):
        self.inside = threading.Semaphore(0)
        self._open = threading.Event()

    def __call__(self):
        self.inside.release()
        assert self._open.wait(30)
        return threading.get_ident()

    def open(self):
        self._open.set()


def test_the_call_is_made_in_an_os_thread(pool):
    assert pool.execute(threading.get_ident) != threading.get_ident()
    assert pool.execute(divmod, 7, 3) == (2, 1)


def test_only_the_caller_waits(pool):
    gate = Gate()
    caller = spawn(pool.execute, gate)
    until(lambda: gate.inside.acquire(False))
    assert not caller.dead
    gate.open()
    assert caller.wait()


def test_an_exception_arrives_with_its_traceback(pool):
    def failing():
        raise KeyError("here")

    with pytest.raises(KeyError, match="here") as caught:
        pool.execute(failing)
    assert "in failing" in "".join(traceback.format_exception(caught.value))


def test_there_are_no_more_threads_than_allowed(pool):
    gates = [Gate() for _ in range(5)]
    callers = [spawn(pool.execute, gate) for gate in gates]
    until(lambda: pool.outstanding == 5)
    assert pool.threads == 2
    for gate in gates:
        gate.open()
    assert len({caller.wait() for caller in callers}) <= 2


def test_a_pool_makes_a_thread_only_when_none_is_free(pool):
    for _ in range(5):
        pool.execute(int)
        until(lambda: pool.outstanding == 0)
    assert pool.threads == 1


def test_idle_threads_end():
    pool = ThreadPool(4, "brief", idle_seconds=0.01)
    pool.execute(int)
    until(lambda: pool.threads == 0)
    assert pool.execute(int) == 0
    until(lambda: pool.threads == 0)


def test_closing_ends_idle_threads_and_a_later_call_works(pool):
    pool.execute(int)
    until(lambda: pool.outstanding == 0)
    pool.close()
    until(lambda: pool.threads == 0)
    assert pool.execute(int) == 0


def test_resizing_ends_threads_and_allows_others(pool):
    gates = [Gate() for _ in range(3)]
    pool.resize(3)
    callers = [spawn(pool.execute, gate) for gate in gates]
    until(lambda: pool.threads == 3)
    pool.resize(1)
    for gate, caller in zip(gates, callers, strict=True):
        gate.open()
        caller.wait()
    pool.execute(int)
    until(lambda: pool.threads == 1)
    with pytest.raises(ValueError, match="at least one"):
        pool.resize(0)
    with pytest.raises(ValueError, match="at least one"):
        ThreadPool(0)


def test_a_killed_caller_leaves_at_once_and_the_pool_goes_on(pool):
    gate = Gate()
    caller = spawn(pool.execute, gate)
    until(lambda: gate.inside.acquire(False))
    caller.kill()
    assert caller.dead
    gate.open()
    assert pool.execute(int) == 0


def test_a_timed_out_caller_leaves_at_once(pool):
    gate = Gate()
    with pytest.raises(Timeout), Timeout(0.01):
        pool.execute(gate)
    gate.open()


def test_a_call_that_nobody_waits_for_any_more_is_not_begun():
    pool = ThreadPool(1, "single")
    gate, called = Gate(), []
    first = spawn(pool.execute, gate)
    second = spawn(pool.execute, called.append, 1)
    until(lambda: pool.outstanding == 2)
    second.kill()
    gate.open()
    first.wait()
    pool.execute(int)
    assert not called
    pool.close()


def test_many_may_wait_for_one_submitted_call(pool):
    gate = Gate()
    call = pool.submit(gate)
    waiters = [spawn(call.wait) for _ in range(3)]
    sleep(0)
    gate.open()
    assert len({waiter.wait() for waiter in waiters}) == 1
    assert call.done
    assert call.wait() == waiters[0].wait()


def test_waiting_for_a_call_has_a_deadline(pool):
    gate = Gate()
    call = pool.submit(gate)
    with pytest.raises(TimeoutError):
        call.wait(0.0)
    gate.open()
    call.wait()


def test_the_call_sees_the_callers_context(pool):
    variable = contextvars.ContextVar("variable")
    variable.set("mine")
    assert pool.execute(variable.get) == "mine"


def test_the_threads_have_names(pool):
    if sys.platform == "linux":
        assert pool.execute(lambda: Path("/proc/thread-self/comm").read_text()).startswith("testing-")


def test_another_os_thread_uses_the_same_pool(pool):
    found = []
    other = threading.Thread(target=lambda: found.append(pool.execute(int)))
    other.start()
    other.join()
    assert found == [0]


def test_idle_threads_count_as_bystanders(pool):
    pool.execute(int)
    until(lambda: pool.outstanding == 0 and bystanders.count >= pool.threads)
    idle = bystanders.count  # those of other tests' pools among them, which end one by one
    gate = Gate()
    caller = spawn(pool.execute, gate)
    until(lambda: gate.inside.acquire(False))
    assert bystanders.count < idle
    gate.open()
    caller.wait()


def test_a_forked_child_has_a_fresh_pool(pool):
    pool.execute(int)
    child = os.fork()
    if child == 0:
        os._exit(0 if pool.threads == 0 and pool.execute(lambda: 5) == 5 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_default_pool_is_one():
    assert threadpool.default_pool() is threadpool.default_pool()
    assert threadpool.execute(int) == 0


def test_the_interpreters_exit_waits_for_no_call():
    program = """
        import time
        real_sleep = time.sleep
        from greenserve.hub import spawn, sleep
        from greenserve.hub.threadpool import execute
        spawn(execute, real_sleep, 1000)
        sleep(0.02)
        print("over")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], timeout=20, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "over\n", "")


class Database:
    """An object whose methods block."""

    rows = 3

    def where(self):
        return threading.get_ident()

    def itself(self):
        return self

    def cursor(self):
        return Cursor()

    def __call__(self):
        return threading.get_ident()

    def __enter__(self):
        self.entered = threading.get_ident()
        return self

    def __exit__(self, *error):
        self.left = error[0]

    def __iter__(self):
        yield threading.get_ident()

    def __len__(self):
        return 3

    def __getitem__(self, key):
        return key, threading.get_ident()


class Cursor:
    def where(self):
        return threading.get_ident()

    def __iter__(self):
        return self

    def __next__(self):
        raise StopIteration


def test_a_proxy_calls_methods_in_the_pool(pool):
    database = Database()
    proxy = Proxy(database, pool, wrap=(Cursor,))
    here = threading.get_ident()
    assert proxy.where() != here
    assert proxy() != here
    assert proxy.itself() is proxy
    assert proxy.cursor().where() != here
    assert next(iter(proxy)) != here
    assert proxy["key"][0] == "key"
    assert proxy["key"][1] != here
    assert list(proxy.cursor()) == []
    assert len(proxy) == proxy.rows == 3
    assert proxy == database
    assert hash(proxy) == hash(database)
    assert repr(database) in repr(proxy)
    proxy.rows = 4
    assert database.rows == 4
    with proxy as entered:
        assert entered is proxy
        assert database.entered != here
    assert database.left is None
    with pytest.raises(ZeroDivisionError), proxy:
        raise ZeroDivisionError
    assert database.left is ZeroDivisionError
    with pytest.raises(StopIteration):
        next(proxy.cursor())


def refuse(*_):
    raise RuntimeError("can't start new thread")


def test_a_call_whose_thread_could_not_start_is_not_made_later(monkeypatch):
    pool, calls = ThreadPool(4), []
    with monkeypatch.context() as patched:
        patched.setattr(threadpool, "start_new_thread", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            pool.execute(calls.append, "refused")
        with pytest.raises(RuntimeError, match="can't start new thread"):
            pool.submit(calls.append, "refused")
        assert (pool.threads, pool.outstanding) == (0, 0)
    pool.execute(calls.append, "made")
    assert calls == ["made"]


def test_the_threads_that_there_are_do_what_no_other_could_be_started_for(pool, monkeypatch):
    started, go_on = threading.Event(), threading.Event()
    first = spawn(pool.execute, lambda: (started.set(), go_on.wait()))
    sleep()
    while not started.is_set():
        sleep(0.001)
    monkeypatch.setattr(threadpool, "start_new_thread", refuse)
    second = pool.submit(len, "four")
    go_on.set()
    assert second.wait() == 4
    first.wait()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_is_told_that_a_call_is_its_parents(pool):
    done = run(
        """
        import os, threading, warnings
        warnings.simplefilter("ignore")
        from greenserve.errors import HubError
        from greenserve.hub.threadpool import ThreadPool
        go_on = threading.Event()
        call = ThreadPool(1).submit(go_on.wait)
        assert call.under_way and not call.lost
        if os.fork() == 0:
            assert call.lost and not call.under_way
            try:
                call.wait()
            except HubError as error:
                os.write(1, str(error).encode())
            os._exit(0)
        os.wait()
        go_on.set()
        call.wait()
        assert not call.lost and not call.under_way
        """
    )
    assert "make it once more" in done.stdout


def test_a_hub_that_never_sleeps_lets_os_threads_have_the_interpreter():
    """Given up for the time of a system call only, its lock is taken again before another OS thread has woken up."""
    hub, me = current_hub(), running()
    call = ThreadPool(1).submit(sorted, range(1000))
    polls = []
    wait, hub.io.poller.wait = hub.io.poller.wait, lambda timeout: polls.append(timeout) or wait(timeout)
    try:
        while not call._done and len(polls) < 1000:
            hub.give_way(me)
    finally:
        del hub.io.poller.wait
    assert call._done
