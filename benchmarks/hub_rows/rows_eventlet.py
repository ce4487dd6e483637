"""The rows of the hub comparison, for eventlet. Each takes how many operations to do and returns their seconds."""

from __future__ import annotations

from time import perf_counter

import eventlet
import eventlet.queue


def nothing() -> None: ...


def spawn_and_wait(count: int) -> float:
    start = perf_counter()
    for _ in range(count):
        eventlet.spawn(nothing).wait()
    return perf_counter() - start


def spawn_thousand(count: int) -> float:
    start = perf_counter()
    for _ in range(count // 1000):
        for thread in [eventlet.spawn(nothing) for _ in range(1000)]:
            thread.wait()
    return perf_counter() - start


def sleep_zero(count: int) -> float:
    def turn(turns: int) -> None:
        for _ in range(turns):
            eventlet.sleep(0)

    start = perf_counter()
    threads = [eventlet.spawn(turn, count // 100) for _ in range(100)]
    for thread in threads:
        thread.wait()
    return perf_counter() - start


def queue_round_trip(count: int) -> float:
    there, back = eventlet.queue.Queue(), eventlet.queue.Queue()

    def answer() -> None:
        for _ in range(count):
            back.put(there.get())

    answering = eventlet.spawn(answer)
    start = perf_counter()
    for number in range(count):
        there.put(number)
        back.get()
    elapsed = perf_counter() - start
    answering.wait()
    return elapsed


def timeout_start_and_cancel(count: int) -> float:
    start = perf_counter()
    for _ in range(count):
        eventlet.Timeout(10).cancel()
    return perf_counter() - start


def timed_sleeps(count: int) -> float:
    def doze(turns: int) -> None:
        for _ in range(turns):
            eventlet.sleep(0.001)

    start = perf_counter()
    threads = [eventlet.spawn(doze, 10) for _ in range(count // 10)]
    for thread in threads:
        thread.wait()
    return perf_counter() - start


def tcp_echo_round_trip(count: int) -> float:
    listener = eventlet.listen(("127.0.0.1", 0))

    def echo() -> None:
        peer, _ = listener.accept()
        while data := peer.recv(4096):
            peer.sendall(data)
        peer.close()

    echoing = eventlet.spawn(echo)
    client = eventlet.connect(listener.getsockname())
    message = b"x" * 64
    start = perf_counter()
    for _ in range(count):
        client.sendall(message)
        client.recv(4096)
    elapsed = perf_counter() - start
    client.close()
    echoing.wait()
    listener.close()
    return elapsed


def pool_spawn(count: int) -> float:
    pool = eventlet.GreenPool(100)
    start = perf_counter()
    for _ in range(count):
        pool.spawn(nothing)
    pool.waitall()
    return perf_counter() - start


def park(count: int) -> object:
    parked = 0

    def doze() -> None:
        nonlocal parked
        parked += 1
        eventlet.sleep(3600)

    threads = [eventlet.spawn(doze) for _ in range(count)]
    while parked < count:
        eventlet.sleep(0.01)
    return threads
