"""SIGINT reaches main and nobody else; a signal handler may wake whom it likes, at any moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import pytest

from greenserve.hub import sleep, spawn
from greenserve.hub.core import signals
from greenserve.hub.core.hub import Hub, current_hub, running, use_hub, wake
from tests.hub.support import environment, program, run

PRELUDE = """
import os, signal, sys, threading, time, traceback
import greenlet
from greenserve.hub import sleep, spawn, current_hub, running, wake
def say(word):
    os.write(1, (word + "\\n").encode())
def compute(seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
def other():
    try:
        say("ready")
        %s
    finally:
        say("other's finally")
def main():
    try:
        %s
    except KeyboardInterrupt:
        say("interrupted in main")
        raise SystemExit(9)
    finally:
        say("main's finally")
main()
"""


def interrupted(in_other: str, in_main: str, signals: int = 1) -> tuple[list[str], str]:
    """Run main and another green thread, interrupt them, and return what they said."""
    code = PRELUDE % (in_other, in_main)
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(program(code), stdout=subprocess.PIPE, stderr=errors, text=True, env=environment())
        with process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            for left in reversed(range(signals)):
                process.send_signal(signal.SIGINT)
                if left:
                    assert process.stdout.readline() == "a signal\n"
            out = process.stdout.read()  # not communicate: it would lose what readline has read ahead
        errors.seek(0)
        error = errors.read()
    assert process.returncode == 9, error
    return out.splitlines(), error


def test_sigint_reaches_main_when_everybody_is_parked():
    said, error = interrupted("sleep(30)", "spawn(other); sleep(30)")
    assert said == ["interrupted in main", "main's finally"]
    assert error == ""


def test_sigint_reaches_a_main_that_computes():
    said, _ = interrupted("sleep(30)", "spawn(other); sleep(0); compute()")
    assert said == ["interrupted in main", "main's finally"]


def test_sigint_reaches_a_main_that_waits_for_another_thread():
    said, _ = interrupted("sleep(30)", "spawn(other).wait()")
    assert said == ["interrupted in main", "main's finally"]


def test_sigint_reaches_a_main_that_spins_with_the_others():
    spin = "\n        while True: sleep(0)"
    said, error = interrupted("current_hub()" + spin.replace("\n", "\n"), "spawn(other)" + spin)
    assert said == ["interrupted in main", "main's finally"]
    assert error == ""


def test_sigint_never_hits_a_green_thread_that_computes():
    said, error = interrupted("compute(0.3); say('unharmed')", "spawn(other); sleep(30)")
    assert said == ["unharmed", "other's finally", "interrupted in main", "main's finally"]
    assert error == ""


def test_a_second_sigint_hits_whoever_keeps_main_from_running():
    note = "\n        ours = signal.getsignal(signal.SIGINT)"
    note += (
        "\n        def handler(*a): ours(*a); say('a signal')"  # not the other way: the second could come before ours
    )
    note += "\n        signal.signal(signal.SIGINT, handler)"
    said, _ = interrupted("compute()", "sleep(0)" + note + "; spawn(other); sleep(30)", signals=2)
    assert said == ["other's finally", "interrupted in main", "main's finally"]


def test_sigint_reaches_a_raw_greenlet_that_main_has_switched_to():
    said, _ = interrupted("sleep(30)", "spawn(other); sleep(0); greenlet.greenlet(compute).switch()")
    assert said == ["interrupted in main", "main's finally"]


def test_sigint_reaches_main_while_another_os_thread_runs_a_hub_of_its_own():
    said, _ = interrupted("sleep(30)", "threading.Thread(target=other, daemon=True).start(); sleep(30)")
    assert said == ["interrupted in main", "main's finally"]


def test_sigint_among_threads_that_spawn_and_switch_loses_nobody():
    """Hundreds of interrupts at random moments; main catches each, and every thread is still there at the end."""
    done = run(
        """
        import os, random, signal, sys
        from greenserve.hub import current_hub, sleep, spawn
        turns = dict.fromkeys(range(10), 0)
        def spin(name):
            while not stop:
                turns[name] += 1
                spawn(sleep, 0).wait()
                sleep(0.00001)
        stop = []
        threads = [spawn(spin, name) for name in turns]
        sleep(0)
        handler = signal.getsignal(signal.SIGINT)
        armed = []  # else an interrupt could come before main is in its `try` again
        def alarm(signum, frame):
            signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0001, 0.001))
            if armed:
                armed.clear()
                handler(signum, frame)
        signal.signal(signal.SIGALRM, alarm)
        interrupted = 0
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        while interrupted < 300:
            try:
                armed.append(1)
                while True:
                    spawn(int).wait()
                    sleep(random.choice((0, 0.0001)))
            except KeyboardInterrupt:
                interrupted += 1
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        before = dict(turns)
        sleep(0.05)
        print(all(turns[name] > before[name] for name in turns), None in current_hub().ready)
        stop.append(1)
        for thread in threads:
            thread.wait(5)
        """
    )
    assert done.stdout == "True True\n"
    assert done.stderr == ""


def test_keyboard_interrupt_of_a_green_thread_reaches_main():
    def rude() -> None:
        raise KeyboardInterrupt

    use_hub(Hub())
    spawn(rude)
    with pytest.raises(KeyboardInterrupt):
        sleep(1000)


@pytest.fixture
def alarm() -> Iterator[None]:
    """SIGALRM is pytest-timeout's: it gets its handler, and what is left of its time, back."""
    before = signal.getsignal(signal.SIGALRM)
    delay, interval = signal.setitimer(signal.ITIMER_REAL, 0)
    yield
    signal.signal(signal.SIGALRM, before)
    signal.setitimer(signal.ITIMER_REAL, delay, interval)


@pytest.mark.parametrize("what", ["wake", "spawn", "call"])
def test_a_signal_handler_wakes_an_idle_hub_whenever_it_comes(hub: Hub, alarm: None, what: str):
    """From long before the hub sleeps to long after: each time main must come back."""
    me = running()
    token: list[object] = []

    def handler(signum: int, frame: object) -> None:
        if what == "wake":
            wake(token, "by the signal")
        elif what == "spawn":
            spawn(wake, token, "by the signal")
        else:
            hub.call_soon_threadsafe(wake, token, "by the signal")

    signal.signal(signal.SIGALRM, handler)
    for number in range(1, 1000):
        token = [me]
        signal.setitimer(signal.ITIMER_REAL, number * 1e-7)
        assert hub.park(me, token) == "by the signal"


def test_a_signal_wakes_the_hub_also_when_another_os_thread_receives_it():
    done = run(
        """
        import os, signal, threading, time
        from greenserve.hub import current_hub, running, wake
        hub = current_hub()
        me = running()
        token = [me]
        signal.signal(signal.SIGUSR1, lambda *_: wake(token, "woken"))
        def send():
            while not hub.sleeping:
                time.sleep(0.01)
            signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
            time.sleep(10)
        threading.Thread(target=send, daemon=True).start()
        print(hub.park(me, token))
        """
    )
    assert done.stdout == "woken\n"


def test_an_error_of_a_signal_handler_reaches_main(hub: Hub, alarm: None):
    def handler(signum: int, frame: object) -> None:
        raise LookupError("in the handler")

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    with pytest.raises(LookupError):
        sleep(1000)
    sleep(0.001)


def test_a_new_hub_of_the_main_thread_takes_the_signals_over(alarm: None):
    use_hub(Hub())
    use_hub(Hub())
    me = running()
    signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    for _ in range(2):
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        with pytest.raises(KeyboardInterrupt):
            current_hub().park(me, [me])
        use_hub(Hub())


def test_sigint_is_pythons_own_again_when_there_is_no_hub():
    done = run(
        """
        import os, signal
        from greenserve.hub.core.hub import current_hub
        current_hub().close()
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            print("as ever")
        """
    )
    assert done.stdout == "as ever\n"


def test_a_handler_of_the_programs_own_is_left_alone():
    done = run(
        """
        import os, signal
        from greenserve.hub import current_hub, sleep
        signal.signal(signal.SIGINT, lambda *_: print("mine"))
        current_hub()
        os.kill(os.getpid(), signal.SIGINT)
        sleep(0)
        """
    )
    assert done.stdout == "mine\n"


def test_a_wakeup_descriptor_of_the_programs_own_is_left_alone():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    use_hub(Hub())
    current_hub().wakeup.close()
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        use_hub(Hub())
        use_hub(Hub())
        assert signal.set_wakeup_fd(before) == writer
    finally:
        os.close(reader)
        os.close(writer)
    use_hub(Hub())


def test_signal_handlers_of_the_programs_own_may_come():
    assert not signals.may_come() or "pytest_timeout" in sys.modules
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    assert signals.may_come()
    signal.signal(signal.SIGUSR1, before)
