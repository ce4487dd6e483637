"""asyncio's loops in patched processes: each blocks its own green thread, and no other."""

from __future__ import annotations

import pytest

from tests.patching.programs import run

BEGIN = """
        import greenserve
        greenserve.monkey_patch()
        import asyncio, concurrent.futures, sys, threading, time
"""


def test_many_loops_run_at_once_in_one_os_thread():
    run(
        BEGIN
        + """
        async def count(name):
            loop = asyncio.get_running_loop()
            async def numbers():
                for number in range(3):
                    yield number
                    await asyncio.sleep(0.05)
            seen = [number async for number in numbers()]
            assert asyncio.get_running_loop() is loop
            assert asyncio.current_task().get_name() == f"task {name}"
            return name, seen

        async def main(name):
            return await asyncio.create_task(count(name), name=f"task {name}")

        begun = time.monotonic()
        threads = [greenserve.spawn(asyncio.run, main(name)) for name in range(100)]
        assert [thread.wait() for thread in threads] == [(name, [0, 1, 2]) for name in range(100)]
        assert time.monotonic() - begun < 7.5  # one after the other: 15
        assert sys.get_asyncgen_hooks() == (None, None)
    """
    )


BLOCKING = """
        def at_once(*functions):
            threads = [greenserve.spawn(function) for function in functions]
            for thread in threads:
                thread.quiet = True
            return greenserve.waitall(threads)

        async def blocking():
            loop = asyncio.get_running_loop()
            await asyncio.sleep(0.01)
            time.sleep(0.02)
            assert asyncio.get_running_loop() is loop
            await asyncio.sleep(0.01)
"""


def test_a_coroutine_that_blocks_hinders_no_other_threads_loop():
    """With time.sleep, a lock, a queue, a socket, a thread's end: whatever a driver or a framework waits for."""
    run(
        BEGIN
        + BLOCKING
        + """
        import queue, socket
        lock, tasks = threading.Lock(), queue.Queue()
        here, there = socket.socketpair()
        async def wait_for(what):
            loop, task = asyncio.get_running_loop(), asyncio.current_task()
            what()
            assert asyncio.get_running_loop() is loop and asyncio.current_task() is task
            await asyncio.sleep(0)
            return "done"
        lock.acquire()
        sleeper = threading.Thread(target=time.sleep, args=(0.02,))
        sleeper.start()
        waits = [lock.acquire, tasks.get, lambda: here.recv(1), sleeper.join, lambda: time.sleep(0.02)]
        loops = [lambda what=what: asyncio.run(wait_for(what)) for what in waits]
        def release():
            time.sleep(0.02)
            for _ in range(3):
                asyncio.run(blocking())
            lock.release(), tasks.put(1), there.send(b"x")
        assert at_once(*loops, release) == ["done"] * 5 + [None]
    """
    )


def test_main_and_callbacks_of_the_hub_see_no_loop_of_a_coroutine_that_blocks():
    run(
        BEGIN
        + BLOCKING
        + """
        seen = []
        thread = greenserve.spawn(asyncio.run, blocking())
        greenserve.current_hub().call_later(0.02, lambda: seen.append(asyncio._get_running_loop()))
        while not thread.dead:
            seen.append(asyncio._get_running_loop())
            time.sleep(0.001)
        assert len(seen) > 2 and set(seen) == {None}
        asyncio.run(blocking())
    """
    )


def test_asyncgen_hooks_belong_to_the_green_thread():
    """What closes an asynchronous generator is the loop in which it has begun, in whatever order the loops end."""
    run(
        BEGIN
        + BLOCKING
        + """
        closed = []
        async def numbers(name):
            try:
                yield 1
                yield 2
            finally:
                await asyncio.sleep(0)
                closed.append((name, asyncio.get_running_loop()))

        def body(name, seconds):
            async def main():
                time.sleep(seconds)
                generator = numbers(name)
                await anext(generator)
                time.sleep(seconds)
                loops[name] = asyncio.get_running_loop()
                kept.append(generator)
            asyncio.run(main())
        loops, kept = {}, []
        at_once(*(lambda n=n, s=s: body(n, s) for n, s in (("a", 0.03), ("b", 0.01), ("c", 0.02))))
        assert sorted(closed, key=lambda each: each[0]) == sorted(loops.items())
        assert sys.get_asyncgen_hooks() == (None, None)

        def hooks(seconds):
            mine = lambda generator: None
            sys.set_asyncgen_hooks(firstiter=mine)
            time.sleep(seconds)
            sys.set_asyncgen_hooks(finalizer=mine)
            time.sleep(seconds)
            assert sys.get_asyncgen_hooks() == (mine, mine)
        at_once(lambda: hooks(0.01), lambda: hooks(0.02))
        assert greenserve.spawn(sys.get_asyncgen_hooks).wait() == (None, None)
        assert sys.get_asyncgen_hooks() == (None, None)  # those threads have ended, and what they had with them
    """
    )


def test_the_tracking_of_coroutine_origins_belongs_to_the_green_thread():
    run(
        BEGIN
        + BLOCKING
        + """
        def debugging():
            asyncio.run(blocking(), debug=True)
        thread = greenserve.spawn(debugging)
        depths = []
        while not thread.dead:
            depths.append(sys.get_coroutine_origin_tracking_depth())
            time.sleep(0.001)
        assert set(depths) == {0} and len(depths) > 2
        thread.wait()
    """
    )


def test_a_raw_greenlet_inside_a_task_has_the_tasks_loop():
    """As SQLAlchemy's greenlet_spawn: synchronous code in a greenlet, whose awaits are made in its parent."""
    run(
        BEGIN
        + BLOCKING
        + """
        from greenlet import getcurrent, greenlet
        async def through(function):
            inner = greenlet(function)
            result = inner.switch()
            while not inner.dead:
                result = inner.switch(await result)
            return result
        def synchronous(loop):
            for _ in range(3):
                assert asyncio.get_running_loop() is loop
                time.sleep(0.005)  # blocks in the raw greenlet
                assert asyncio.get_running_loop() is loop
                assert getcurrent().parent.switch(asyncio.sleep(0.005, "slept")) == "slept"
            return "done"
        async def main():
            loop = asyncio.get_running_loop()
            result = await through(lambda: synchronous(loop))
            assert asyncio.get_running_loop() is loop
            return result
        assert at_once(*[lambda: asyncio.run(main())] * 5) == ["done"] * 5
    """
    )


def test_a_green_thread_that_is_killed_leaves_no_loop_behind():
    run(
        BEGIN
        + BLOCKING
        + """
        async def stuck():
            time.sleep(1000)
        killed = [greenserve.spawn(asyncio.run, stuck()) for _ in range(5)]
        time.sleep(0.01)
        for thread in killed:
            thread.kill()
        def careless():
            asyncio._set_running_loop(object())
        at_once(careless, careless)
        assert at_once(*[asyncio._get_running_loop] * 10) == [None] * 10  # in the greenlets of those that have ended
        asyncio.run(blocking())
    """
    )


def test_where_no_loop_runs_nothing_is_called_at_a_switch():
    run(
        BEGIN
        + BLOCKING
        + """
        import greenlet
        asyncio.run(blocking())
        at_once(*[lambda: asyncio.run(blocking())] * 3)
        time.sleep(0)
        assert greenlet.gettrace() is None
        calls = []
        greenlet.settrace(lambda *args: calls.append(args))  # somebody else's goes on
        at_once(lambda: asyncio.run(blocking()))
        time.sleep(0)
        assert len(calls) > 4
        greenlet.settrace(None)
    """
    )


def test_what_greenlets_carry_by_themselves():
    """Context variables, the decimal context, the exception being handled, the depth of recursion, the name."""
    run(
        BEGIN
        + BLOCKING
        + """
        import contextvars, decimal
        variable = contextvars.ContextVar("variable")
        def body(number):
            variable.set(number)
            decimal.getcontext().prec = number
            threading.current_thread().name = f"name {number}"
            try:
                raise ValueError(number)
            except ValueError as error:
                def deeper(depth):
                    return deeper(depth - 1) if depth else time.sleep(0.01)
                deeper(100 * number)
                assert sys.exception() is error
            assert (variable.get(), decimal.getcontext().prec) == (number, number)
            assert threading.current_thread().name == f"name {number}"
            assert sys.exception() is None
        at_once(*[lambda n=n: body(n) for n in range(1, 9)])
        assert sys.exception() is None and variable.get(None) is None
    """
    )


def test_a_child_that_is_forked_inside_a_task_has_no_running_loop():
    run(
        BEGIN
        + """
        import os
        async def main():
            child = os.fork()
            if child == 0:
                time.sleep(0.001)
                os._exit(asyncio._get_running_loop() is not None)
            assert os.waitpid(child, 0)[1] == 0
            assert asyncio.get_running_loop()
        for thread in [greenserve.spawn(asyncio.run, main()) for _ in range(2)]:
            thread.wait()
        asyncio.run(main())
    """
    )


def test_a_process_that_is_patched_inside_a_coroutine():
    run("""
        import asyncio, threading, time
        import greenserve
        async def main():
            loop = asyncio.get_running_loop()
            greenserve.monkey_patch()
            async def other():
                time.sleep(0.01)
            threads = [greenserve.spawn(asyncio.run, other()) for _ in range(3)]
            time.sleep(0.02)
            assert asyncio.get_running_loop() is loop
            greenserve.waitall(threads)
        asyncio.run(main())
        assert asyncio._get_running_loop() is None
    """)


def test_each_thread_has_the_loop_that_it_was_given():
    """`get_event_loop` and `set_event_loop`, as with threading.local: asyncio imported before the patch, and after."""
    for before, after in (("import asyncio, warnings", ""), ("import warnings", "import asyncio")):
        run(
            f"""
        {before}
        warnings.simplefilter("ignore")
        import greenserve
        greenserve.monkey_patch()
        {after}
        import threading, time
        """
            """
        mine = asyncio.new_event_loop()
        asyncio.set_event_loop(mine)
        async def work(number):
            await asyncio.sleep(0.01)
            return number
        def view(number):
            try:
                asyncio.get_event_loop()
            except RuntimeError as error:
                assert threading.current_thread().name in str(error)
            else:
                raise AssertionError("a thread that was given no loop has none")
            loop = asyncio.new_event_loop()
            asyncio.set_event_loop(loop)
            for _ in range(2):
                seen.append((number, asyncio.get_event_loop().run_until_complete(work(number))))
                time.sleep(0.01)
            assert asyncio.get_event_loop() is loop
            loop.close()
        seen = []
        threads = [threading.Thread(target=view, args=(number,)) for number in range(5)]
        [thread.start() for thread in threads], [thread.join() for thread in threads]
        assert sorted(seen) == sorted([(number, number) for number in range(5)] * 2), seen
        assert asyncio.get_event_loop() is mine
        assert mine.run_until_complete(work(7)) == 7
        mine.close()
        """
        )


def test_loops_of_threads_that_have_ended_take_no_descriptors():
    """Also those that nobody has closed: without the garbage collector, and with its help where circles are left."""
    run(
        BEGIN
        + """
        import gc, os, warnings
        warnings.simplefilter("ignore")
        gc.disable()
        async def work(way):
            with __import__("contextlib").suppress(TimeoutError):
                await asyncio.wait_for(asyncio.sleep(0.001), 30)
                if way == "circles":
                    asyncio.get_running_loop().me = asyncio.get_running_loop()
        def view(way):
            loop = asyncio.new_event_loop()
            asyncio.set_event_loop(loop)
            loop.run_until_complete(work(way))
        for way, most in (("plain", 20), ("circles", 250)):
            for _ in range(150):
                greenserve.spawn(view, way).wait()
                assert len(os.listdir("/proc/self/fd")) < most, way
        kept = asyncio.new_event_loop()
        greenserve.spawn(asyncio.set_event_loop, kept).wait()
        assert not kept.is_closed()
        kept.close()
    """
    )


def test_a_loop_that_was_set_before_the_patch_stays_mains():
    run("""
        import asyncio
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        import greenserve
        greenserve.monkey_patch()
        assert asyncio.get_event_loop() is loop
        greenserve.sleep(0)
        assert asyncio.get_event_loop() is loop
        def other():
            try:
                asyncio.get_event_loop()
            except RuntimeError:
                return "none"
        assert greenserve.spawn(other).wait() == "none"
        loop.close()
    """)


def test_ctrl_c_is_no_matter_of_a_loop_outside_the_main_thread():
    run(
        BEGIN
        + """
        import os, signal
        async def main():
            await asyncio.sleep(0.05)
            return "not cancelled"
        threads = [greenserve.spawn(asyncio.run, main()) for _ in range(2)]
        time.sleep(0.01)
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
        except KeyboardInterrupt:
            pass
        assert greenserve.waitall(threads) == ["not cancelled"] * 2
    """
    )


def test_children_of_many_loops_at_once():
    run(
        BEGIN
        + """
        async def main(number):
            process = await asyncio.create_subprocess_exec("sh", "-c", f"sleep 0.05; exit {number}")
            return await process.wait()
        threads = [greenserve.spawn(asyncio.run, main(number)) for number in range(5)]
        assert greenserve.waitall(threads) == list(range(5))
    """
    )


def test_a_loop_that_is_left_at_the_exit_is_closed_without_a_word():
    out, error = run(
        BEGIN
        + """
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        class Circle:
            pass
        circle = Circle()
        circle.loop, circle.me = loop, circle
    """
    )
    assert out == ""
    assert "greenlet" not in error
    assert "ignored" not in error  # as it is said of an error in a finaliser


def test_a_loop_that_is_left_at_the_exit_with_a_thread_pool_a_server_and_a_task():
    out, _ = run(
        BEGIN
        + """
        import warnings
        warnings.simplefilter("ignore")
        loop = asyncio.new_event_loop()
        async def main():
            server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
            streams = await asyncio.open_connection(*server.sockets[0].getsockname())
            await asyncio.to_thread(int)
            return server, streams, asyncio.create_task(asyncio.sleep(1000))
        class Circle:
            pass
        circle = Circle()
        circle.kept, circle.me = loop.run_until_complete(main()), circle
        print("ends")
    """
    )
    assert out == "ends\n"


def test_threads_go_on_while_a_loop_waits_and_while_it_is_busy():
    run(
        BEGIN
        + """
        ticks = []
        def tick():
            while True:
                ticks.append(asyncio._get_running_loop())
                time.sleep(0)
        threading.Thread(target=tick, daemon=True).start()

        async def wait():
            await asyncio.sleep(0.05)

        async def spin():
            for _ in range(100):
                await asyncio.sleep(0)

        for main in (wait, spin):
            ticks.clear()
            asyncio.run(main())
            assert len(ticks) > 20, main
            assert set(ticks) == {None}  # the loop is not theirs
    """
    )


def test_threads_wake_a_loop_and_a_loop_waits_for_threads():
    run(
        BEGIN
        + """
        async def main():
            loop = asyncio.get_running_loop()
            future = loop.create_future()
            def answer():
                time.sleep(0.01)
                loop.call_soon_threadsafe(future.set_result, "from a green thread")
            threading.Thread(target=answer).start()
            assert await future == "from a green thread"
            there = await asyncio.to_thread(greenserve.original("_thread").get_ident)
            assert there != greenserve.original("_thread").get_ident()
            with concurrent.futures.ThreadPoolExecutor(3) as green:
                here = await loop.run_in_executor(green, greenserve.original("_thread").get_ident)
                assert here == greenserve.original("_thread").get_ident()
                loop.set_default_executor(green)
        asyncio.run(main())
    """
    )


def test_a_timeout_and_a_kill_end_a_loop():
    run(
        BEGIN
        + """
        ended = []
        async def main():
            try:
                await asyncio.sleep(30)
            finally:
                ended.append(1)
        for end in ("timeout", "kill"):
            def body():
                with greenserve.Timeout(0.05, False):
                    asyncio.run(main())
                greenserve.sleep(0)
            thread = greenserve.spawn(body)
            if end == "kill":
                greenserve.sleep(0.01)
                thread.kill()
            greenserve.joinall([thread], timeout=30)
        assert len(ended) == 2
        asyncio.run(asyncio.sleep(0.01))
    """
    )


def test_a_loops_handler_of_signals_leaves_the_hub_its_own():
    run(
        BEGIN
        + """
        import os, signal
        heard = []
        async def main():
            loop = asyncio.get_running_loop()
            got = loop.create_future()
            loop.add_signal_handler(signal.SIGUSR1, got.set_result, None)
            os.kill(os.getpid(), signal.SIGUSR1)
            await asyncio.wait_for(got, 30)
            loop.remove_signal_handler(signal.SIGUSR1)
        time.sleep(0)
        asyncio.run(main())
        event = greenserve.Event()
        signal.signal(signal.SIGUSR2, lambda *_: event.send("heard"))
        threading.Timer(0, lambda: None).start()
        greenserve.spawn_after(0.05, os.kill, os.getpid(), signal.SIGUSR2)
        assert event.wait(30) == "heard"
    """
    )


def test_a_loop_in_an_os_thread_without_a_hub_has_the_real_selector():
    run(
        BEGIN
        + """
        from greenserve.hub.core.hub import all_hubs
        before = len(all_hubs())
        real = greenserve.original("threading")
        result = []
        thread = real.Thread(target=lambda: result.append(asyncio.run(asyncio.sleep(0.01, "slept"))))
        thread.start()
        thread.join(30)
        assert result == ["slept"]
        assert len(all_hubs()) <= before + 1
    """
    )


def test_trio_runs_in_main_and_in_many_green_threads_beside_others():
    pytest.importorskip("trio")
    _, error = run(
        BEGIN
        + """
        import signal, trio
        ticks = []
        def tick():
            while True:
                ticks.append(1)
                time.sleep(0.001)
        threading.Thread(target=tick, daemon=True).start()
        async def main():
            async with trio.open_nursery() as nursery:
                listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
                async def shout(stream):
                    async for data in stream:
                        await stream.send_all(data.upper())
                nursery.start_soon(trio.serve_listeners, shout, listeners)
                stream = await trio.open_tcp_stream(*listeners[0].socket.getsockname()[:2])
                await stream.send_all(b"abc")
                said = await stream.receive_some(3)
                def blocking():
                    time.sleep(0.02)
                    trio.from_thread.run(trio.sleep, 0.001)
                    return greenserve.original("_thread").get_ident()
                there = await trio.to_thread.run_sync(blocking)
                assert there != greenserve.original("_thread").get_ident()  # it may call what blocks in C
                time.sleep(0.01)
                async def numbers():
                    yield 1
                    await trio.sleep(0.001)
                    yield 2
                assert [number async for number in numbers()] == [1, 2]
                process = await trio.run_process(["echo", "x"], capture_stdout=True)
                nursery.cancel_scope.cancel()
                return said, process.stdout
        expected = (b"ABC", b"x\\n")
        assert trio.run(main) == expected
        threads = [greenserve.spawn(trio.run, main) for _ in range(5)]
        threads.append(greenserve.spawn(asyncio.run, asyncio.sleep(0.05)))
        assert trio.run(main) == expected
        assert greenserve.waitall(threads) == [expected] * 5 + [None]
        assert len(ticks) > 20
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert sys.get_asyncgen_hooks() == (None, None)
    """
    )
    assert "RuntimeWarning" not in error  # trio's, of a wake-up descriptor that is not the hub's but a stranger's


def test_anyios_portals_on_asyncio_and_trio():
    pytest.importorskip("anyio")
    run(
        BEGIN
        + """
        import anyio, anyio.from_thread
        for backend in ("asyncio", "trio"):
            def call():
                with anyio.from_thread.start_blocking_portal(backend) as portal:
                    portal.call(anyio.sleep, 0.01)
                    return portal.start_task_soon(anyio.to_thread.run_sync, int, "5").result(30)
            assert greenserve.waitall([greenserve.spawn(call) for _ in range(5)]) == [5] * 5
            assert call() == 5
    """
    )


def test_only_the_main_threads_loop_handles_signals():
    run(
        BEGIN
        + """
        import signal
        async def main():
            try:
                asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, print)
            except (RuntimeError, ValueError):
                return "refused"
        assert asyncio.run(main()) is None
        assert greenserve.spawn(asyncio.run, main()).wait() == "refused"
    """
    )


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
