"""When nothing can ever resume anything the hub says so, and lists who waits and where.

Programs of their own, because pytest-timeout has a signal handler or an OS thread: either may still resume somebody.
"""

from __future__ import annotations

import sys

import pytest

from tests.hub.support import run


def test_a_deadlock_is_raised_in_main_and_lists_each_green_thread_and_where_it_waits():
    done = run(
        """
        from greenlet import greenlet
        from greenserve.errors import Deadlock
        from greenserve.hub import running, sleep, spawn
        def stuck_one():
            me = running()
            me.hub.park(me, [me])
        def stuck_two():
            stuck_one()
        def own():
            stuck_one()
        spawn(stuck_two).name = "the second"
        raw = greenlet(own)
        spawn(lambda: raw.switch())
        me = running()
        spawn(me.hub.park, me, [me])
        thread = spawn(stuck_one)
        try:
            thread.wait()
        except Deadlock as error:
            print(error)
        try:
            thread.wait()
        except Deadlock as error:
            print("again")
        """
    )
    lines = done.stdout.splitlines()
    assert lines[0].startswith("nothing can ever run again")
    assert lines[-1] == "again"
    report = "\n".join(lines)
    assert 'main: File "<string>", line 19, in <module>' in report
    assert "in park" in report
    assert '<GreenThread the second (started), spawned at <string>:12>: File "<string>", line 7, in stuck_one' in report
    assert (
        '<GreenThread stuck_one-4 (started), spawned at <string>:17>: File "<string>", line 7, in stuck_one' in report
    )
    assert "<greenlet.greenlet object at" in report
    assert report.count("scheduler.py") == 1  # only where no code but ours waits


@pytest.mark.parametrize(
    ("hope", "cleanup"),
    [
        ("signal.signal(signal.SIGUSR1, lambda *_: wake(token))", "os.kill(os.getpid(), signal.SIGUSR1)"),
        ("hub.external += 1", "hub.call_soon_threadsafe(wake, token)"),
        ("spawn(hub.wait_readable, pipe[0]); sleep(0)", "wake(token)"),
        ("hub.on_readable(pipe[0], print)", "wake(token)"),
        ("_thread.start_new_thread(time.sleep, (30,))", "wake(token)"),
    ],
)
def test_what_may_still_resume_somebody_is_no_deadlock(hope: str, cleanup: str):
    done = run(
        f"""
        import _thread, ctypes, os, signal, subprocess, sys, threading, time
        from greenserve.hub import current_hub, running, sleep, spawn, wake
        from greenserve.hub.core import deadlock
        hub = current_hub()
        me = running()
        token = [me]
        pipe = os.pipe()
        {hope}
        def helper():
            while not hub.sleeping:
                time.sleep(0.01)
            time.sleep(0.1)
            {cleanup}
        _thread.start_new_thread(helper, ())
        if "_thread" not in {hope!r}:
            deadlock.bystanders.count += 1
        print(hub.park(me, token))
        """
    )
    assert done.stdout == "None\n"


def test_bystanders_and_our_own_signal_handlers_give_no_hope():
    done = run(
        """
        import _thread, signal, time
        from greenserve.errors import Deadlock
        from greenserve.hub import running
        from greenserve.hub.core import deadlock
        from greenserve.hub.core import signals
        def dump(*_): pass
        signal.signal(signal.SIGUSR1, dump)
        signals.ignore_for_deadlocks(dump)
        deadlock.bystanders.count += 1
        _thread.start_new_thread(time.sleep, (30,))
        me = running()
        try:
            me.hub.park(me, [me])
        except Deadlock:
            print("deadlock")
        """
    )
    assert done.stdout == "deadlock\n"


def test_an_uncaught_deadlock_ends_the_program_with_the_report():
    done = run("from greenserve.hub import running; me = running(); me.hub.park(me, [me])", status=1)
    assert "greenserve.errors.Deadlock: nothing can ever run again" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell of threads that Python has not started")
def test_a_thread_that_c_has_made_may_call_back():
    done = run(
        """
        import ctypes, time
        import greenserve
        queue, going = greenserve.Queue(), []
        function = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
        def call_back(_):
            time.sleep(0.5)  # longer than the hub doubts
            queue.put("called back")
        callback = function(call_back)
        greenserve.sleep(0)
        thread = ctypes.c_ulong()
        ctypes.CDLL(None).pthread_create(ctypes.byref(thread), None, callback, None)
        print(queue.get())
        """
    )
    assert (done.stdout, done.stderr) == ("called back\n", "")


def test_a_stray_wake_up_does_not_cut_the_doubt_short():
    done = run(
        """
        import time
        from greenserve.errors import Deadlock
        from greenserve.hub import running
        from greenserve.hub.core.hub import SECONDS_OF_DOUBT
        me = running()
        started = time.monotonic()
        me.hub.wakeup.wake()
        try:
            me.hub.park(me, [me])
        except Deadlock:
            print(time.monotonic() - started >= SECONDS_OF_DOUBT)
        """
    )
    assert done.stdout == "True\n"
