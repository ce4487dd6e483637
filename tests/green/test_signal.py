"""Signal handlers run in main: whichever green thread runs, and also when all are waiting."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest


def run(program: str, *args: str, status: int = 0) -> str:
    prelude = "import greenserve; greenserve.monkey_patch()\nimport os, signal, sys, threading, time\n"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", prelude + textwrap.dedent(program), *args],
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


WAITS = {
    "nothing": "",
    "sleep": "time.sleep(0.01)",
    "join": "thread.join()",
    "lock": "lock.acquire(timeout=0.01)",
    "event": "threading.Event().wait(0.01)",
    "with the lock that main has": "hold(0)",
}


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("main", ["time.sleep(60)", "threading.Event().wait()", "never.get()", "spin()"])
def test_a_handler_may_wait_and_what_it_raises_is_mains(wait: str, main: str):
    out = run(f"""
        import queue
        never, lock, rlock, stop = queue.Queue(), threading.Lock(), threading.RLock(), threading.Event()
        lock.acquire()
        thread = threading.Thread(target=stop.wait)
        thread.start()
        def hold(depth):
            with rlock:
                assert rlock._recursion_count() == 2 if hasattr(rlock, "_recursion_count") else True
        def spin():
            while True:
                time.sleep(0)
        def handle(signum, frame):
            stop.set()
            assert threading.current_thread() is threading.main_thread()
            {WAITS[wait] or "pass"}
            raise ValueError(signal.Signals(signum).name)
        signal.signal(signal.SIGTERM, handle)
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
        try:
            with rlock:
                {main}
        except ValueError as error:
            print("main got", error)
    """)
    assert out == "main got SIGTERM\n"


def test_main_waits_on_after_a_handler_and_gets_what_was_handed_over_meanwhile():
    out = run("""
        import queue
        items = queue.Queue()
        heard = []
        def handle(signum, frame):
            heard.append("begins")
            items.put("an item") if give == "itself" else time.sleep(0.05)
            time.sleep(0.05)
            heard.append("ends")
        signal.signal(signal.SIGUSR1, handle)
        for give in ("itself", "another", "os thread", "later"):
            threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGUSR1)).start()
            if give == "another":
                threading.Timer(0.05, items.put, ("an item",)).start()
            elif give == "os thread":
                Timer = greenserve.original("threading").Timer
                Timer(0.05, items.put, ("an item",)).start()
            elif give == "later":
                threading.Timer(0.25, items.put, ("an item",)).start()
            print(items.get(timeout=30), heard)
            del heard[:]
    """)
    assert out == "an item ['begins', 'ends']\n" * 4


def test_main_times_out_after_a_handler_that_took_longer():
    out = run("""
        signal.signal(signal.SIGUSR1, lambda *_: time.sleep(0.3))
        threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        print(threading.Event().wait(0.1))
        try:
            with greenserve.Timeout(0.1):
                signal.raise_signal(signal.SIGUSR1)
                time.sleep(30)
        except greenserve.Timeout as timeout:
            print(timeout)
    """)
    assert out == "False\n0.1 seconds\n"


@pytest.mark.parametrize("others", ["pass", "time.sleep(0)", "sum(range(100_000)); time.sleep(0)"])
def test_sys_exit_in_a_handler_ends_main_and_no_green_thread(others: str):
    out = run(
        f"""
        def work():
            try:
                while True:
                    {others}
                    time.sleep(0.001)
            except BaseException as error:
                print("the green thread got", repr(error))
        threading.Thread(target=work, daemon=True).start()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
        try:
            time.sleep(60)
        finally:
            print("main's finally")
        """,
        status=3,
    )
    assert out == "main's finally\n"


def test_the_second_signal_reaches_a_green_thread_that_never_lets_main_run():
    out = run("""
        heard = []
        signal.signal(signal.SIGUSR1, lambda *_: heard.append(threading.current_thread().name))
        def work():
            while len(heard) < 1:
                signal.raise_signal(signal.SIGUSR1)
        thread = threading.Thread(target=work, name="worker")
        thread.start()
        thread.join()
        print(heard[0])
    """)
    assert out == "worker\n"


def test_a_handler_that_was_set_before_the_patch_runs_in_main_too():
    program = """
        import os, signal
        def handle(*_):
            time.sleep(0.01)
            raise ValueError("heard")
        signal.signal(signal.SIGUSR2, handle)
        import greenserve
        greenserve.monkey_patch()
        import threading, time
        assert signal.getsignal(signal.SIGUSR2) is handle
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR2)).start()
        try:
            time.sleep(60)
        except ValueError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=50)
    assert (done.stdout, done.stderr) == ("heard\n", "")


def test_what_was_set_is_what_is_got():
    assert (
        run("""
        def handle(*_): pass
        for handler in (handle, signal.SIG_IGN, signal.SIG_DFL, signal.default_int_handler):
            for signum in (signal.SIGTERM, signal.SIGINT):
                before = signal.getsignal(signum)
                assert signal.signal(signum, handler) == before
                assert signal.getsignal(signum) == handler
        try:
            signal.signal(signal.SIGTERM, "handler")
        except TypeError:
            print("refused")
        """)
        == "refused\n"
    )


def test_another_interrupt_gets_through_to_a_handler_that_waits_for_ever():
    out = run("""
        def handle(*_):
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
            threading.Event().wait()
        signal.signal(signal.SIGTERM, handle)
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            print("interrupted")
    """)
    assert out == "interrupted\n"
