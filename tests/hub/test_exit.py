"""The interpreter's exit never hangs, and never crashes, whatever is parked or blocked where."""

from __future__ import annotations

import pytest

from tests.hub.support import run

PARKED = """
import _thread, atexit, os, sys, threading, time
import greenlet
from greenserve.hub import Timeout, current_hub, running, sleep, spawn, wake
def stubborn():
    while True:
        try:
            sleep(1000)
        except BaseException:
            pass
def busy():
    while True:
        sleep(0.0001)
def everything():
    hub = current_hub()
    me = running()
    reader, writer = os.pipe()
    spawn(sleep, 1000)
    spawn(stubborn)
    spawn(busy)
    spawn(hub.wait_readable, reader)
    spawn(hub.park, me, [me])
    spawn(lambda: greenlet.greenlet(sleep).switch(1000))
    hub.call_later(1000, print)
    Timeout(1000)
    sleep(0.01)
    spawn(int)
"""


@pytest.mark.parametrize(
    "end",
    [
        "everything()",
        "everything(); sys.exit(0)",
        "everything(); spawn(sys.exit, 0); sleep(1000)",
        "everything(); atexit.register(sleep, 0.01)",
        "everything(); atexit.register(spawn, sleep, 1000)",
        "everything(); current_hub().close()",
        "import gc; gc.disable(); everything()",
        "import gc; everything(); sys.settrace(lambda *_: None)",
        "threading.Thread(target=everything).start(); everything()",
        "import logging; logging.shutdown(); everything(); del sys.modules['greenserve.hub.core.hub']",
    ],
)
def test_exit_with_everybody_parked(end: str):
    done = run(PARKED + end, timeout=20)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize(
    "thread",
    [
        "everything(); sleep(1000)",  # parked in its hub
        "everything(); busy()",  # switching all the time
        "everything(); time.sleep(1000)",  # blocked outside its hub
        "me = running(); me.hub.park(me, [me])",  # waiting for ever
    ],
)
@pytest.mark.parametrize(
    "kind", ["threading.Thread(target=work, daemon=True).start()", "_thread.start_new_thread(work, ())"]
)
def test_exit_with_os_threads_that_do_not_end(thread: str, kind: str):
    for _ in range(3):
        done = run(f"{PARKED}\ndef work():\n    {thread}\n{kind}\n{kind}\nsleep(0.02)\n", timeout=20)
        assert (done.stdout, done.stderr) == ("", "")


def test_exit_waits_for_os_threads_that_do_end():
    done = run(
        f"""{PARKED}
def work():
    everything()
    sleep(0.1)
    print("done")
threading.Thread(target=work).start()
"""
    )
    assert (done.stdout, done.stderr) == ("done\n", "")


def test_finally_blocks_of_parked_green_threads_do_not_run_at_exit():
    """As those of daemon threads: half of what they would use is gone by then."""
    done = run(
        """
        from greenserve.hub import sleep, spawn
        def unwinding():
            try:
                sleep(1000)
            finally:
                print("unwound")
        spawn(unwinding)
        sleep(0)
        """
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_main_may_end_while_another_os_thread_wakes_its_green_threads():
    done = run(
        f"""{PARKED}
hub = current_hub()
def work():
    while True:
        hub.call_soon_threadsafe(int)
        hub.wakeup.wake()
for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
everything()
"""
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_main_may_end_while_an_os_thread_ends_its_green_threads():
    for _ in range(3):
        done = run(
            f"""{PARKED}
def slow():
    try:
        sleep(1000)
    finally:
        time.sleep(0.005)  # lets main go on, and has to come back
def work():
    for _ in range(20):
        spawn(slow)
    sleep(0)
    ending.release()
ending = _thread.allocate_lock()
for _ in range(3):
    ending.acquire()
    _thread.start_new_thread(work, ())
    ending.acquire()
    ending.release()
"""
        )
        assert (done.stdout, done.stderr) == ("", "")
