"""The rows of the hub comparison, for asyncio: the nearest equivalent of each. Each takes how many operations to do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter


async def nothing() -> None: ...


def in_a_loop(row: Callable[[int], Awaitable[float]]) -> Callable[[int], float]:
    async def main(count: int) -> float:
        return await row(count)

    return lambda count: asyncio.run(main(count))


@in_a_loop
async def spawn_and_wait(count: int) -> float:
    start = perf_counter()
    for _ in range(count):
        await asyncio.create_task(nothing())
    return perf_counter() - start


@in_a_loop
async def spawn_thousand(count: int) -> float:
    start = perf_counter()
    for _ in range(count // 1000):
        for task in [asyncio.create_task(nothing()) for _ in range(1000)]:
            await task
    return perf_counter() - start


@in_a_loop
async def sleep_zero(count: int) -> float:
    async def turn(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)

    start = perf_counter()
    await asyncio.gather(*[turn(count // 100) for _ in range(100)])
    return perf_counter() - start


@in_a_loop
async def queue_round_trip(count: int) -> float:
    there: asyncio.Queue[int] = asyncio.Queue()
    back: asyncio.Queue[int] = asyncio.Queue()

    async def answer() -> None:
        for _ in range(count):
            await back.put(await there.get())

    answering = asyncio.create_task(answer())
    start = perf_counter()
    for number in range(count):
        await there.put(number)
        await back.get()
    elapsed = perf_counter() - start
    await answering
    return elapsed


@in_a_loop
async def timeout_start_and_cancel(count: int) -> float:
    start = perf_counter()
    for _ in range(count):
        async with asyncio.timeout(10):
            pass
    return perf_counter() - start


@in_a_loop
async def timed_sleeps(count: int) -> float:
    async def doze(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0.001)

    start = perf_counter()
    await asyncio.gather(*[doze(10) for _ in range(count // 10)])
    return perf_counter() - start


@in_a_loop
async def tcp_echo_round_trip(count: int) -> float:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    message = b"x" * 64
    start = perf_counter()
    for _ in range(count):
        writer.write(message)
        await writer.drain()
        await reader.read(4096)
    elapsed = perf_counter() - start
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()
    return elapsed


@in_a_loop
async def pool_spawn(count: int) -> float:
    # asyncio has no pool; a semaphore taken before each task and released by it is the documented way to bound tasks.
    free = asyncio.Semaphore(100)

    async def pooled() -> None:
        await nothing()
        free.release()

    start = perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            await free.acquire()
            group.create_task(pooled())
    return perf_counter() - start


def park(count: int) -> object:
    loop = asyncio.new_event_loop()
    parked = 0

    async def doze() -> None:
        nonlocal parked
        parked += 1
        await asyncio.sleep(3600)

    async def start() -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(doze()) for _ in range(count)]
        while parked < count:
            await asyncio.sleep(0.01)
        return tasks

    return loop, loop.run_until_complete(start())
