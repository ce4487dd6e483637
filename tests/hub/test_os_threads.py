"""One hub for each OS thread, which leaves nothing behind when the thread ends."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import weakref
from collections.abc import Callable

import greenlet
import pytest

from greenserve.hub import Timeout, sleep, spawn
from greenserve.hub.core.hub import Hub, all_hubs, current_hub, running, wake
from greenserve.hub.core.wakeup import Wakeup


def in_os_thread(function: Callable[[], object]) -> None:
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            function()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    thread.join()
    task = f"/proc/self/task/{thread.native_id}"
    while os.path.exists(task):  # join comes back a little before the greenlet library has cleaned up
        os.sched_yield()
    if errors:
        raise errors[0]


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def use_everything() -> None:
    """Every kind of green thread, parked when the OS thread ends."""
    hub = current_hub()
    me = running()
    reader, writer = os.pipe()
    spawn(sleep, 1000)
    spawn(hub.wait_readable, reader).quiet = True
    hub.on_writable(writer, int).cancel()
    spawn(hub.park, me, [me]).cancel()
    spawn(int).wait()
    spawn(greenlet.greenlet(lambda: sleep(1000)).switch)
    with Timeout(1000):
        sleep(0)
    hub.call_later(1000, print)
    sleep(0.001)
    hub.io.unregister_fd(reader)
    os.close(reader)
    os.close(writer)
    spawn(print, "never begun")


def test_each_os_thread_has_a_hub_of_its_own(hub: Hub):
    found: list[Hub] = []
    in_os_thread(lambda: found.append(current_hub()))
    assert found[0] is not hub
    assert current_hub() is hub


def test_an_ended_os_threads_hub_leaves_no_descriptors_and_no_objects(hub: Hub):
    in_os_thread(use_everything)
    before = open_descriptors(), len(all_hubs())
    alive = []

    def work() -> None:
        use_everything()
        alive.append(weakref.ref(current_hub()))
        alive.append(weakref.ref(current_hub().loop))
        alive.extend(weakref.ref(carrier) for carrier in current_hub().carriers)

    for _ in range(10):
        in_os_thread(work)
    assert (open_descriptors(), len(all_hubs())) == before
    greenlet.greenlet(int).switch()  # the greenlet library frees an ended thread's at its next occasion
    gc.collect()
    assert [reference() for reference in alive if reference() is not None] == []


def test_many_short_lived_os_threads_grow_nothing(hub: Hub):
    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    for _ in range(50):
        in_os_thread(use_everything)
    gc.collect()
    objects, memory = len(gc.get_objects()), resident()
    for _ in range(200):
        in_os_thread(use_everything)
    gc.collect()
    assert len(gc.get_objects()) - objects < 200
    assert resident() - memory < 8 << 20


def test_green_threads_end_with_their_os_thread(hub: Hub):
    ends: list[str] = []

    def unwinding() -> None:
        try:
            sleep(1000)
        finally:
            ends.append("finally")
            with contextlib.suppress(BaseException):
                sleep(1000)
            ends.append("not held up")

    def work() -> None:
        spawn(unwinding)
        sleep(0)

    in_os_thread(work)
    assert ends == ["finally", "not held up"]


def test_who_waits_for_a_green_thread_of_an_os_thread_that_ends_is_told(hub: Hub):
    threads = []
    begun = threading.Event()
    seen = threading.Event()

    def work() -> None:
        threads.append(spawn(sleep, 1000))
        sleep(0)
        threads.append(spawn(sleep, 1000))
        begun.set()
        seen.wait()

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait()
    waiters = [spawn(each.join) for each in threads]
    sleep(0)
    seen.set()
    assert [waiter.wait() for waiter in waiters] == [True, True]
    thread.join()


def test_a_late_wake_up_for_an_ended_hub_harms_nobody(hub: Hub):
    tokens: list[list[object]] = []
    hubs: list[Hub] = []

    def work() -> None:
        me = running()
        tokens.append([me])
        hubs.append(current_hub())
        current_hub().sleeping = True  # as another OS thread may still believe

    in_os_thread(work)
    before = open_descriptors()
    reader, writer = os.pipe()  # these have the numbers of the ended hub's
    os.set_blocking(reader, False)
    wake(tokens[0])
    hubs[0].call_soon_threadsafe(print, "never")
    hubs[0].wakeup.wake()
    hubs[0].wakeup.drain()
    with pytest.raises(BlockingIOError):
        os.read(reader, 1)
    os.close(reader)
    os.close(writer)
    assert open_descriptors() == before


def test_a_full_wake_up_pipe_still_wakes():
    wakeup = Wakeup()
    for _ in range(70_000):
        wakeup.wake()
    wakeup.drain()
    wakeup.close()
    wakeup.close()
    wakeup.wake()
