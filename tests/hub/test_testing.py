"""greenserve.testing: virtual time, and orders that come from a seed."""

from __future__ import annotations

import os
import threading
import time

import pytest

from greenserve.errors import HubError
from greenserve.hub import Event, Timeout, current_hub, sleep, spawn
from greenserve.testing import virtual_time
from tests.hub.support import run


def test_sleeps_take_virtual_time_and_no_real_time():
    before = time.monotonic()
    with virtual_time(start=100.0) as clock:
        assert clock() == 100
        threads = [spawn(sleep, n * 3600) for n in range(10)]
        sleep(1800)
        assert clock() == 1900
        for thread in threads:
            thread.wait()
        assert clock() == 100 + 9 * 3600
    assert time.monotonic() - before < 10


def test_time_stands_still_while_somebody_can_run():
    with virtual_time() as clock:
        for _ in range(100):
            sleep()
        assert clock() == 0


def test_advancing_the_clock_makes_what_is_due_fire():
    with virtual_time() as clock:
        thread = spawn(sleep, 10)
        sleep()
        clock.advance(10)
        sleep()
        sleep()
        assert thread.dead
        assert clock() == 10
        with pytest.raises(ValueError, match="back"):
            clock.advance(-1)


def test_timeouts_fire_in_virtual_time():
    with virtual_time() as clock:
        with pytest.raises(Timeout), Timeout(86400 * 365):
            Event().wait()
        assert clock() == 86400 * 365


def order(seed):
    log = []
    with virtual_time(seed):

        def work(name):
            for n in range(3):
                log.append((name, n))
                sleep()

        for thread in [spawn(work, name) for name in range(5)]:
            thread.wait()
    return log


def test_without_a_seed_the_order_is_that_of_getting_ready():
    assert order(None) == [(name, n) for n in range(3) for name in range(5)]


def test_a_seed_decides_the_order_and_decides_it_again():
    orders = {seed: order(seed) for seed in range(20)}
    assert len({tuple(log) for log in orders.values()}) > 15
    for seed, log in orders.items():
        assert order(seed) == log
        assert sorted(log) == sorted(orders[0])


def test_in_any_order_nobody_runs_twice_before_the_others_have_run():
    for seed in range(20):
        log = order(seed)
        for n in range(3):
            assert {name for name, _ in log[n * 5 : n * 5 + 5]} == set(range(5))


def test_the_hub_of_before_and_its_threads_go_on_afterwards(hub):
    log = []

    def work():
        log.append("before")
        sleep()
        log.append("after")

    thread = spawn(work)
    sleep()
    with virtual_time() as clock:
        inner = current_hub()
        assert inner is not hub
        sleep(10)
        with virtual_time():
            sleep(5)
        assert current_hub() is inner
        assert clock() == 10
        assert log == ["before"]
    assert current_hub() is hub
    thread.wait()
    assert log == ["before", "after"]


def test_what_still_runs_at_the_end_is_killed():
    log = []

    def work():
        try:
            sleep(1000)
        finally:
            log.append("ended")

    with virtual_time() as clock:
        spawn(work)
        sleep()
    assert log == ["ended"]
    assert clock() == 0


def test_it_is_refused_in_a_green_thread(hub):
    def work():
        with pytest.raises(HubError, match="main"), virtual_time():
            pass

    spawn(work).wait()


def test_a_deadlock_is_found_in_virtual_time_too():
    run(
        """
        from greenserve.errors import Deadlock
        from greenserve.hub import Event
        from greenserve.testing import virtual_time

        try:
            with virtual_time():
                Event().wait()
        except Deadlock as error:
            assert "line 8" in str(error), error
        else:
            raise SystemExit("it was not found")
        """
    )


def test_descriptors_are_real():
    read, write = os.pipe()
    try:
        with virtual_time() as clock:
            spawn(os.write, write, b"x")
            current_hub().wait_readable(read, clock() + 1000)
            assert os.read(read, 1) == b"x"
            assert clock() == 0
            with pytest.raises(TimeoutError):
                current_hub().wait_readable(read, clock() + 1000)
            assert clock() == 1000
    finally:
        os.close(read)
        os.close(write)


def test_an_os_thread_can_have_virtual_time_of_its_own():
    times = []

    def work():
        with virtual_time() as clock:
            sleep(50)
            times.append(clock())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert times == [50]


def test_a_thread_that_had_no_hub_before_gets_one_of_its_own_afterwards():
    done = run("""
        from greenserve import sleep, spawn
        from greenserve.testing import virtual_time
        with virtual_time():
            sleep(10)
        assert spawn(lambda: sleep(0.01) or 5).wait() == 5
        with virtual_time(start=3.0) as clock:
            sleep(1)
            assert clock() == 4.0
        sleep(0.01)
    """)
    assert (done.returncode, done.stderr) == (0, "")
