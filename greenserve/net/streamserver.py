"""Servers for streams and datagrams: an accept loop, and a green thread for each connection.

Strategy: when the pool is full the loop waits with the connection that it has just accepted; those behind it stay in
the kernel's queue, which is the back-pressure. TLS shakes hands in the connection's own green thread: a peer slow at
it delays itself alone.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from enum import Enum
from ssl import SSLContext
from types import TracebackType
from typing import Any, Self, TypeAlias

from greenserve.errors import HubError
from greenserve.green import socket, ssl
from greenserve.hub.core.hub import running
from greenserve.hub.greenpool import GreenPool
from greenserve.hub.greenthread import GreenThread, getcurrent, sleep
from greenserve.hub.spawning import spawn
from greenserve.net import sockets

logger = logging.getLogger("greenserve.green")

Handle: TypeAlias = Callable[[Any, Any], object]

CONCURRENCY = 1000  # connections at a time; as many as a process may have descriptors, in the usual configuration
HANDSHAKE_TIMEOUT = 10.0  # seconds: several round trips to the other side of the world, and a lost packet or two
MAX_DATAGRAM = 65535  # bytes: more no UDP length can say
PAUSES = (0.05, 1.0)  # seconds, first and longest, while descriptors are short: connections end meanwhile
FAILURES = 8  # in a row that may each concern another peer; from then on it is taken for the server's own, which lasts

_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_CLOSED = frozenset({errno.EBADF, errno.EINVAL, errno.ENOTSOCK})


class StopServe(Exception):
    """Raised by a handler: ends `serve`, as soon as the connections that are open have ended.

    >>> def goodbye(sock, address):
    ...     raise greenserve.StopServe
    >>> listener = greenserve.listen(("127.0.0.1", 0))
    >>> serving = greenserve.spawn(greenserve.net.serve, listener, goodbye)
    >>> greenserve.connect(listener.getsockname()).close()
    >>> serving.wait()
    >>> listener.close()
    """


class State(Enum):
    """Where a server is in its life."""

    NEW = "new"
    SERVING = "serving"
    STOPPED = "stopped"


class _Server:
    """What stream and datagram servers have in common: their life, their pool."""

    _TASK: str  # what the loop does, in the words of its log

    def __init__(self, sock: socket.socket, handle: Handle | None, pool: GreenPool | int) -> None:
        self.socket = sock
        self.pool = pool if isinstance(pool, GreenPool) else GreenPool(pool)
        self.state = State.NEW
        self._handle = handle
        self._name = type(self).__name__
        self._loop: GreenThread[None] | None = None
        self._failures = 0  # in a row
        self._pause = PAUSES[0]
        self._warned = False

    @property
    def address(self) -> Any:
        """Where it listens."""
        return self.socket.getsockname()

    def on_connect(self, callback: Handle) -> Handle:
        """Have `callback(socket, address)` called for each connection, in a green thread of its own. A decorator,
        if you like.
        """
        self._handle = callback
        return callback

    def start(self) -> None:
        """Serve in the background. Raises HubError when it has been started before, or has nothing to call."""
        if self.state is not State.NEW:
            raise HubError(f"this server is {self.state.value}; make another to serve again")
        if self._handle is None:
            raise HubError("this server has no handler: give it one, or set it by on_connect")
        self.state = State.SERVING
        self._name = f"{type(self).__name__} on {self.address}"
        self._loop = spawn(self._serve)
        self._loop.name = self._name
        self._loop.quiet = True  # its error is what `join` raises

    def serve_forever(self) -> None:
        """Serve until `stop` is called, from another green thread or a signal handler."""
        if self.state is State.NEW:
            self.start()
        try:
            self.join()
        finally:
            self.stop(timeout=0)

    def join(self) -> None:
        """Wait until it is stopped, and the connections that are open have ended. Raises what ended it, if that was
        an error.
        """
        if self._loop is not None:
            self._loop.wait()
            self._drain(None)

    def stop(self, timeout: float | None = None) -> bool:
        """Accept no more, and wait for the connections that are open, at most `timeout` seconds (None: as long as it
        takes).

        Those that are left then are killed. Returns whether none were. Not from a handler: it would wait for itself.
        """
        if self.state is not State.STOPPED:
            self.state = State.STOPPED
            self.socket.close()  # which ends the loop
        hub = running().hub
        deadline = None if timeout is None else hub.clock() + timeout
        return self._drain(None if deadline is None else max(0.0, deadline - hub.clock()))

    def _drain(self, timeout: float | None) -> bool:
        raise NotImplementedError

    def _serve(self) -> None:
        raise NotImplementedError

    def _patiently(self, operation: Callable[..., tuple[Any, Any]], *args: Any) -> tuple[Any, Any]:
        """`operation(*args)`; waits as long as it takes, also if the socket is non-blocking or has a timeout."""
        while True:
            try:
                return operation(*args)
            except TimeoutError:
                continue
            except BlockingIOError:
                self.socket._wait_read(None)

    def _cope(self, error: OSError) -> None:
        """After a failure of accept or recvfrom: go on at once, later, or not at all."""
        if error.errno in _CLOSED:
            if self.state is State.SERVING:
                self.state = State.STOPPED
                self.socket.close()
                raise error
            return
        self._failures += 1
        shortage = error.errno in _SHORTAGES
        if self._failures < FAILURES and not shortage:
            # It concerns one connection in the queue, which is gone (accept(2)), or an earlier answer of ours that
            # did not reach a listener (ECONNREFUSED).
            sleep(0)
            return
        if not self._warned:
            self._warned = True
            advice = "; it tries again"
            if shortage:
                limit = f"the server's concurrency ({self.pool.size})"
                advice = f": raise the limit of open files (ulimit -n), or lower {limit}"
            logger.warning("%s cannot %s for now (%s)%s", self._name, self._TASK, error.strerror or error, advice)
        sleep(self._pause)
        self._pause = min(2 * self._pause, PAUSES[1])

    def _succeeded(self) -> None:
        """It works, perhaps again."""
        if self._failures:
            if self._warned:
                logger.info("%s can %s again", self._name, self._TASK)
            self._failures, self._pause, self._warned = 0, PAUSES[0], False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop(timeout=0)


class StreamServer(_Server):
    """Accepts connections and calls `handle(socket, address)` for each, in a green thread of its own; closes the
    socket afterwards.

    listener: a listening green socket, or an address for `listen`. pool: a GreenPool, or how many connections at a
    time. ssl_context: for TLS; not needed with a listener that `wrap_ssl` has wrapped. handshake_timeout: seconds.
    What a handler raises is logged: a peer's going away as information, anything else as an error with its traceback;
    StopServe ends the server.

    >>> def echo(sock, address):
    ...     while data := sock.recv(4096):
    ...         sock.sendall(data)
    >>> with greenserve.StreamServer(("127.0.0.1", 0), echo) as server:
    ...     with greenserve.connect(server.address) as client:
    ...         client.sendall(b"hello")
    ...         client.recv(100)
    b'hello'
    """

    _TASK = "accept connections"

    def __init__(
        self,
        listener: socket.socket | sockets.AddressLike,
        handle: Handle | None = None,
        *,
        pool: GreenPool | int = CONCURRENCY,
        backlog: int = sockets.BACKLOG,
        ssl_context: SSLContext | None = None,
        handshake_timeout: float = HANDSHAKE_TIMEOUT,
    ) -> None:
        sock = listener if isinstance(listener, socket.socket) else sockets.listen(listener, backlog=backlog)
        super().__init__(sock, handle, pool)
        # Never a TLS socket's own accept: it would shake hands in the loop, and all other clients would wait.
        self._accept: Any = socket.socket.accept if isinstance(sock, ssl.SSLSocket) else type(sock).accept
        self._ssl_context = ssl_context or (sock.context if isinstance(sock, ssl.SSLSocket) else None)
        self._handshake_timeout = handshake_timeout
        self._threads: set[GreenThread[Any]] = set()

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._threads)

    def _serve(self) -> None:
        greenlet = running()
        while self.state is State.SERVING:
            try:
                connection, address = self._patiently(self._accept, self.socket)
            except OSError as error:
                self._cope(error)
                continue
            self._succeeded()
            try:
                thread = self.pool.spawn(self._run, connection, address)
            except BaseException:  # killed while it waited for room
                connection.close()
                raise
            if self.state is not State.SERVING:  # stopped while it waited for room: too late to begin
                thread.kill()
                connection.close()
            elif not thread.dead:
                self._threads.add(thread)
                thread.link(self._threads.discard)
            greenlet.hub.give_way(greenlet)

    def _run(self, connection: socket.socket, address: Any) -> None:
        handle = self._handle
        assert handle is not None
        try:
            if self._ssl_context is not None:
                connection = self._shake_hands(connection)
            handle(connection, address)
        except StopServe:
            self.state = State.STOPPED
            self.socket.close()
        except (ConnectionError, _Unfit) as error:
            logger.info("%s: the connection from %s ended: %s", self._name, address, error)
        except Exception:
            logger.exception("%s: the handler of a connection from %s failed", self._name, address)
        finally:
            connection.close()

    def _shake_hands(self, connection: socket.socket) -> ssl.SSLSocket:
        timeout = connection.gettimeout()
        connection.settimeout(self._handshake_timeout)
        try:
            tls = sockets.wrap_ssl(connection, self._ssl_context, server_side=True)
        except OSError as error:
            raise _Unfit(f"TLS handshake: {error}") from error
        tls.settimeout(timeout)
        return tls

    def _drain(self, timeout: float | None) -> bool:
        hub = running().hub
        deadline = None if timeout is None else hub.clock() + timeout
        current = getcurrent()
        threads = [thread for thread in self._threads if thread is not current]
        for thread in threads:
            thread.join(None if deadline is None else max(0.0, deadline - hub.clock()))
        left = [thread for thread in threads if not thread.dead]
        for thread in left:
            thread.kill()
        return not left


class _Unfit(Exception):
    """A peer's mistake in TLS."""


class DatagramServer(_Server):
    """Calls `handle(data, address)` for each datagram, in a green thread of its own; answer with `sendto`.

    sock: a bound green socket, or an address to bind one to. pool: a GreenPool, or how many datagrams at a time.

    >>> def shout(data, address):
    ...     server.sendto(data.upper(), address)
    >>> with greenserve.DatagramServer(("127.0.0.1", 0), shout) as server:
    ...     with greenserve.net.bind(("127.0.0.1", 0)) as client:
    ...         client.sendto(b"hello", server.address), client.recv(100)
    (5, b'HELLO')
    """

    _TASK = "receive datagrams"

    def __init__(
        self,
        sock: socket.socket | sockets.AddressLike,
        handle: Handle | None = None,
        *,
        pool: GreenPool | int = CONCURRENCY,
    ) -> None:
        if not isinstance(sock, socket.socket):
            sock = sockets.bind(sock)
        super().__init__(sock, handle, pool)

    def sendto(self, data: Any, address: Any) -> int:
        """Send a datagram from the server's address."""
        return self.socket.sendto(data, address)

    def _serve(self) -> None:
        greenlet = running()
        while self.state is State.SERVING:
            try:
                data, address = self._patiently(self.socket.recvfrom, MAX_DATAGRAM)
            except OSError as error:
                self._cope(error)
                continue
            self._succeeded()
            self.pool.spawn(self._run, data, address)
            greenlet.hub.give_way(greenlet)

    def _run(self, data: bytes, address: Any) -> None:
        handle = self._handle
        assert handle is not None
        try:
            handle(data, address)
        except StopServe:
            self.state = State.STOPPED
            self.socket.close()
        except Exception:
            logger.exception("%s: the handler of a datagram from %s failed", self._name, address)

    def _drain(self, timeout: float | None) -> bool:
        return True  # a datagram is handled or it is not: there is no connection to be polite to


def serve(sock: socket.socket, handle: Handle, concurrency: int | GreenPool = CONCURRENCY) -> None:
    """Accept connections from `sock` for ever, and call `handle(connection, address)` for each in a green thread.

    concurrency: how many at a time. Ends when a handler raises StopServe, and the connections that are open have
    ended; raises OSError when the listener is closed or fails.

    >>> def greet(sock, address):
    ...     sock.sendall(b"hello")
    >>> listener = greenserve.listen(("127.0.0.1", 0))
    >>> serving = greenserve.spawn(greenserve.net.serve, listener, greet)
    >>> with greenserve.connect(listener.getsockname()) as client:
    ...     client.recv(100)
    b'hello'
    >>> serving.kill()
    >>> listener.close()
    """
    server = StreamServer(sock, handle, pool=concurrency)
    server.start()
    server.join()
