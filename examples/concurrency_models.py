"""Four ways to do many things at once, compared on one job that waits and one that computes.

python concurrency_models.py [--requests 200] [--numbers 16] [--chart concurrency_models.svg]

The I/O-bound job asks a server (another process, which the program starts) so many times; each answer takes 50 ms.
The CPU-bound job counts the primes below a million so many times. The program prints a table and draws a chart; the
figures are this machine's, and they move from run to run. What to expect: whatever waits can be done by any of the
four, and green threads do it in plain blocking code on one OS thread; what computes gets faster by processes alone.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from html import escape
from pathlib import Path

import greenserve

DELAY = 0.05  # seconds that an answer takes
BELOW = 1_000_000  # the primes below this are counted
PRIMES = 78_498  # so many they are
PROCESSES = 8  # for the job that waits: each does one request at a time


# -- the two jobs


def ask(connect, address, number):
    """One request, over a blocking socket: a real one, or a green one."""
    with connect(address) as sock:
        sock.sendall(b"%d\n" % number)
        return int(sock.recv(100))


async def ask_asyncio(address, number):
    """The same request, written for asyncio."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"%d\n" % number)
    answer = int(await reader.readline())
    writer.close()
    await writer.wait_closed()
    return answer


def count_primes(below):
    sieve = bytearray([1]) * below
    sieve[:2] = b"\0\0"
    for number in range(2, int(below**0.5) + 1):
        if sieve[number]:
            for multiple in range(number * number, below, number):
                sieve[multiple] = 0
    return sum(sieve)


# -- the four models: each has a way to ask `numbers` and a way to compute for `numbers`


def with_executor(executor: Executor, function, *iterables):
    with executor:
        return list(executor.map(function, *iterables))


def threads_io(address, numbers):
    ask_real = partial(ask, socket.create_connection, address)
    return with_executor(ThreadPoolExecutor(len(numbers)), ask_real, numbers)


def threads_cpu(numbers):
    return with_executor(ThreadPoolExecutor(len(numbers)), count_primes, [BELOW] * len(numbers))


def processes_io(address, numbers):
    return with_executor(ProcessPoolExecutor(PROCESSES), partial(ask, socket.create_connection, address), numbers)


def processes_cpu(numbers):
    return with_executor(ProcessPoolExecutor(os.cpu_count()), count_primes, [BELOW] * len(numbers))


def asyncio_io(address, numbers):
    async def gather():
        return await asyncio.gather(*(ask_asyncio(address, number) for number in numbers))

    return asyncio.run(gather())


def asyncio_cpu(numbers):
    async def compute():
        return count_primes(BELOW)

    async def gather():
        return await asyncio.gather(*(compute() for _ in numbers))

    return asyncio.run(gather())


def green_io(address, numbers):
    return list(greenserve.GreenPool(len(numbers)).imap(partial(ask, greenserve.connect, address), numbers))


def green_cpu(numbers):
    return list(greenserve.GreenPool(len(numbers)).imap(count_primes, [BELOW] * len(numbers)))


MODELS = {
    "OS threads": (threads_io, threads_cpu),
    "processes": (processes_io, processes_cpu),
    "asyncio": (asyncio_io, asyncio_cpu),
    "green threads": (green_io, green_cpu),
}


# -- measuring and showing


def serve():
    """The server's process: doubles numbers, slowly, and ends when its input does."""

    def double(connection, address):
        number = int(connection.recv(100))
        greenserve.sleep(DELAY)
        connection.sendall(b"%d\n" % (2 * number))

    with greenserve.StreamServer(("127.0.0.1", 0), double, pool=10_000) as server:
        print(server.address[1], flush=True)
        greenserve.tpool.execute(sys.stdin.read)


def measured(requests, numbers):
    """{model: (seconds of the I/O job, seconds of the CPU job)}."""
    command = [sys.executable, __file__, "--serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        address = ("127.0.0.1", int(server.stdout.readline()))
        seconds = {}
        for name, (io, cpu) in MODELS.items():
            asked, computed = range(requests), range(numbers)
            io_seconds = timed(partial(io, address, asked), [2 * number for number in asked])
            cpu_seconds = timed(partial(cpu, computed), [PRIMES] * numbers)
            seconds[name] = (io_seconds, cpu_seconds)
        server.stdin.close()
    return seconds


def timed(job, expected):
    begun = time.perf_counter()
    result = job()
    took = time.perf_counter() - begun
    if result != expected:
        raise RuntimeError(f"{job} computed {result}")
    return took


def table(titles, seconds):
    lines = [f"{'':<14}{titles[0]:>28}{titles[1]:>28}"]
    lines += [f"{name:<14}{io:>26.2f} s{cpu:>26.2f} s" for name, (io, cpu) in seconds.items()]
    return "\n".join(lines)


def chart(titles, seconds):
    """An SVG: a group of bars for each job, the longest of each as long as there is room."""
    parts, top = [], 10
    for job, title in enumerate(titles):
        parts.append(f'<text x="10" y="{top + 16}" font-weight="bold">{escape(title)}, seconds</text>')
        longest = max(pair[job] for pair in seconds.values())
        for row, (name, pair) in enumerate(seconds.items()):
            y, width = top + 28 + 24 * row, max(1, 380 * pair[job] / longest)
            colour = "#17a35b" if name == "green threads" else "#b9c4be"
            parts.append(f'<text x="120" y="{y + 13}" text-anchor="end">{escape(name)}</text>')
            parts.append(f'<rect x="130" y="{y}" width="{width:.1f}" height="17" rx="2" fill="{colour}"/>')
            parts.append(f'<text x="{137 + width:.1f}" y="{y + 13}">{pair[job]:.2f}</text>')
        top += 40 + 24 * len(seconds)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="600" height="{top}" font-family="sans-serif" font-size="13">'
    )
    return "\n".join([head, '<rect width="600" height="100%" fill="white"/>', *parts, "</svg>\n"])


def main():
    parser = argparse.ArgumentParser(description="Compare OS threads, processes, asyncio and green threads.")
    parser.add_argument("--requests", type=int, default=200, help="of the I/O-bound job (default 200)")
    parser.add_argument("--numbers", type=int, default=16, help="counts of the CPU-bound job (default 16)")
    parser.add_argument("--chart", type=Path, default=Path("concurrency_models.svg"), help="where the chart goes")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    seconds = measured(options.requests, options.numbers)
    titles = (f"I/O: {options.requests} requests", f"CPU: {options.numbers} prime counts")
    print(table(titles, seconds))
    options.chart.write_text(chart(titles, seconds), "utf-8")
    print(f"chart: {options.chart} ({os.cpu_count()} cores)")


if __name__ == "__main__":
    main()
