"""The originals: for callers of `greenserve.original`, and for what must keep them."""

from __future__ import annotations

import pytest

from tests.patching.programs import run


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


def test_the_originals_are_as_they_were():
    run(
        """
        import greenserve
        greenserve.monkey_patch()
        import queue
        real = greenserve.original("queue").Queue
        assert real.empty is not queue.Queue.empty and not hasattr(real.empty, "__wrapped__")
        assert queue.Queue.empty.__name__ == "empty"
        """
    )
