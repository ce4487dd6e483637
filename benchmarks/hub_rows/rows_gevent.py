"""The rows of the hub comparison, for gevent. Each takes how many operations to do and returns their seconds."""

from __future__ import annotations

from time import perf_counter

import gevent
import gevent.pool
import gevent.queue
import gevent.socket


def nothing() -> None: ...


def spawn_and_wait(count: int) -> float:
    start = perf_counter()
    for _ in range(count):
        gevent.spawn(nothing).get()
    return perf_counter() - start


def spawn_thousand(count: int) -> float:
    start = perf_counter()
    for _ in range(count // 1000):
        for thread in [gevent.spawn(nothing) for _ in range(1000)]:
            thread.get()
    return perf_counter() - start


def sleep_zero(count: int) -> float:
    def turn(turns: int) -> None:
        for _ in range(turns):
            gevent.sleep(0)

    start = perf_counter()
    threads = [gevent.spawn(turn, count // 100) for _ in range(100)]
    for thread in threads:
        thread.get()
    return perf_counter() - start


def queue_round_trip(count: int) -> float:
    there, back = gevent.queue.Queue(), gevent.queue.Queue()

    def answer() -> None:
        for _ in range(count):
            back.put(there.get())

    answering = gevent.spawn(answer)
    start = perf_counter()
    for number in range(count):
        there.put(number)
        back.get()
    elapsed = perf_counter() - start
    answering.get()
    return elapsed


def timeout_start_and_cancel(count: int) -> float:
    start = perf_counter()
    for _ in range(count):
        gevent.Timeout.start_new(10).close()
    return perf_counter() - start


def timed_sleeps(count: int) -> float:
    def doze(turns: int) -> None:
        for _ in range(turns):
            gevent.sleep(0.001)

    start = perf_counter()
    threads = [gevent.spawn(doze, 10) for _ in range(count // 10)]
    for thread in threads:
        thread.get()
    return perf_counter() - start


def tcp_echo_round_trip(count: int) -> float:
    listener = gevent.socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()

    def echo() -> None:
        peer, _ = listener.accept()
        while data := peer.recv(4096):
            peer.sendall(data)
        peer.close()

    echoing = gevent.spawn(echo)
    client = gevent.socket.create_connection(listener.getsockname())
    message = b"x" * 64
    start = perf_counter()
    for _ in range(count):
        client.sendall(message)
        client.recv(4096)
    elapsed = perf_counter() - start
    client.close()
    echoing.get()
    listener.close()
    return elapsed


def pool_spawn(count: int) -> float:
    pool = gevent.pool.Pool(100)
    start = perf_counter()
    for _ in range(count):
        pool.spawn(nothing)
    pool.join()
    return perf_counter() - start


def park(count: int) -> object:
    parked = 0

    def doze() -> None:
        nonlocal parked
        parked += 1
        gevent.sleep(3600)

    threads = [gevent.spawn(doze) for _ in range(count)]
    while parked < count:
        gevent.sleep(0.01)
    return threads
