"""The way between a server's workers: each listens for its siblings, which send it connections, and what it has to know
of them.

SOCK_SEQPACKET: a message comes whole, with its descriptors, and a worker that does not read holds up its senders. The
address is abstract (unix(7)): without a file it needs no directory that can be written to, whatever the user is. All
local users see it; so a connection of another user's process is closed at once, and clients reach no Unix socket.
"""

from __future__ import annotations

import _socket
import array
import contextlib
import errno
import logging
import os
import struct
import sys
from collections.abc import Callable
from hashlib import blake2b

from greenserve.errors import ConfigurationError
from greenserve.hub.core.hub import Hub, Watch
from greenserve.hub.sync.lock import Lock
from greenserve.settings import Settings

logger = logging.getLogger("greenserve.server")

INLINE = 32 * 1024  # bytes: what is longer (a long piece of a body that came with its head) goes as a file in memory
BACKLOG = 600  # more than there can be workers
SEND_SECONDS = 10.0  # for which a message waits for a worker that does not read
_DESCRIPTORS = 2
_ROOM = _socket.CMSG_SPACE(_DESCRIPTORS * array.array("i").itemsize)
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid (unix(7))

Heard = Callable[[_socket.socket, bytes], object]


def is_possible() -> bool:
    """Whether this machine has abstract addresses: Linux."""
    return sys.platform == "linux"


def check(settings: Settings) -> None:
    """Raises ConfigurationError."""
    if settings.sticky is not None and not is_possible():
        raise ConfigurationError(
            f"sticky = {settings.sticky}: this system lacks what workers pass connections with (Linux's abstract Unix "
            "sockets); leave it out, and serve with one worker (--workers 1)"
        )


class Siblings:
    """This worker's end of the ways to all others. secret: what only they have. heard: called, in the hub's greenlet,
    with each connection, which is the callee's, and the message that came with it.
    """

    def __init__(self, hub: Hub, secret: bytes, index: int, heard: Heard) -> None:
        self._hub = hub
        self._secret = secret
        self._heard = heard
        self._ways: dict[int, _Way] = {}  # to send by
        self._watches: dict[_socket.socket, Watch] = {}  # of those to hear
        self._listener = _unix_socket()
        self._listener.bind(self._address(index))
        self._listener.listen(BACKLOG)
        self._watch = hub.on_readable(self._listener.fileno(), self._accept)

    def send(self, index: int, message: bytes, descriptor: int) -> None:
        """Send to the worker of a slot; parks while it does not read. Raises OSError: nothing was sent."""
        way = self._ways.get(index)
        if way is not None and way.has_ended():  # it was another worker's of that slot
            way.close()
            way = None
        if way is None:
            way = self._ways[index] = _Way(self._hub, self._address(index))
        way.send(message, descriptor)

    def send_end(self, index: int, message: bytes) -> _socket.socket:
        """As `send`, with one end of a new pair of sockets. Returns the other end."""
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        try:
            self.send(index, message, theirs.fileno())
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        return ours

    def hear_rest(self) -> None:
        """What has been sent and not been heard."""
        self._accept()
        for sock in list(self._watches):
            self._hear(sock)

    def close(self) -> None:
        """The other workers cannot send to this one any more."""
        self._watch.cancel()
        self._listener.close()
        for sock in list(self._watches):
            self._end(sock)
        for way in self._ways.values():
            way.close()
        self._ways.clear()

    def _address(self, index: int) -> bytes:
        name = blake2b(b"address", digest_size=16, key=self._secret).hexdigest()
        return f"\0greenserve-{name}-{index}".encode()

    def _accept(self) -> None:
        while True:
            try:
                fd, _ = self._listener._accept()  # type: ignore[attr-defined]  # as net/listener.py
            except OSError:  # there is none, or no descriptor is left: then the senders serve the requests
                return
            sock = _socket.socket(-1, -1, -1, fd)
            sock.setblocking(False)
            user = _CREDENTIALS.unpack(sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _CREDENTIALS.size))[1]
            if user != os.geteuid():
                logger.warning("a process of the user %d has connected to this worker's own socket: closed", user)
                sock.close()
                continue
            self._watches[sock] = self._hub.on_readable(sock.fileno(), self._hear, sock)

    def _hear(self, sock: _socket.socket) -> None:
        """All that has come."""
        try:
            while found := _receive(sock):
                self._heard(*found)
        except BlockingIOError:
            return
        except OSError:
            pass
        self._end(sock)

    def _end(self, sock: _socket.socket) -> None:
        watch = self._watches.pop(sock, None)
        if watch is not None:
            watch.cancel()
        sock.close()


class _Way:
    """To one other worker. Raises OSError when there is none."""

    def __init__(self, hub: Hub, address: bytes) -> None:
        self._hub = hub
        self._turn = Lock()
        self._socket = _unix_socket()
        try:
            self._socket.connect(address)
            self._descriptor = hub.io.register(self._socket.fileno())
        except BaseException:
            self._socket.close()
            raise

    def has_ended(self) -> bool:
        """Whether the other end is closed."""
        try:
            return not self._socket.recv(1, _socket.MSG_DONTWAIT | _socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def send(self, message: bytes, descriptor: int) -> None:
        """Raises OSError."""
        descriptors = [descriptor]
        with contextlib.ExitStack() as stack:
            if len(message) > INLINE:
                descriptors.append(_in_memory(message))
                stack.callback(os.close, descriptors[1])
                message = b"\0"
            beside = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", descriptors))]
            stack.enter_context(self._turn)  # one waits at a time, and none overtakes it
            deadline = self._hub.clock() + SEND_SECONDS
            while True:
                try:
                    self._socket.sendmsg([message], beside, _socket.MSG_NOSIGNAL | _socket.MSG_DONTWAIT)
                    return
                except BlockingIOError:
                    self._hub.io.wait_write(self._descriptor, deadline)

    def close(self) -> None:
        """Its waiters get EBADF."""
        self._hub.io.unregister(self._descriptor)
        self._socket.close()


def _receive(sock: _socket.socket) -> tuple[_socket.socket, bytes] | None:
    """A connection and its message; None at the end. Raises OSError."""
    data, beside, _, _ = sock.recvmsg(INLINE, _ROOM, _socket.MSG_CMSG_CLOEXEC)
    found = array.array("i")
    for level, kind, content in beside:
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
            found.frombytes(content[: len(content) - len(content) % found.itemsize])
    if not found:
        if data:  # no descriptor was left for it: its client's connection has ended with that
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return None
    if len(found) > 1:
        try:
            data = os.pread(found[1], os.fstat(found[1]).st_size, 0)
        finally:
            os.close(found[1])
    connection = _socket.socket(-1, -1, -1, found[0])
    connection.setblocking(False)
    return connection, data


def _in_memory(message: bytes) -> int:
    fd = os.memfd_create("greenserve-request", os.MFD_CLOEXEC)
    os.write(fd, message)
    return fd


def _unix_socket() -> _socket.socket:
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
    sock.setblocking(False)
    return sock
