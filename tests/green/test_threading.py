"""Patched threading, queues, executors and locks, each case in an interpreter of its own."""

from __future__ import annotations

import re

import pytest

from tests.patching.programs import run


def test_threads_are_green_and_know_themselves():
    run("""
        import greenserve
        greenserve.monkey_patch()
        import threading
        main = threading.current_thread()
        assert main is threading.main_thread()
        seen = {}
        go = threading.Event()
        def work(number):
            go.wait()
            me = threading.current_thread()
            assert me.ident == threading.get_ident()
            seen[number] = me
        threads = [threading.Thread(target=work, args=(n,)) for n in range(20)]
        for thread in threads:
            thread.start()
        assert set(threads) <= set(threading.enumerate())
        go.set()
        for thread in threads:
            thread.join(5)
        assert [seen[n] for n in range(20)] == threads
        assert threading.enumerate() == [main] and not any(t.is_alive() for t in threads)
    """)


def test_several_may_join_one_thread_and_the_main_thread():
    stdout, _ = run("""
        import greenserve
        greenserve.monkey_patch()
        import threading, time
        one = threading.Thread(target=time.sleep, args=(0.01,))
        one.start()
        joiners = [threading.Thread(target=one.join) for _ in range(3)]
        for joiner in joiners:
            joiner.start()
        for joiner in joiners:
            joiner.join()
        def after_main():
            threading.main_thread().join()
            print("main has ended")
        threading.Thread(target=after_main).start()
    """)
    assert stdout == "main has ended\n"


def test_the_exit_waits_for_threads_that_are_no_daemons():
    stdout, _ = run("""
        import greenserve
        greenserve.monkey_patch()
        import threading, time
        threading.Thread(target=lambda: (time.sleep(0.05), print("done"))).start()
        threading.Thread(target=lambda: (time.sleep(50), print("daemon")), daemon=True).start()
        greenserve.original("threading").Thread(target=lambda: print("native")).start()
    """)
    assert sorted(stdout.split()) == ["done", "native"]


def test_a_dummy_thread_is_forgotten_with_its_green_thread():
    run("""
        import greenserve
        greenserve.monkey_patch()
        import threading
        from greenserve.hub import spawn
        threads = [spawn(threading.current_thread) for _ in range(50)]
        assert len({id(thread.wait()) for thread in threads}) == 50
        del threads
        assert len(threading._active) == 1
    """)


def test_an_uncaught_error_goes_to_the_excepthook_and_a_kill_does_not():
    _, stderr = run("""
        import greenserve
        greenserve.monkey_patch()
        import threading
        from greenserve.hub import getcurrent, sleep
        def fail():
            raise ZeroDivisionError("here")
        thread = threading.Thread(target=fail, name="failing")
        thread.start()
        thread.join()
        green = []
        def wait():
            green.append(getcurrent())
            threading.Event().wait()
        other = threading.Thread(target=wait)
        other.start()
        green[0].kill()
        other.join()
    """)
    assert "Exception in thread failing" in stderr
    assert stderr.count("Traceback") == 1


def test_locks_are_shared_by_green_threads_and_os_threads():
    run("""
        import greenserve
        greenserve.monkey_patch()
        import threading, time
        lock, order = threading.Lock(), []
        native = greenserve.original("threading").Thread
        lock.acquire()
        other = native(target=lambda: (lock.acquire(), order.append("os"), lock.release()))
        other.start()
        green = threading.Thread(target=lambda: (lock.acquire(), order.append("green"), lock.release()))
        green.start()
        time.sleep(0.01)
        lock.release()
        green.join()
        while len(order) < 2:
            time.sleep(0.001)
        assert sorted(order) == ["green", "os"]
    """)


def test_queues_and_executors_are_green():
    run("""
        import greenserve
        greenserve.monkey_patch()
        import concurrent.futures, queue, threading, time
        for made in (queue.Queue(), queue.SimpleQueue(), queue.LifoQueue(), queue.PriorityQueue()):
            threading.Timer(0.001, made.put, [5]).start()
            assert made.get(timeout=5) == 5
        with concurrent.futures.ThreadPoolExecutor(10) as executor:
            begun = time.monotonic()
            assert list(executor.map(lambda n: (time.sleep(0.05), n)[1], range(10))) == list(range(10))
            ident = greenserve.original("_thread").get_ident
            assert executor.submit(ident).result() == ident()
        real = greenserve.original("concurrent.futures").ThreadPoolExecutor
        with real(2) as executor:
            future = executor.submit(greenserve.original("_thread").get_ident)
            assert future.result() != greenserve.original("_thread").get_ident()
    """)


def test_an_error_of_a_plain_thread_is_reported_as_the_interpreter_does():
    program = """
        import _thread, sys
        if {patched}:
            import greenserve
            greenserve.monkey_patch()
        def fail(): raise ValueError("it has failed")
        def hook(args):
            print(args.err_msg, args.object is fail, args.exc_value)
            ended.release()
        sys.unraisablehook = hook
        ended = _thread.allocate_lock()
        ended.acquire()
        _thread.start_new_thread(fail, ())
        ended.acquire()
    """
    expected, said = (re.sub("0x[0-9a-f]+", "", run(program.format(patched=patched))[0]) for patched in (False, True))
    assert said == expected


@pytest.mark.parametrize(
    "where", ["asyncio.run(asyncio.to_thread(start))", "greenserve.tpool.execute(start)", "thread(start)"]
)
def test_a_thread_outlives_the_os_thread_that_has_started_it(where):
    run(f"""
        import greenserve
        greenserve.monkey_patch()
        import asyncio, concurrent.futures, queue, threading, time
        def thread(function):
            real = greenserve.original("threading").Thread(target=function)
            real.start()
            while real.is_alive():
                time.sleep(0.001)
        def background(name):
            for _ in range(5):
                time.sleep(0.01)
            ended.put((name, threading.current_thread().name))
        def start():
            threading.Thread(target=background, args=("daemon",), name="daemon", daemon=True).start()
            threading.Thread(target=background, args=("thread",), name="thread").start()
            timers.append(threading.Timer(0.01, background, ("timer",)))
            timers[0].name = "timer"
            timers[0].start()
            futures.append(executor.submit(background, "pool"))
            joined = threading.Thread(target=ended.put, args=("joined",))
            joined.start()
            joined.join()
            assert not joined.is_alive() and ended.get() == "joined"
        ended, timers, futures = queue.Queue(), [], []
        executor = concurrent.futures.ThreadPoolExecutor(1, "pool")
        {where}
        futures[0].result(30)
        names = sorted(ended.get(timeout=30) for _ in range(4))
        assert names == [("daemon", "daemon"), ("pool", "pool_0"), ("thread", "thread"), ("timer", "timer")], names
        assert executor.submit(abs, -1).result(30) == 1
        assert len(threading.enumerate()) >= 2  # the pool's
    """)


def test_the_exit_waits_for_a_thread_that_an_os_thread_has_started():
    out, error = run("""
        import greenserve
        greenserve.monkey_patch()
        import threading, time
        def background():
            time.sleep(0.05)
            print("ended")
        greenserve.tpool.execute(lambda: threading.Thread(target=background, daemon=False).start())
    """)
    assert (out, error) == ("ended\n", "")
