"""dump, dump_on_signal, watch_blocking."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time

import pytest

from greenserve.hub import debug, sleep, spawn
from greenserve.hub.core import deadlock
from greenserve.hub.core.hub import Hub, current_hub, running
from tests.hub.support import run


def parked_here() -> None:
    sleep(1000)


def test_dump_names_every_green_thread_with_its_stack(hub: Hub):
    spawn(parked_here).name = "the parked one"
    sleep(0)
    text = spawn(debug.dump).wait()
    assert "the parked one" in text
    assert "in parked_here" in text
    assert "in test_dump_names_every_green_thread_with_its_stack" in text
    assert "in dump" in text
    assert text.count("the parked one") == 1


def test_dump_from_the_hubs_own_greenlet(hub: Hub):
    texts: list[str] = []
    hub.call_soon(lambda: texts.append(debug.dump()))
    sleep(0)
    assert "the hub itself runs" in texts[0]


def test_dump_shows_the_hubs_of_other_os_threads(hub: Hub):
    ready, end = threading.Event(), threading.Event()

    def work() -> None:
        spawn(parked_here)
        sleep(0)
        ready.set()
        end.wait()

    thread = threading.Thread(target=work)
    thread.start()
    ready.wait()
    file = io.StringIO()
    text = debug.dump(file)
    end.set()
    thread.join()
    assert file.getvalue() == text
    assert text.count("hub of OS thread") >= 2
    assert "in parked_here" in text


def test_dump_on_a_signal_and_it_gives_no_hope_in_a_deadlock():
    done = run(
        """
        import os, signal
        from greenserve.errors import Deadlock
        from greenserve.hub import debug, running, sleep, spawn
        debug.dump_on_signal()
        def parked():
            sleep(1000)
        thread = spawn(parked)
        sleep(0)
        os.kill(os.getpid(), signal.SIGUSR1)
        thread.kill()
        me = running()
        watcher = debug.watch_blocking(10)
        try:
            me.hub.park(me, [me])
        except Deadlock:
            print("deadlock")
        """
    )
    assert done.stdout == "deadlock\n"
    assert "in parked" in done.stderr


def test_a_hub_that_is_blocked_longer_than_the_limit_is_reported_once_with_the_stack(hub: Hub):
    """The watcher's own clock is ours: it is asked to look at the moments that the test chooses."""
    reports: list[str] = []
    watcher = debug.BlockingWatcher(1.0, reports.append)

    def blocker() -> None:
        watcher.look(0.0)
        watcher.look(0.9)
        assert reports == []
        watcher.look(1.1)
        watcher.look(5.0)

    spawn(blocker).wait()
    assert len(reports) == 1
    assert "blocked for 1.100 seconds" in reports[0]
    assert "in blocker" in reports[0]


def test_threads_that_take_turns_block_nothing(hub: Hub):
    reports: list[str] = []
    watcher = debug.BlockingWatcher(1.0, reports.append)

    def one_of_many(now: float) -> None:
        watcher.look(now)

    threads = [spawn(one_of_many, now) for now in (0.0, 0.6, 1.2, 1.8)]
    for thread in threads:
        thread.wait()
    for now in (2.0, 2.6, 3.2, 3.8):
        sleep(0)
        watcher.look(now)
    assert reports == []


def test_the_watcher_is_an_os_thread_of_its_own_and_stops(hub: Hub):
    before = deadlock.bystanders.count
    reported = threading.Event()
    texts: list[str] = []
    watcher = debug.watch_blocking(0.01, lambda text: (texts.append(text), reported.set()))
    assert reported.wait(20)  # which blocks the hub
    watcher.stop()
    watcher.stop()
    assert "in test_the_watcher_is_an_os_thread_of_its_own_and_stops" in texts[0]
    end = time.monotonic() + 20
    while deadlock.bystanders.count != before:
        assert time.monotonic() < end
        os.sched_yield()


def test_a_limit_that_is_no_time_is_refused():
    for limit in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="more than 0"):
            debug.watch_blocking(limit)


def test_the_signal_may_be_chosen():
    before = signal.getsignal(signal.SIGUSR2)
    try:
        debug.dump_on_signal(signal.SIGUSR2)
        assert signal.getsignal(signal.SIGUSR2) is not before
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert running() is current_hub().main or sys.gettrace()
