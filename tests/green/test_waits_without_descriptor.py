"""What waits for something that has no descriptor (a file's lock, a signal, a shell's command) waits alone."""

from __future__ import annotations

import pytest

from tests.patching.programs import run

BEGIN = """
        import greenserve
        greenserve.monkey_patch()
        import fcntl, os, signal, struct, subprocess, sys, tempfile, threading, time
        ticks = []
        def tick():
            while True:
                ticks.append(1)
                time.sleep(0.001)
        threading.Thread(target=tick, daemon=True).start()
        path = tempfile.NamedTemporaryFile(delete=False).name
"""


@pytest.mark.parametrize("way", ["flock", "flock of another process", "lockf", "os.lockf", "F_SETLKW", "F_OFD_SETLKW"])
def test_a_green_thread_waits_alone_for_a_files_lock(way):
    run(
        BEGIN
        + f"""
        way = {way!r}
        """
        + """
        lock = struct.pack("hhqqi", fcntl.F_WRLCK, 0, 0, 0, 0)
        take, free = {
            "flock": (lambda file: fcntl.flock(file, fcntl.LOCK_EX), lambda file: fcntl.flock(file, fcntl.LOCK_UN)),
            "lockf": (lambda file: fcntl.lockf(file, fcntl.LOCK_EX), lambda file: fcntl.lockf(file, fcntl.LOCK_UN)),
            "os.lockf": (lambda file: os.lockf(file.fileno(), os.F_LOCK, 0), None),
            "F_SETLKW": (lambda file: fcntl.fcntl(file, fcntl.F_SETLKW, lock), None),
            "F_OFD_SETLKW": (lambda file: fcntl.fcntl(file, fcntl.F_OFD_SETLKW, lock), None),
        }[way.partition(" of ")[0]]
        order = []
        if way in ("flock", "F_OFD_SETLKW"):  # these locks belong to the open file, the others to the process
            first = open(path, "r+")
            take(first)
            greenserve.spawn_after(0.05, lambda: (order.append("free"), first.close()))
        else:
            code = "import fcntl, os, sys; f = open(sys.argv[1], 'r+')\\\\n"
            code += "getattr(fcntl, sys.argv[2])(f, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"
            held = "flock" if way.startswith("flock") else "lockf"
            child = subprocess.Popen(
                [sys.executable, "-c", code.replace("\\\\n", chr(10)), path, held],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )
            assert child.stdout.readline() == b"held\\n"
            greenserve.spawn_after(0.05, lambda: (order.append("free"), child.stdin.close()))
        with open(path, "r+") as file:
            if way.startswith("flock"):
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    raise AssertionError
                except BlockingIOError:
                    pass
            ticks.clear()
            take(file)
            order.append("taken")
            if free:
                free(file)
        assert order == ["free", "taken"] and len(ticks) > 5, (order, len(ticks))
        os.unlink(path)
    """
    )


def test_one_that_waits_for_a_files_lock_can_be_killed_and_holds_nothing():
    run(
        BEGIN
        + """
        with open(path) as held, open(path) as other:
            fcntl.flock(held, fcntl.LOCK_EX)
            waiting = greenserve.spawn(fcntl.flock, other, fcntl.LOCK_EX)
            time.sleep(0.01)
            waiting.kill()
            with greenserve.Timeout(0.01, False):
                fcntl.flock(other, fcntl.LOCK_EX)
            fcntl.flock(held, fcntl.LOCK_UN)
            time.sleep(0.05)
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            fcntl.flock(99, fcntl.LOCK_EX)
            raise AssertionError
        except OSError:
            pass
        os.unlink(path)
    """
    )


def test_a_green_thread_waits_alone_for_a_shells_command():
    run(
        BEGIN
        + """
        assert os.system("sleep 0.05; exit 3") >> 8 == 3
        assert len(ticks) > 5
        threads = [greenserve.spawn(os.system, "sleep 0.2") for _ in range(10)]
        begun = time.monotonic()
        assert greenserve.waitall(threads) == [0] * 10
        assert time.monotonic() - begun < 1.9
    """
    )


def test_a_green_thread_waits_alone_for_a_signal():
    run(
        BEGIN
        + """
        waited_for = {signal.SIGUSR1, signal.SIGUSR2}
        signal.pthread_sigmask(signal.SIG_BLOCK, waited_for)
        def send(signum):
            greenserve.spawn_after(0.05, os.kill, os.getpid(), signum)
        send(signal.SIGUSR1)
        ticks.clear()
        assert signal.sigwait(waited_for) is signal.SIGUSR1
        assert len(ticks) > 5
        if hasattr(signal, "sigtimedwait"):
            send(signal.SIGUSR2)
            assert signal.sigwaitinfo(waited_for).si_signo == signal.SIGUSR2
            assert signal.sigtimedwait(waited_for, 0.01) is None
            send(signal.SIGUSR2)
            assert signal.sigtimedwait(waited_for, 30).si_pid == os.getpid()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, waited_for)
        heard = []
        signal.signal(signal.SIGUSR1, lambda *_: heard.append(1))
        send(signal.SIGUSR1)
        ticks.clear()
        signal.pause()
        assert heard == [1] and len(ticks) > 5
        signal.alarm(1)
        signal.signal(signal.SIGALRM, lambda *_: 1 / 0)
        try:
            signal.pause()
        except ZeroDivisionError:
            heard.append(2)
        assert heard == [1, 2]
    """
    )
