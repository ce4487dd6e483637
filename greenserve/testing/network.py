"""A network in memory, for tests of clients and servers on green threads: no descriptors, no ports, no real time.

::

    with greenserve.testing.virtual_time(seed=7) as clock, greenserve.testing.network() as network:
        network.to(("server", 80), latency=0.1, pieces=3)
        with greenserve.StreamServer(("server", 80), handler):
            client = greenserve.connect(("server", 80))

Strategy: while a network is there, `greenserve.listen`, `connect` and what is built on them make its sockets instead of
the system's. These are green sockets by their class, so that code which asks sees what it expects; each call that
would reach the system is overridden. Faults are conditions of an address, for connections made from then on, or of one
connection at any time.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import random
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from greenserve.hub.core.hub import current_hub
from greenserve.hub.greenthread import sleep
from greenserve.testing.conditions import NAMES, Conditions
from greenserve.testing.memory import MemorySocket
from greenserve.testing.stream import Deliveries, Gate, Stream, failure

FIRST_PORT = 49152  # of those that the network chooses: the dynamic ones (RFC 6335 §6)
_ANY = ("", "0.0.0.0", "::")  # noqa: S104 - names for every host of a network that has none but this process


class Connection:
    """One connection, as the test sees it. client, server: the addresses of its ends. carried: bytes so far."""

    def __init__(self, network: Network, client: Any, server: Any, conditions: Conditions) -> None:
        self.client = client
        self.server = server
        self.carried = 0
        self._streams = tuple(Stream(network.deliveries, network.clock, network.chance, conditions) for _ in range(2))

    def __repr__(self) -> str:
        return f"<Connection {self.client} -> {self.server}, {self.carried} bytes>"

    @property
    def conditions(self) -> Conditions:
        """The present ones."""
        return self._streams[0].conditions

    def change(self, **conditions: Any) -> None:
        """Change some of its conditions; what is sent from now on has the new ones."""
        changed = replace(self.conditions, **conditions)
        for stream in self._streams:
            stream.conditions = changed
            stream.writable.open()

    def cut(self) -> None:
        """Reset it: both ends get ConnectionResetError, and what is under way is lost."""
        for stream in self._streams:
            stream.break_off(errno.ECONNRESET)

    def ends(self) -> tuple[MemorySocket, MemorySocket]:
        """The sockets of the client and of the server."""
        there, back = self._streams
        client = MemorySocket(self.client, self.server, back, there, self)
        return client, MemorySocket(self.server, self.client, there, back, self)

    def allow(self, size: int) -> int:
        """How many of `size` bytes may pass before it is cut; they count as carried."""
        limit = self.conditions.cut_after
        allowed = size if limit is None else min(size, limit - self.carried)
        self.carried += allowed
        return allowed


class Listening:
    """An address at which connections are accepted."""

    def __init__(self, address: Any, backlog: int) -> None:
        self.address = address
        self.backlog = max(1, backlog)
        self.queue: deque[tuple[MemorySocket, Any]] = deque()
        self.arrived = Gate("accept from this socket")


class Network:
    """A network in memory. Made by `network`.

    connections: those that were made, in that order. clock: the hub's.
    """

    def __init__(self, seed: int | None) -> None:
        hub = current_hub()
        self.clock = hub.clock
        self.chance = random.Random(0 if seed is None else seed)  # noqa: S311 - an order, not a secret
        self.deliveries = Deliveries(hub, self.chance)
        self.connections: list[Connection] = []
        self._listening: dict[Any, Listening] = {}
        self._conditions: dict[Any, Conditions] = {}
        self._ports = itertools.count(FIRST_PORT)

    def to(self, address: Any = None, **conditions: Any) -> None:
        """Set conditions of the connections to `address` made from now on; None: to those without conditions of
        their own. Raises TypeError for an unknown condition, ValueError for an invalid number.
        """
        unknown = conditions.keys() - NAMES
        if unknown:
            raise TypeError(f"no such conditions: {', '.join(sorted(unknown))}; there are {', '.join(sorted(NAMES))}")
        key = _normal(address)
        self._conditions[key] = replace(self._conditions_of(key), **conditions)

    def _conditions_of(self, key: Any) -> Conditions:
        return self._conditions.get(key) or self._conditions.get(None) or Conditions()

    # -- what greenserve.listen and greenserve.connect call

    def listen(self, address: Any, backlog: int) -> MemorySocket:
        """A listening socket. Raises OSError (EADDRINUSE)."""
        address = self._bound(address)
        key = _normal(address)
        if key in self._listening:
            raise failure(errno.EADDRINUSE)
        listening = self._listening[key] = Listening(address, backlog)
        sock = MemorySocket(address)
        sock.listening = listening
        sock.network = self
        return sock

    def forget(self, listening: Listening) -> None:
        """A listening socket is closed: the connections in its queue are refused."""
        self._listening.pop(_normal(listening.address), None)
        for sock, _ in listening.queue:
            sock.close()
        listening.arrived.open()

    def connect(self, address: Any, source: Any, deadline: float | None) -> MemorySocket:
        """A connected socket, after two latencies. Raises ConnectionRefusedError, TimeoutError."""
        conditions = self._conditions_of(_normal(address))
        if conditions.silent:
            Gate("connect").wait(deadline)
        self._travel(conditions, deadline)
        listening = self._find(address)
        if conditions.refuse or listening is None or len(listening.queue) >= listening.backlog:
            self._travel(conditions, deadline)
            raise failure(errno.ECONNREFUSED)
        client = self._bound(source if source is not None else ("client", 0))
        connection = Connection(self, client, address, conditions)
        self.connections.append(connection)
        client_end, server_end = connection.ends()
        listening.queue.append((server_end, client))
        listening.arrived.open()
        try:
            self._travel(conditions, deadline)
        except BaseException:  # the client does not get it: the server must learn that
            client_end.close()
            raise
        return client_end

    def _travel(self, conditions: Conditions, deadline: float | None) -> None:
        seconds = conditions.delay(self.chance)
        left = None if deadline is None else deadline - self.clock()
        if left is not None and left < seconds:
            sleep(max(0.0, left))
            raise TimeoutError("timed out")
        sleep(seconds)

    def _find(self, address: Any) -> Listening | None:
        key = _normal(address)
        keys = [key, *((host, key[1]) for host in _ANY)] if isinstance(key, tuple) else [key]
        return next((self._listening[each] for each in keys if each in self._listening), None)

    def _bound(self, address: Any) -> Any:
        if isinstance(address, tuple) and len(address) >= 2 and address[1] == 0:
            return (address[0], next(self._ports), *address[2:])
        return address


def _normal(address: Any) -> Any:
    """Addresses of the same place become equal."""
    if isinstance(address, tuple):
        return ("127.0.0.1" if address[0] == "localhost" else address[0], address[1])
    return address


@contextlib.contextmanager
def network(seed: int | None = None, **conditions: Any) -> Iterator[Network]:
    """A network in memory for the block: `greenserve.listen`, `connect`, `StreamServer` and `serve` of this OS thread
    use it instead of the system's.

    seed: decides all that is random in it. conditions: those of every connection (see `Conditions`). Yields the
    network. It has neither TLS nor `select` nor datagrams; names are not looked up, each is a host.

    >>> def echo(sock, address):
    ...     sock.sendall(sock.recv(100))
    >>> with greenserve.testing.virtual_time() as clock, greenserve.testing.network(latency=1.5):
    ...     with greenserve.StreamServer(("server", 80), echo), greenserve.connect(("server", 80)) as sock:
    ...         sock.sendall(b"hello")
    ...         sock.recv(100), clock()
    (b'hello', 6.0)
    """
    hub = current_hub()
    if hub.network is not None:
        raise RuntimeError("there is a network already")
    made = Network(seed)
    made.to(**conditions)
    hub.network = made
    try:
        yield made
    finally:
        hub.network = None
