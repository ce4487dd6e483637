"""Conveniences of a network program: `listen`, `connect`, `wrap_ssl`.

An address is (host, port), or a path (str, bytes) of a Unix socket; a host in brackets or with a colon is IPv6.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import chain, zip_longest
from ssl import SSLContext as _SSLContext  # any context will do, a real one too
from typing import Any, TypeAlias

from greenserve.errors import BindError
from greenserve.green import socket, ssl
from greenserve.hub.core.hub import running
from greenserve.hub.greenthread import GreenThread
from greenserve.hub.spawning import spawn
from greenserve.hub.sync.queue import Empty, SimpleQueue
from greenserve.hub.timeout import Timeout
from greenserve.net import unix_path

AddressLike: TypeAlias = tuple[Any, ...] | str | bytes

BACKLOG = 1024  # connections that the kernel keeps for us: a burst's worth; Linux cuts it to net.core.somaxconn
ATTEMPT_DELAY = 0.25  # seconds until the next address is tried as well: RFC 8305 §5


def listen(
    address: AddressLike,
    family: int | None = None,
    backlog: int = BACKLOG,
    reuse_addr: bool = True,
    reuse_port: bool = False,
) -> socket.socket:
    """A listening green socket.

    family: by the address when not given. reuse_addr: do not wait for connections of a former listener to time out;
    of a Unix socket: remove the path when no server listens there. reuse_port: share the port with other listeners that
    do so. Raises BindError.

    >>> with greenserve.listen(("127.0.0.1", 0)) as listener:
    ...     with greenserve.connect(listener.getsockname()) as client:
    ...         sock, address = listener.accept()
    ...         address == client.getsockname(), sock.close()
    (True, None)
    """
    family, address = _family_and_address(family, address)
    network = running().hub.network
    try:
        if network is not None:
            made: socket.socket = network.listen(address, backlog)
            return made
        return _listening(family, address, backlog, reuse_addr=reuse_addr, reuse_port=reuse_port)
    except OSError as error:
        raise BindError(error.errno, f"cannot listen on {address!r}: {os.strerror(error.errno or 0)}") from error


def _listening(family: int, address: Any, backlog: int, *, reuse_addr: bool, reuse_port: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        _bind(sock, address, reuse_addr=reuse_addr, reuse_port=reuse_port)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def _bind(sock: socket.socket, address: Any, *, reuse_addr: bool, reuse_port: bool) -> None:
    if sock.family == getattr(socket, "AF_UNIX", None):
        if reuse_addr and address and address[:1] not in ("\0", b"\0"):
            unix_path.remove_stale(address)
    else:
        if reuse_addr and os.name == "posix":  # Windows means something else by it: to take a port away from another
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind(address)


def bind(address: AddressLike, family: int | None = None, reuse_port: bool = False) -> socket.socket:
    """A green datagram socket bound to `address`. Raises BindError.

    >>> with greenserve.net.bind(("127.0.0.1", 0)) as one, greenserve.net.bind(("127.0.0.1", 0)) as other:
    ...     one.sendto(b"datagram", other.getsockname()), other.recv(100)
    (8, b'datagram')
    """
    family, address = _family_and_address(family, address)
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        _bind(sock, address, reuse_addr=isinstance(address, str | bytes), reuse_port=reuse_port)
    except OSError as error:
        sock.close()
        raise BindError(error.errno, f"cannot bind to {address!r}: {os.strerror(error.errno or 0)}") from error
    return sock


def connect(
    address: AddressLike, family: int | None = None, bind: AddressLike | None = None, timeout: float | None = None
) -> socket.socket:
    """A connected green socket.

    When a host has several addresses, of IPv6 and IPv4, the attempts overlap: a dead one costs a quarter of a second,
    not the time-out of TCP (RFC 8305, "happy eyeballs"). bind: the local address. timeout: seconds for all, the
    lookup of the name included; the socket that is returned has none. Raises TimeoutError, OSError (of the last
    address that failed).

    >>> greenserve.connect(("127.0.0.1", 1), timeout=5)  # where no server listens
    Traceback (most recent call last):
    ConnectionRefusedError: [Errno 111] Connection refused
    """
    family, target = _family_and_address(family, address, guess=False)
    hub = running().hub
    deadline = None if timeout is None else hub.clock() + timeout
    if hub.network is not None:
        made: socket.socket = hub.network.connect(target, bind, deadline)
        return made
    if family == getattr(socket, "AF_UNIX", None):
        return _attempt(family, target, bind, deadline)
    host, port = target[:2]
    with _until(deadline):  # a look-up knows no timeout
        infos = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
    targets = [(info[0], info[4]) for info in _interleaved(infos)]
    if len(targets) == 1:
        return _attempt(*targets[0], bind, deadline)
    return _Race(targets, bind, deadline).run()


def _interleaved(infos: list[Any]) -> Iterable[Any]:
    """The families by turns, beginning with the one that the resolver prefers (RFC 8305 §4)."""
    first = [info for info in infos if info[0] == infos[0][0]]
    rest = [info for info in infos if info[0] != infos[0][0]]
    return [info for info in chain.from_iterable(zip_longest(first, rest)) if info is not None]


def _until(deadline: float | None) -> Timeout:
    return Timeout(None if deadline is None else max(0.0, deadline - running().hub.clock()), TimeoutError("timed out"))


def _attempt(family: int, address: Any, bind: AddressLike | None, deadline: float | None) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if bind is not None:
            with _until(deadline):
                sock.bind(bind)
        if deadline is not None:
            sock.settimeout(max(1e-6, deadline - running().hub.clock()))  # 0 would mean: do not wait
        sock.connect(address)
        sock.settimeout(None)
    except BaseException:
        sock.close()
        raise
    return sock


class _Race:
    """Attempts to connect that overlap; the first that succeeds ends the others."""

    def __init__(self, targets: list[tuple[int, Any]], bind: AddressLike | None, deadline: float | None) -> None:
        self._targets = targets
        self._bind = bind
        self._deadline = deadline
        self._results: SimpleQueue[socket.socket | Exception] = SimpleQueue()
        self._runners: list[GreenThread[None]] = []

    def run(self) -> socket.socket:
        """Returns the winner; raises what the last loser raised."""
        failures = 0
        error: Exception = OSError("the name has no address")
        try:
            for family, address in self._targets:
                self._runners.append(spawn(self._try, family, address))
                try:
                    result = self._results.get(timeout=ATTEMPT_DELAY)
                except Empty:
                    continue
                if isinstance(result, socket.socket):
                    return result
                failures, error = failures + 1, result
            while failures < len(self._targets):
                result = self._results.get()
                if isinstance(result, socket.socket):
                    return result
                failures, error = failures + 1, result
            raise error
        finally:
            self._end()
            del error

    def _try(self, family: int, address: Any) -> None:
        try:
            self._results.put(_attempt(family, address, self._bind, self._deadline))
        except OSError as error:
            self._results.put(error)

    def _end(self) -> None:
        for runner in self._runners:
            runner.kill(block=False)
        self._runners.clear()
        while self._results.queue:  # a second one may have got through at the same moment
            loser = self._results.get()
            if isinstance(loser, socket.socket):
                loser.close()


def wrap_ssl(
    sock: socket.socket,
    context: _SSLContext | None = None,
    *,
    server_side: bool = False,
    server_hostname: str | None = None,
    certfile: str | os.PathLike[str] | None = None,
    keyfile: str | os.PathLike[str] | None = None,
    cafile: str | os.PathLike[str] | None = None,
    do_handshake_on_connect: bool = True,
) -> ssl.SSLSocket:
    """TLS above a connected green socket, or above a listener, whose connections it then is for.

    context: by default a new one with the standard library's defaults: a server's with `certfile` and `keyfile`; a
    client's that verifies `server_hostname` against `cafile` or the system's authorities. Shakes hands at once, or in
    `accept`, unless `do_handshake_on_connect` is False. Raises ssl.SSLError, OSError.

    >>> listener = greenserve.listen(("127.0.0.1", 0))
    >>> listener = greenserve.wrap_ssl(listener, certfile=certfile, keyfile=keyfile, server_side=True)
    >>> with greenserve.StreamServer(listener, lambda sock, address: sock.sendall(b"secret")) as server:
    ...     with greenserve.connect(server.address) as plain:
    ...         with greenserve.wrap_ssl(plain, server_hostname="localhost", cafile=certfile) as sock:
    ...             sock.recv(100)
    b'secret'
    """
    if context is None:
        purpose = ssl.Purpose.CLIENT_AUTH if server_side else ssl.Purpose.SERVER_AUTH
        context = ssl.create_default_context(purpose, cafile=cafile)
        if certfile is not None:
            context.load_cert_chain(certfile, keyfile)
    # Not context.wrap_socket, which makes a blocking socket when the context is one of the real module's.
    made: ssl.SSLSocket = ssl.SSLSocket._create(
        sock=sock,
        server_side=server_side,
        do_handshake_on_connect=do_handshake_on_connect,
        server_hostname=server_hostname,
        context=context,
    )
    return made


def _family_and_address(family: int | None, address: Any, *, guess: bool = True) -> tuple[int, Any]:
    if isinstance(address, str | bytes):
        return family or socket.AF_UNIX, address
    host = address[0]
    if isinstance(host, str) and host.startswith("["):
        host = host.strip("[]")
        address = (host, *address[1:])
    if family is None:
        family = 0
        if guess:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return family, address
