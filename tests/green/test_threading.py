"""Patched threading, queues, executors and locks, each case in an interpreter of its own."""

from __future__ import annotations

import re

import pytest

from tests.patching.test_monkey import run


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


def test_loggings_locks_are_upgraded():
    run("""
        import logging
        handler = logging.StreamHandler()
        import greenserve
        greenserve.monkey_patch()
        import threading
        kind = type(threading.RLock())
        assert type(logging._lock) is kind
        assert type(handler.lock) is kind
    """)


def test_a_held_rlock_goes_over_to_its_successor():
    run("""
        import threading
        class Holder: pass
        holder = Holder()
        holder.lock = threading.RLock()
        holder.condition = threading.Condition(holder.lock)
        holder.lock.acquire()
        holder.lock.acquire()
        import greenserve
        greenserve.monkey_patch()
        assert type(holder.lock) is type(threading.RLock())
        holder.condition.notify_all()
        holder.lock.release()
        holder.condition.release()
        try:
            holder.lock.release()
        except RuntimeError:
            pass
        else:
            raise AssertionError("it was held twice")
    """)


def test_an_rlock_entered_by_with_is_left_by_with():
    run("""
        import threading
        class Holder: pass
        holder = Holder()
        holder.lock = threading.RLock()
        import greenserve
        with holder.lock:
            greenserve.monkey_patch()
        assert holder.lock.acquire(False)
        holder.lock.release()
        from greenserve.hub import spawn
        assert spawn(holder.lock.acquire, False).wait()
    """)


def test_a_held_lock_is_left_and_named():
    _, stderr = run("""
        import threading
        class Holder: pass
        holder = Holder()
        holder.lock = threading.Lock()
        holder.lock.acquire()
        import greenserve
        greenserve.monkey_patch()
        holder.lock.release()
    """)
    assert "Holder.lock (held)" in stderr


def test_asyncio_keeps_real_primitives():
    run("""
        import greenserve
        greenserve.monkey_patch()
        import asyncio, threading, time
        here = greenserve.original("_thread").get_ident()
        async def main():
            there = await asyncio.to_thread(greenserve.original("_thread").get_ident)
            assert there != here
            process = await asyncio.create_subprocess_exec("echo", "hi", stdout=asyncio.subprocess.PIPE)
            assert (await process.communicate())[0] == b"hi\\n"
            await asyncio.sleep(0.001)
        asyncio.run(main())
        assert asyncio.base_events.threading.Thread is greenserve.original("threading").Thread
    """)


def test_asyncio_imported_before_the_patch_keeps_them_too():
    run("""
        import asyncio, warnings
        import greenserve
        with warnings.catch_warnings(action="error"):
            greenserve.monkey_patch()  # asyncio's own copy of threading knows threads: no reason to warn
        async def main():
            return await asyncio.to_thread(lambda: 5)
        assert asyncio.run(main()) == 5
        assert asyncio.base_events.threading.Thread is greenserve.original("threading").Thread
    """)


@pytest.mark.parametrize("name", ["threading", "queue", "time", "select", "selectors", "socket", "os", "subprocess"])
def test_an_original_is_not_green(name):
    run(f"""
        import greenserve
        greenserve.monkey_patch()
        module = greenserve.original({name!r})
        for attribute in greenserve.patching.originals.replaced[{name!r}]:
            home = getattr(getattr(module, attribute, None), "__module__", None) or ""
            assert not home.startswith("greenserve"), attribute
    """)


def test_modules_are_imported_afresh_without_patching():
    run("""
        import threading, urllib.request
        from greenserve.green import socketserver, threading as green_threading
        import greenserve
        from greenserve.patching.import_patched import import_patched
        request = import_patched("urllib.request")
        assert request is not urllib.request and import_patched("urllib.request") is request
        assert green_threading.Thread is not threading.Thread
        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                self.request.recv(1000)
                self.request.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\nhello")
        with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
            thread = green_threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            url = "http://localhost:%d/" % server.server_address[1]
            assert request.urlopen(url).read() == b"hello"
            assert import_patched("requests").get(url).text == "hello"
            server.shutdown()
            thread.join()
        assert not greenserve.is_monkey_patched("socket")
        assert threading.active_count() == 1
    """)


def test_multiprocessing_works():
    run("""
        import greenserve
        greenserve.monkey_patch()
        import multiprocessing, threading
        context = multiprocessing.get_context("spawn")
        near, far = context.Pipe()
        process = context.Process(target=print, args=("child",))
        process.start()
        process.join()
        assert process.exitcode == 0
        threading.Timer(0.01, far.send, ["piped"]).start()
        assert near.recv() == "piped"
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


def test_asyncio_cancels_its_task_on_an_interrupt_and_the_hub_has_its_handler_again():
    out, error = run("""
        import greenserve
        greenserve.monkey_patch()
        import asyncio, greenserve, os, signal, time
        time.sleep(0)  # a hub, which has SIGINT now
        getsignal = greenserve.original("signal").getsignal
        handler = getsignal(signal.SIGINT)
        async def main():
            asyncio.get_running_loop().call_later(0.01, os.kill, os.getpid(), signal.SIGINT)
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                print("cancelled")
                raise
        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            print("interrupted")
        assert getsignal(signal.SIGINT) is handler
        assert handler is not signal.default_int_handler
    """)
    assert (out, error) == ("cancelled\ninterrupted\n", "")


def test_a_pool_of_processes_works_beside_an_event_loop_and_for_green_threads():
    program = """
        import greenserve
        if __name__ == "__main__":
            greenserve.monkey_patch()
        import asyncio, multiprocessing, threading
        from concurrent.futures import ProcessPoolExecutor

        async def main(pool):
            loop = asyncio.get_running_loop()
            return await asyncio.gather(*(loop.run_in_executor(pool, abs, -n) for n in range(5)))

        def tick():
            while True:
                ticks.append(1)
                greenserve.sleep(0.001)

        if __name__ == "__main__":
            ticks = []
            context = multiprocessing.get_context("forkserver")
            with ProcessPoolExecutor(2, mp_context=context) as pool:
                assert asyncio.run(main(pool)) == [0, 1, 2, 3, 4]
                threading.Thread(target=tick, daemon=True).start()
                assert pool.submit(abs, -7).result(30) == 7
                assert list(pool.map(abs, range(-5, 0))) == [5, 4, 3, 2, 1]
                assert ticks
    """
    run(program)


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
