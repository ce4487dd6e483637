"""Listening sockets: opening them where an `Address` says, and accepting from them in the hub.

Edge-triggered: one event may stand for many connections, so a listener accepts until there are none, but gives way
after a burst.
"""

from __future__ import annotations

import _socket
import contextlib
import dataclasses
import errno
import logging
import os
import socket
from collections.abc import Callable
from typing import TypeAlias

from greenserve.hub.core.hub import Descriptor, Hub, HubCall
from greenserve.hub.core.poller import READ
from greenserve.net import unix_path, unix_socket
from greenserve.net.bind_errors import bind_error
from greenserve.settings import BY_ITSELF, Access, Address, FdAddress, TcpAddress, UnixAddress

logger = logging.getLogger("greenserve.server")

BURST = 64  # connections accepted before others have their turn
WAY_SECONDS = 0.002  # for which a listener gives way to that of another process
REST = 4096  # connections accepted from the kernel's queue at the end, at the most
SAID_SECONDS = 60.0  # a shortage is not said again sooner
# Bytes that the kernel takes of a response beyond what is on its way to the client; by itself it takes up to 4 MiB for
# each, of memory that all sockets share: 2,000 clients that read nothing would stop all others.
UNSENT = 128 * 1024
SHORTAGE_PAUSE = 0.1  # seconds: out of room or memory; meanwhile connections end, and the kernel's queue holds the new
# Linux reports on accept what has gone wrong with the connection in the queue (accept(2)): it concerns that one alone.
_THEIR_ERRORS = frozenset(
    {
        errno.ECONNABORTED,
        errno.EPROTO,
        errno.EPERM,
        errno.ENETDOWN,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
    }
    | {errno.ENOPROTOOPT, errno.EOPNOTSUPP, errno.EINTR}
)
NEVER_SAID = float("-inf")
_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

Peer: TypeAlias = tuple[str, str]
ListeningSocket: TypeAlias = _socket.socket
# Returns False if there is no room now: it is called again, with the same. Closes nothing when it raises.
Accepted: TypeAlias = Callable[[_socket.socket, Peer], bool]


def open_listener(address: Address, backlog: int, access: Access = BY_ITSELF) -> _socket.socket:
    """A listening, non-blocking socket. access: of a Unix socket, where its address does not say it. Raises BindError.

    The raw C type, which patching never replaces; its owner closes it (and removes a Unix socket's path).
    """
    listener = bind_listener(address, access)
    try:
        start_listening(listener, address, backlog)
    except BaseException:
        close_listener(listener, address)
        raise
    return listener


def bind_listener(address: Address, access: Access = BY_ITSELF) -> _socket.socket:
    """As `open_listener`, but clients are refused until `start_listening`, unless it was inherited."""
    try:
        if isinstance(address, FdAddress):
            return _inherited(address)
        return _unix(address, access) if isinstance(address, UnixAddress) else _tcp(address)
    except OSError as error:
        raise bind_error(address, error) from error


def start_listening(listener: _socket.socket, address: Address, backlog: int) -> None:
    """Have the kernel accept clients. An inherited socket stays as it is. Raises BindError."""
    try:
        if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            listener.listen(backlog)
    except OSError as error:  # another process has bound the port as well, and was faster
        raise bind_error(address, error) from error


def _tcp(address: TcpAddress) -> _socket.socket:
    infos = _socket.getaddrinfo(address.host, address.port, 0, socket.SOCK_STREAM, 0, socket.AI_PASSIVE)
    family, kind, protocol, _, sockaddr = infos[0]
    listener = _socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _prepare(listener)
        if family == socket.AF_INET6:
            with contextlib.suppress(OSError):
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(sockaddr)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _unix(address: UnixAddress, access: Access) -> _socket.socket:
    listener = _UnixListener(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC, 0)
    try:
        listener.made = unix_socket.bind(listener, address.path, address.access.over(access))
        listener.setblocking(False)
    except BaseException:
        close_listener(listener, address)
        raise
    return listener


class _UnixListener(_socket.socket):
    """One that this process has bound, and so whose path it removes: what was inherited belongs to its creator."""

    made: unix_path.Identity | None = None


def _inherited(address: FdAddress) -> _socket.socket:
    duplicate = os.dup(address.fd)  # the number belongs to its opener
    try:
        listener = _socket.socket(-1, -1, -1, duplicate)
    except OSError:
        os.close(duplicate)
        raise
    if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        listener.close()
        raise OSError(errno.EINVAL, "the descriptor is a socket that does not listen")
    listener.setblocking(False)
    if listener.family in (socket.AF_INET, socket.AF_INET6):
        _prepare(listener)
    return listener


def _prepare(listener: _socket.socket) -> None:
    """What accepted sockets inherit (Linux, BSD), which saves calls for each."""
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # small chunks must not wait for an acknowledgement
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        with contextlib.suppress(OSError):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)


def bound_address(address: Address, listener: _socket.socket) -> Address:
    """Where a listener really listens: with the port that the kernel chose, and what an inherited one was bound to."""
    name = listener.getsockname()
    if isinstance(name, tuple):
        if isinstance(address, TcpAddress):
            return dataclasses.replace(address, port=name[1])
        return TcpAddress(name[0], name[1])
    if isinstance(address, FdAddress) and isinstance(name, str) and name:
        return UnixAddress(name)
    return address


class Listener(HubCall):
    """Accepts from one listening socket, in the hub's greenlet, and hands each connection to `accepted`."""

    __slots__ = (
        "_accepted",
        "_descriptor",
        "_gives_way",
        "_hub",
        "_in_hand",
        "_relieve",
        "_said",
        "_socket",
        "address",
    )

    def __init__(
        self,
        hub: Hub,
        sock: _socket.socket,
        address: Address,
        accepted: Accepted,
        relieve: Callable[[], bool] = lambda: False,
        gives_way: Callable[[], bool] = lambda: False,
    ) -> None:
        self.address = address
        self._hub = hub
        self._socket = sock
        self._accepted = accepted
        self._relieve = relieve  # called when descriptors have run out; says whether it has freed some
        self._gives_way = gives_way  # whether another process is to accept the next connection
        self._in_hand: tuple[_socket.socket, Peer] | None = None  # accepted, and to be offered again
        self._said = NEVER_SAID  # when it was last said that accept fails
        self._descriptor: Descriptor = hub.io.register(sock.fileno())
        self._descriptor.reader = self
        hub.io.poller.arm(self._descriptor.fd, READ)

    def switch(self) -> None:
        """Accept what has come."""
        for _ in range(BURST):
            if self._in_hand is None and self._gives_way():  # no other process can accept what is in hand
                self._hub.call_later(WAY_SECONDS, self.switch)
                return
            try:
                if not self._accept():
                    self._hub.call_later(SHORTAGE_PAUSE, self.switch)
                    return
            except BlockingIOError:
                self._park()
                return
            except OSError as error:
                if not self._survives(error):
                    return
        self._hub.make_ready(self)

    def accept_rest(self) -> None:
        """Before the end: for the clients in the kernel's queue the connection is open, their requests may be there."""
        for _ in range(REST):
            try:
                if not self._accept():
                    return
            except OSError as error:
                if error.errno not in _THEIR_ERRORS:
                    return

    def close(self) -> None:
        """Stop accepting."""
        if self._descriptor.reader is self:
            self._descriptor.reader = None
        self._hub.io.unregister(self._descriptor)
        if self._in_hand is not None:
            self._in_hand[0].close()
        close_listener(self._socket, self.address)

    def _park(self) -> None:
        self._descriptor.reader = self
        self._hub.io.poller.arm(self._descriptor.fd, READ)

    def _accept(self) -> bool:
        """Accept one. Returns False if there is no room for it now: it stays in hand. Raises what accept(2) raises."""
        try:
            sock, peer = self._in_hand or self._take()
        except MemoryError:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)) from None
        self._in_hand = None
        try:
            if self._accepted(sock, peer):
                return True
            self._in_hand = sock, peer
            return False
        except OSError as error:  # gone already
            sock.close()
            logger.debug("a connection ended before it began: %s", error)
            return True
        except BaseException as error:
            sock.close()
            if isinstance(error, MemoryError):
                raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)) from None
            raise

    def _take(self) -> tuple[_socket.socket, Peer]:
        fd, name = self._socket._accept()  # type: ignore[attr-defined]  # socket.socket.accept is a wrapper of it
        sock = _socket.socket(self._socket.family, self._socket.type, self._socket.proto, fd)
        sock.setblocking(False)
        return sock, _peer(name)

    def _survives(self, error: OSError) -> bool:
        """Whether to go on accepting at once after an error."""
        if error.errno in _THEIR_ERRORS:
            return True
        if error.errno == errno.EBADF:  # closed
            return False
        now = self._hub.clock()
        if now - self._said >= SAID_SECONDS:
            self._said = now
            what = "; retrying (raise the limit, ulimit -n)" if error.errno in _SHORTAGES else "; retrying"
            logger.error("cannot accept on %s: %s%s", self.address, error.strerror, what)
        self._hub.call_later(0 if error.errno in _SHORTAGES and self._relieve() else SHORTAGE_PAUSE, self.switch)
        return False


def peer_name(peer: Peer) -> str:
    """A peer as messages name it."""
    address, port = peer
    return f"{address}:{port}" if address else "a Unix socket's client"


def _peer(name: object) -> Peer:
    if isinstance(name, tuple):
        return name[0], str(name[1])
    return "", ""


def close_listener(listener: ListeningSocket, address: Address) -> None:
    """Close it, and remove a Unix socket's path, unless the path means another one by now."""
    listener.close()
    if isinstance(address, UnixAddress) and isinstance(listener, _UnixListener) and listener.made is not None:
        with contextlib.suppress(OSError):
            unix_path.remove(address.path, listener.made)


def made_path(listener: ListeningSocket, address: Address) -> tuple[str, int, int] | None:
    """The path of a Unix socket that this process has bound, its device and its inode; None for other listeners."""
    if isinstance(address, UnixAddress) and isinstance(listener, _UnixListener) and listener.made is not None:
        return os.path.abspath(address.path), *listener.made[1:]  # noqa: PTH100 - an abstract name is none of Path's
    return None
