"""asyncio's loops in patched processes: each blocks its own green thread, and no other."""

from __future__ import annotations

from tests.green.test_monkey import run

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
        from greenserve.hub.hub import all_hubs
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
