"""spawn, kill, wait, timeouts and descriptors in a loop keep reference counts, objects and memory flat."""

from __future__ import annotations

import gc
import os
import socket
import sys
from collections.abc import Callable

import pytest

from greenserve.hub import Timeout, sleep, spawn, spawn_after
from greenserve.hub.core.hub import Hub, running, wake


def spawn_and_wait(hub: Hub) -> None:
    spawn(int).wait()


def kill_parked(hub: Hub) -> None:
    thread = spawn(sleep, 1000)
    sleep(0)
    thread.kill()


def kill_unbegun(hub: Hub) -> None:
    spawn(sleep, 1000).kill()
    sleep(0)  # its carrier is in the ready queue, and finds out that there is nothing to do


def kill_claimed(hub: Hub) -> None:
    tokens: list[list[object]] = []

    def park_twice() -> None:
        me = running()
        tokens.append([me])
        hub.park(me, tokens[0])
        sleep(1000)

    thread = spawn(park_twice)
    sleep(0)
    wake(tokens[0])
    thread.kill(KeyError("which comes at its next park"))
    sleep(0)
    assert thread.dead


def fail(hub: Hub) -> None:
    thread = spawn(int, "not a number")
    thread.quiet = True
    try:
        thread.wait()
    except ValueError:
        pass
    finally:
        del thread  # the error's traceback refers to this frame


def link(hub: Hub) -> None:
    thread = spawn(int)
    thread.link(id)
    thread.wait()


def later(hub: Hub) -> None:
    spawn_after(1000, int).cancel()
    hub.call_later(1000, int).cancel()


def cancel_timeout(hub: Hub) -> None:
    with Timeout(1000):
        pass


def fire_timeout(hub: Hub) -> None:
    with Timeout(0, False):
        sleep(1000)


def hand_over(hub: Hub) -> None:
    me = running()
    token = [me]
    spawn(wake, token, object())
    hub.park(me, token)


def wait_with_a_deadline(hub: Hub) -> None:
    left, right = socket.socketpair()
    with left, right:
        descriptor = hub.io.register(left.fileno())
        thread = spawn(hub.io.wait_read, descriptor, hub.clock() + 1000)
        sleep(0)
        right.send(b"x")
        thread.wait()
        try:
            hub.io.wait_read(descriptor, hub.clock())
        except TimeoutError:
            pass
        hub.io.unregister(descriptor)


def callbacks(hub: Hub) -> None:
    reader, writer = os.pipe()
    watch = hub.on_readable(reader, int)
    hub.on_writable(writer, int).cancel()
    hub.call_soon(int)
    sleep(0)
    watch.cancel()
    os.close(reader)
    os.close(writer)


CYCLES = [
    spawn_and_wait,
    kill_parked,
    kill_unbegun,
    kill_claimed,
    fail,
    link,
    later,
    cancel_timeout,
    fire_timeout,
    hand_over,
    wait_with_a_deadline,
    callbacks,
]


@pytest.mark.parametrize("cycle", CYCLES, ids=lambda cycle: cycle.__name__)
def test_a_loop_of_it_keeps_everything_flat_without_the_garbage_collector(hub: Hub, cycle: Callable[[Hub], None]):
    """Flat without it: what only the collector can free waits, with its sockets and locks, for who knows how long."""
    for _ in range(300):
        cycle(hub)
    gc.collect()
    gc.disable()
    try:
        before = measure(hub)
        for _ in range(300):
            cycle(hub)
        after = measure(hub)
    finally:
        gc.enable()
    assert after[0] - before[0] < 50, "objects"
    assert all(late - early < 10 for early, late in zip(before[1:], after[1:], strict=True))


def measure(hub: Hub) -> tuple[int, ...]:
    counts = [sys.getrefcount(thing) for thing in (None, hub, hub.loop, hub.main)]
    sizes = [
        len(hub.ready),
        len(hub.io.descriptors),
        len(hub.carriers),
        len(hub.adopted),
        len(os.listdir("/proc/self/fd")),
    ]
    return (len(gc.get_objects()), *counts[1:], *sizes)


def test_memory_stays_flat_over_many_cycles(hub: Hub):
    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def cycles(count: int) -> None:
        for _ in range(count):
            for cycle in CYCLES:
                cycle(hub)

    cycles(300)
    before = resident()
    cycles(1500)
    assert resident() - before < 2 << 20
