"""A request that sleeps, and a burst of them, sent by green threads of this very process.

A browser opens about six connections to one host, so it cannot show a thousand requests at once. The burst does: each
of its green threads makes one ordinary `http.client` request over TCP to the address on which this server listens, and
it is accepted, parsed and answered like any other request.
"""

from __future__ import annotations

import resource
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import quote

import greenserve
from greenserve.demo.activity import Quota
from greenserve.demo.web import Body, Refused, Request, Response, json_line

MAX_SECONDS = 10.0
MAX_BURST = 1000
REPORT_INTERVAL = 0.1  # seconds between two lines of a burst's report
BATCH = 20  # clients spawned between two pauses
SPARE_FILES = 64  # descriptors that a burst leaves for everything else
PATIENCE = 60.0  # seconds that a client of a burst waits beyond the sleep, when the server is busy
MAX_ERROR_KINDS = 3

clients = Quota(2 * MAX_BURST)


def slow(request: Request) -> Response:
    """Sleep for a while, as a request sleeps that waits for a slow database or a slow upstream."""
    seconds = request.number("seconds", 2.0, 0.0, MAX_SECONDS, "seconds")
    time.sleep(seconds)
    return Response.text(f"slept {seconds:g} s")


def burst(request: Request) -> Response:
    """Send `n` requests for /slow at once, and stream a report of how they fare."""
    n = request.integer("n", 200, 1, MAX_BURST)
    seconds = request.number("seconds", 2.0, 0.0, MAX_SECONDS, "seconds")
    connect = own_connection(request.environ, seconds + PATIENCE)
    _refuse_without_files(n)
    if not clients.take(n):
        text = f"{clients.taken} requests of earlier bursts are still under way; at most {clients.most} may be."
        raise Refused("429 Too Many Requests", text, [("Retry-After", str(round(seconds) + 1))])
    path = quote(request.environ.get("SCRIPT_NAME", ""), encoding="latin-1") + f"/slow?seconds={seconds:g}"
    run = Burst(n, seconds, connect, path)
    return Response.stream(Body(run.report(), run.abandon))


class Burst:
    """`n` clients of /slow and what became of them. It holds `n` of the quota `clients` until each has ended."""

    def __init__(self, n: int, seconds: float, connect: Callable[[], HTTPConnection], path: str) -> None:
        self.n = n
        self.seconds = seconds
        self.done = 0
        self.failed = 0
        self.slowest = 0.0
        self.errors: Counter[str] = Counter()
        self._connect = connect
        self._path = path
        self._started = False

    def report(self) -> Iterator[bytes]:
        """Spawn the clients; then lines of JSON until all of them have ended."""
        self._started = True
        begin = time.monotonic()
        for number in range(1, self.n + 1):
            greenserve.spawn(self._client)
            if number % BATCH == 0:
                # A thousand fresh connections are work for a second: without a pause it would be done in one go, and
                # every other wake-up would be late by that second.
                time.sleep(0)
        while self.done + self.failed < self.n:
            yield self._line(begin, finished=False)
            time.sleep(REPORT_INTERVAL)
        yield self._line(begin, finished=True)

    def abandon(self) -> None:
        """The report's reader has gone. Clients that run go on to their end; those never spawned are given back."""
        if not self._started:
            clients.free(self.n)

    def _client(self) -> None:
        begin = time.monotonic()
        try:
            connection = self._connect()
            try:
                connection.request("GET", self._path, headers={"Connection": "close"})
                response = connection.getresponse()
                response.read()
            finally:
                connection.close()
            if response.status != 200:
                raise HTTPException(f"{response.status} {response.reason}")
            self.done += 1
        except (OSError, HTTPException) as error:
            self.failed += 1
            text = f"{type(error).__name__}: {error}"
            if text in self.errors or len(self.errors) < MAX_ERROR_KINDS:
                self.errors[text] += 1
        finally:
            self.slowest = max(self.slowest, time.monotonic() - begin)
            clients.free()

    def _line(self, begin: float, *, finished: bool) -> bytes:
        return json_line(
            {
                "n": self.n,
                "seconds": self.seconds,
                "done": self.done,
                "failed": self.failed,
                "elapsed": round(time.monotonic() - begin, 3),
                "slowest": round(self.slowest, 3),
                "errors": self.errors,
                "finished": finished,
            }
        )


def own_connection(environ: dict[str, Any], timeout: float) -> Callable[[], HTTPConnection]:
    """What makes a connection to this server itself, by TLS if the request has come so. Raises Refused."""
    host, port = own_address(environ)
    if "SSL_PROTOCOL" not in environ:
        return lambda: HTTPConnection(host, port, timeout=timeout)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the certificate need not have this address
    context.verify_mode = ssl.CERT_NONE
    return lambda: HTTPSConnection(host, port, timeout=timeout, context=context)


def own_address(environ: dict[str, Any]) -> tuple[str, int]:
    """Host and port at which this server can reach itself. Refused when that is not over TCP, or a proxy's.

    The host comes from the listening socket, never from the Host header, which is whatever a client makes of it.
    """
    if environ["wsgi.url_scheme"] != ("https" if "SSL_PROTOCOL" in environ else "http"):
        raise Refused("409 Conflict", "The burst calls this server itself, which was reached through a proxy.")
    port = str(environ.get("SERVER_PORT", ""))
    by_unix_socket = environ.get("REMOTE_ADDR") == ""
    if by_unix_socket or not port.isdecimal() or not 0 < int(port) < 65536:
        raise Refused("409 Conflict", "The burst needs a TCP address to call, and this server was reached without one.")
    try:
        address = ip_address(environ["SERVER_NAME"])
    except ValueError:
        return "127.0.0.1", int(port)
    if address.is_unspecified:
        return ("127.0.0.1" if address.version == 4 else "::1"), int(port)
    return str(address), int(port)


def _refuse_without_files(n: int) -> None:
    room = free_files()
    if room is not None and 2 * n + SPARE_FILES > room:
        most = max(0, (room - SPARE_FILES) // 2)
        text = (
            f"This process may open only {room} more files, and each request of a burst needs two (both ends of its "
            f"connection are here): at most {most} requests for now. Raise the limit with `ulimit -n 65536`."
        )
        raise Refused("503 Service Unavailable", text)


def free_files() -> int | None:
    """How many descriptors this process may still open; None where the system does not tell."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        opened = sum(1 for _ in Path("/proc/self/fd").iterdir())
    except OSError:
        return None
    return limit - opened if limit != resource.RLIM_INFINITY else None
