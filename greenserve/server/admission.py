"""Which connections may come in, and which give way: at most so many altogether, and so many of one client.

Strategy. No server can keep a client from connecting, but it can make that cheap. When there are as many connections as
there may be, those give way that wait for their clients, kept alive or silent, the longest silent first. If there are
none, new ones wait in the kernel's queue for a moment, since a burst of short requests is over soon. After that a new
one gets 503 without a parser and a green thread, and is closed. To find silent ones means to look at all connections,
so it is done at times, for many that come.

A client is an IPv4 address, or a /64 of IPv6: providers give one to each customer, and any address of it may be used.
"""

from __future__ import annotations

import heapq
import ipaddress
import logging
from collections.abc import Callable, Set
from enum import Enum
from typing import Any

from greenserve.server import deadlines, machine
from greenserve.settings import Settings
from greenserve.settings.networks import parse_networks

logger = logging.getLogger("greenserve.server")

PATIENCE = 1.0  # seconds that a new connection waits in the kernel's queue for another to end, before 503 is the answer
IDLE_PERIOD = 60.0  # seconds between two lines about idle connections that were closed
SILENT_SECONDS = 0.25  # what a new connection has for its first bytes even then
RELIEF = 16  # silent connections that are closed at once when descriptors have run out
CANDIDATES = 1024  # that are looked up at once
LOOK_SHARE = 20  # one part in so many of the time goes to looking, at the most
EACH_SHARE = 4  # by default one client has a quarter of the connections: it takes four to take them all
# By default these are not limited at all: in them are load balancers, ingresses, gateways of containers, few addresses
# with all the world behind them. RFC 1918, RFC 6598, RFC 4193, RFC 4291 §2.5.6.
PRIVATE = parse_networks(["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fe80::/10"])
NO_ROOM = "the server has as many connections as it may have; try again in a moment"


class Verdict(Enum):
    """What becomes of a new connection."""

    WELCOME = "welcome"
    WAIT = "wait"  # in the kernel's queue: ask again soon
    REFUSED = "refused"


class Counted:
    """A warning about what may happen thousands of times a second: one in `period` seconds at most, with a count."""

    __slots__ = ("_clock", "_count", "_due", "_last", "_period", "_text")

    def __init__(self, text: str, clock: Callable[[], float], period: float = 1.0) -> None:
        self._period = period
        self._text = text  # with places for the count and for what `add` gets
        self._clock = clock
        self._count = 0
        self._due = 0.0
        self._last: tuple[object, ...] = ()

    def add(self, *last: object) -> None:
        """It has happened."""
        self._count += 1
        self._last = last
        self.tick()

    def tick(self) -> None:
        """Log what has happened since, if a line is due."""
        now = self._clock()
        if self._count and now >= self._due:
            logger.warning(self._text, self._count, *self._last)
            self._count = 0
            self._due = now + self._period


class Admission:
    """Counts the connections of each client. Unix sockets' clients, trusted proxies and exempt networks have no limit,
    nor by default private networks.

    connections: all that there are; its owner adds and removes. most, each: the limits, of all and of one client.
    """

    __slots__ = (
        "_candidates",
        "_clients",
        "_clock",
        "_connections",
        "_exempt",
        "_full_since",
        "_latest",
        "_look_at",
        "_of_all",
        "_of_client",
        "_of_idle",
        "_of_requests",
        "each",
        "most",
    )

    def __init__(
        self,
        settings: Settings,
        connections: Set[Any],
        clock: Callable[[], float],
    ) -> None:
        self.most: int = settings.max_connections or machine.connections(settings.max_head)
        self.each: int = settings.max_connections_per_client or max(1, self.most // EACH_SHARE)
        self._connections = connections
        self._clock = clock
        self._exempt = [settings.trusted_proxies, settings.max_connections_per_client_exempt]
        if settings.max_connections_per_client is None:
            self._exempt.append(PRIVATE)
        self._clients: dict[str, int] = {}
        self._candidates: list[Any] = []  # to give way, the first at the end
        self._latest = 0.0  # since when they are silent, at the latest
        self._look_at = 0.0  # when to look for candidates again
        self._full_since: float | None = None
        workers = settings.workers or 1
        here = "" if workers == 1 else f" in each of {workers} workers"
        what = f"there are max_connections ({self.most}{here}) already; {machine.MORE_CONNECTIONS}"
        self._of_all = Counted(f"refused connections: %d, the last from %s: {what}", clock)
        self._of_idle = Counted(f"closed idle connections to make room: %d; {what}", clock, IDLE_PERIOD)
        self._of_client = Counted(
            "refused connections: %d, the last from %s: a client may have max_connections_per_client "
            f"({self.each}{here}); a proxy belongs into trusted_proxies or max_connections_per_client_exempt",
            clock,
        )
        self._of_requests = Counted("requests answered with 503: %d, the last from %s: %s", clock)

    # -- coming and going

    def judge(self, address: str) -> Verdict:
        """Whether there is room for one more connection from `address` ("": a Unix socket's client)."""
        if len(self._connections) < self.most or self._make_room():
            self._full_since = None
            return Verdict.WELCOME if self.admits_client(address) else Verdict.REFUSED
        now = self._clock()
        if self._full_since is None:
            self._full_since = now
        if now - self._full_since < PATIENCE:
            return Verdict.WAIT
        self._of_all.add(address or "a Unix socket's client")
        return Verdict.REFUSED

    def admits_client(self, address: str) -> bool:
        """Whether the client at `address` may have one more connection."""
        if self._clients.get(client_of(address), 0) < self.each or self._is_exempt(address):
            return True
        self._of_client.add(address)
        return False

    def _is_exempt(self, address: str) -> bool:
        return not address or any(each.trust(address) for each in self._exempt)

    def enter(self, address: str) -> None:
        """A connection from `address` has come in."""
        client = client_of(address)
        self._clients[client] = self._clients.get(client, 0) + 1

    def leave(self, address: str) -> None:
        """It has gone."""
        client = client_of(address)
        left = self._clients[client] - 1
        if left:
            self._clients[client] = left
        else:
            del self._clients[client]

    def refuse_request(self, peer: str, why: str) -> None:
        """A request has been answered with 503: log it."""
        self._of_requests.add(peer, why)

    def tick(self) -> None:
        """Once a second: what is left to log; and what has ended is not kept."""
        self._candidates.clear()
        self._of_all.tick()
        self._of_idle.tick()
        self._of_client.tick()
        self._of_requests.tick()

    # -- which give way

    def _make_room(self) -> bool:
        made = self.relieve(1)
        if made:
            self._of_idle.add()
        return made

    def relieve(self, count: int = RELIEF) -> bool:
        """Connections without a request give way, first those that are silent for longest, until `count` have gone.
        Returns whether that has freed some.
        """
        before = len(self._connections)
        while len(self._connections) > before - count:
            if not self._candidates and not self._look():
                break
            connection = self._candidates.pop()
            if deadlines.silent_since(connection) <= self._latest:
                deadlines.make_room(connection)
        return len(self._connections) < before

    def _look(self) -> bool:
        """Look for candidates, if it is not too soon. Returns whether there are any."""
        now = self._clock()
        if now < self._look_at:
            return False
        self._latest = now - SILENT_SECONDS
        silent = [each for each in self._connections if deadlines.silent_since(each) <= self._latest]
        self._candidates = heapq.nsmallest(CANDIDATES, silent, key=deadlines.silent_since)[::-1]
        end = self._clock()
        self._look_at = end + max(SILENT_SECONDS, (end - now) * LOOK_SHARE)
        return bool(self._candidates)


def client_of(address: str) -> str:
    """The client that an address belongs to: an IPv6 address stands for its /64, an IPv4 one for itself."""
    if ":" not in address:
        return address
    ip = ipaddress.IPv6Address(address)
    if ip.ipv4_mapped is not None:  # so a socket for both families writes the address of an IPv4 client
        return str(ip.ipv4_mapped)
    return ip.packed[:8].hex()
