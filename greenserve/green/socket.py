"""Green `socket`: a socket whose blocking calls park the green thread that makes them, and no other.

Strategy: `socket` is a subclass of the original one, always non-blocking underneath; its timeout is ours. Every call
tries the system call first and parks only on EAGAIN, or where the last read has drained a TCP connection; the
registration with the hub is made at the first wait and kept until the socket is closed, so a wait costs no epoll_ctl.
Invariant: `_real_close` is the one way out: mark closed, wake the waiters with EBADF, close the descriptor.
"""

from __future__ import annotations

import _socket
import errno as _errno
import os as _os
import socket as _original
import sys as _sys
from collections.abc import Callable as _Callable
from math import isnan as _isnan
from typing import Any
from typing import TypeVar as _TypeVar

from greenserve.green import selectors  # noqa: F401 - for sendfile, built again over these globals
from greenserve.hub import resolver as _resolver
from greenserve.hub.core.busy_wait import relax as _relax
from greenserve.hub.core.hub import Descriptor, Descriptors, current_hub, running
from greenserve.hub.core.originals import get_ident as _get_ident
from greenserve.hub.greenthread import sleep as _sleep
from greenserve.patching.rebind import complete, rebind

getaddrinfo = _resolver.getaddrinfo
gethostbyname = _resolver.gethostbyname
gethostbyname_ex = _resolver.gethostbyname_ex
gethostbyaddr = _resolver.gethostbyaddr
getnameinfo = _resolver.getnameinfo

_T = _TypeVar("_T")

_NONBLOCK = getattr(_original, "SOCK_NONBLOCK", 0)
_DONTWAIT = int(getattr(_original, "MSG_DONTWAIT", 0))  # an IntFlag's `&` costs as much as a system call
# TCP alone: a Unix socket's read ends where descriptors or credentials were sent. And Linux alone: kqueue does not tell
# of an urgent byte, where a TCP read ends too.
_DRAINABLE = frozenset({_original.AF_INET, _original.AF_INET6} if _sys.platform == "linux" else ())
_TCP = (0, _original.IPPROTO_TCP)
_IN_PROGRESS = frozenset({_errno.EINPROGRESS, _errno.EALREADY, _errno.EWOULDBLOCK})
_CONNECT_PAUSE = (0.001, 0.05)  # seconds; see `_connect_again`

# Captured: the original methods, found without a walk along the classes, and never a patched one.
_Base = _original.socket
_set_nonblocking = _socket.socket.setblocking
_recv = _socket.socket.recv
_recv_into = _socket.socket.recv_into
_send = _socket.socket.send
_connect_ex = _socket.socket.connect_ex
_accept = _socket.socket._accept  # type: ignore[attr-defined]  # the C half of accept: (fd, address)
_family_of = _socket.socket.family.__get__  # the plain int: an Enum costs a microsecond
_type_of = _socket.socket.type.__get__
_getdefaulttimeout = _original.getdefaulttimeout
_sendfile_method: Any = _original.socket._sendfile_use_sendfile  # type: ignore[attr-defined]


class socket(_original.socket):
    """A socket as the standard library's, whose waits are the hub's.

    One green thread may read and another write at the same time; a second reader, or writer, gets `AlreadyWaiting`.
    It may be used from several OS threads; each one's hub has a registration of its own.
    """

    __slots__ = ("_descriptor", "_drainable", "_elsewhere", "_timeout")

    def __init__(self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> None:
        self._descriptor: Descriptor | None = None  # of the hub that waited last
        self._elsewhere: list[Descriptor] | None = None  # of other hubs
        self._drainable = False
        self._timeout: float | None = _getdefaulttimeout()
        if fileno is None:
            if type == -1:
                type = _original.SOCK_STREAM
            if type & _NONBLOCK:
                self._timeout = 0.0
            _Base.__init__(self, family, type | _NONBLOCK, proto)
            if not _NONBLOCK:
                _set_nonblocking(self, False)
        else:
            _Base.__init__(self, family, type, proto, fileno)
            _set_nonblocking(self, False)

    # -- the timeout, which is ours

    def settimeout(self, value: float | None) -> None:
        """Seconds that a blocking call may take; None: any time; 0: it must not block at all."""
        if value is not None:
            value = value + 0.0  # a TypeError for what is not a number
            if value < 0:
                raise ValueError("Timeout value out of range")
            if _isnan(value):
                raise ValueError("Invalid value NaN (not a number)")
        self._timeout = value

    def gettimeout(self) -> float | None:
        """What `settimeout` was given."""
        return self._timeout

    @property
    def timeout(self) -> float | None:
        """What `settimeout` was given."""
        return self._timeout

    def setblocking(self, flag: bool) -> None:
        """True is `settimeout(None)`, False is `settimeout(0)`."""
        self._timeout = None if flag else 0.0

    def getblocking(self) -> bool:
        """Whether calls may wait."""
        return self._timeout != 0.0

    def _deadline(self) -> float | None:
        timeout = self._timeout
        return None if timeout is None else current_hub().clock() + timeout

    # -- waiting

    def _wait_read(self, deadline: float | None) -> None:
        descriptor = self._registered()
        descriptor.io.wait_read(descriptor, deadline)

    def _wait_write(self, deadline: float | None) -> None:
        descriptor = self._registered()
        descriptor.io.wait_write(descriptor, deadline)

    def _registered(self) -> Descriptor:
        """The registration with the running hub."""
        io = running().hub.io
        descriptor = self._descriptor
        # A forked child's hub, or a stranger's os.close, has forgotten registrations that we still hold.
        if descriptor is None or descriptor.io is not io or io.descriptors.get(descriptor.fd) is not descriptor:
            descriptor = self._register(io)
        return descriptor

    def _register(self, io: Descriptors) -> Descriptor:
        """The registration with a hub; the one used until now is kept for the hub that it belongs to."""
        fd = self.fileno()
        if fd < 0:
            raise OSError(_errno.EBADF, _os.strerror(_errno.EBADF))
        others = [other for other in (self._descriptor, *(self._elsewhere or ())) if other is not None]
        others = [other for other in others if other.io.descriptors.get(other.fd) is other]
        mine = next((other for other in others if other.io is io), None)
        if mine is None:
            mine = io.register_late(fd)
        else:
            others.remove(mine)
        self._descriptor = mine
        self._elsewhere = others or None
        self._drainable = (
            _type_of(self) == _original.SOCK_STREAM and _family_of(self) in _DRAINABLE and self.proto in _TCP
        )
        return mine

    def _unregister(self) -> None:
        """Wake the waiters, with EBADF, in whichever OS thread. Before the descriptor is closed."""
        descriptor, elsewhere = self._descriptor, self._elsewhere
        self._descriptor = self._elsewhere = None
        if descriptor is not None:
            _unregister_from_its_hub(descriptor)
        for other in elsewhere or ():
            _unregister_from_its_hub(other)

    # -- reading and writing: the system call first, so that what need not wait costs no more than the original socket's
    # A reader that had to wait, and then took all that there was (epoll(7): a read that is not full has drained a
    # stream), most likely has to wait again: so it does, and saves the call that would say so.

    def _must_not_wait(self, flags: int = 0) -> bool:
        """Whether a call that has got EAGAIN is to raise it; then others run now and then: it may be in a loop."""
        if self._timeout == 0.0 or flags & _DONTWAIT:
            _relax()
            return True
        return False

    def _retry(self, wait: _Callable[[float | None], None], operation: _Callable[..., _T], *args: Any) -> _T:
        """`operation(self, *args)`, which has just said EAGAIN, once it does not."""
        deadline = self._deadline()
        while True:
            wait(deadline)
            try:
                return operation(self, *args)
            except BlockingIOError:
                continue

    def _call(self, wait: _Callable[[float | None], None], flags: int, operation: _Callable[..., _T], *args: Any) -> _T:
        """`operation(self, *args)`, once it does not say EAGAIN."""
        try:
            return operation(self, *args)
        except BlockingIOError:
            if self._must_not_wait(flags):
                raise
        return self._retry(wait, operation, *args)

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """At most `bufsize` bytes; b"" when the peer has closed its side. Raises TimeoutError, OSError."""
        descriptor = self._descriptor
        # A hub in another OS thread may have been told already of what has come since.
        if not (
            descriptor is not None
            and descriptor.drained
            and bufsize
            and not flags
            and self._timeout != 0.0
            and descriptor.io is running().hub.io
        ):
            try:
                return _recv(self, bufsize, flags)
            except BlockingIOError:
                if self._must_not_wait(flags):
                    raise
        deadline = None if self._timeout is None else self._deadline()
        while True:
            descriptor = self._registered()
            descriptor.io.wait_read(descriptor, deadline)
            try:
                data = _recv(self, bufsize, flags)
            except BlockingIOError:
                continue
            if self._drainable and not flags and 0 < len(data) < bufsize:
                descriptor.drained = not descriptor.hangup
            return data

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Fill `buffer`, at most `nbytes` of it. Returns the count; 0 when the peer has closed its side."""
        descriptor = self._descriptor
        size = nbytes or (buffer.nbytes if type(buffer) is memoryview else 0)  # as makefile's readers bring it
        if not (
            descriptor is not None
            and descriptor.drained
            and size
            and not flags
            and self._timeout != 0.0
            and descriptor.io is running().hub.io
        ):
            try:
                return _recv_into(self, buffer, nbytes, flags)
            except BlockingIOError:
                if self._must_not_wait(flags):
                    raise
        deadline = self._deadline()
        while True:
            descriptor = self._registered()
            descriptor.io.wait_read(descriptor, deadline)
            try:
                count = _recv_into(self, buffer, nbytes, flags)
            except BlockingIOError:
                continue
            if self._drainable and not flags and 0 < count < size:
                descriptor.drained = not descriptor.hangup
            return count

    def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
        """One datagram's bytes and its sender's address."""
        return self._call(self._wait_read, flags, _socket.socket.recvfrom, bufsize, flags)

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        """As `recvfrom`, into `buffer`."""
        return self._call(self._wait_read, flags, _socket.socket.recvfrom_into, buffer, nbytes, flags)

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /) -> tuple[bytes, list[Any], int, Any]:
        """(data, ancillary data, flags, address): also descriptors that a peer has sent."""
        return self._call(self._wait_read, flags, _socket.socket.recvmsg, bufsize, ancbufsize, flags)

    def recvmsg_into(self, buffers: Any, ancbufsize: int = 0, flags: int = 0, /) -> tuple[int, list[Any], int, Any]:
        """As `recvmsg`, into `buffers`."""
        return self._call(self._wait_read, flags, _socket.socket.recvmsg_into, buffers, ancbufsize, flags)

    def accept(self) -> tuple[socket, Any]:
        """(connection, peer's address)."""
        fd, address = self._call(self._wait_read, 0, _accept)
        return socket(_family_of(self), _type_of(self), self.proto, fileno=fd), address

    def send(self, data: Any, flags: int = 0, /) -> int:
        """Send what fits. Returns how many bytes that was."""
        try:
            return _send(self, data, flags)
        except BlockingIOError:
            if self._must_not_wait(flags):
                raise
        return self._retry(self._wait_write, _send, data, flags)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Send everything. The timeout is the whole call's, however many pieces it takes."""
        try:
            sent = _send(self, data, flags)
        except BlockingIOError:
            if self._must_not_wait():
                raise
            sent = 0
        if type(data) is bytes and sent == len(data):
            return
        deadline = self._deadline()
        with memoryview(data) as view, view.cast("B") as rest:
            size = len(rest)
            while sent < size:
                try:
                    sent += _send(self, rest[sent:], flags)
                except BlockingIOError:
                    if self._must_not_wait():
                        raise
                    self._wait_write(deadline)

    def sendto(self, data: Any, *flags_and_address: Any) -> int:
        """`sendto(data, [flags,] address)`: one datagram. Returns its length."""
        if flags_and_address:
            address = _resolver.resolved(_family_of(self), _type_of(self), flags_and_address[-1])
            flags_and_address = (*flags_and_address[:-1], address)
        return self._call(self._wait_write, 0, _socket.socket.sendto, data, *flags_and_address)

    def sendmsg(self, buffers: Any, ancdata: Any = (), flags: int = 0, address: Any = None, /) -> int:
        """Send several buffers, ancillary data (descriptors) with them. Returns how many bytes were taken."""
        # Both may be iterators, and we may try again.
        return self._call(
            self._wait_write, flags, _socket.socket.sendmsg, tuple(buffers), tuple(ancdata), flags, address
        )

    _sendfile_use_sendfile = rebind(_sendfile_method, globals())

    # -- connecting

    def bind(self, address: Any, /) -> None:
        """Bind to a local address; a name in it is looked up without blocking others."""
        _socket.socket.bind(self, _resolver.resolved(_family_of(self), _type_of(self), address))

    def connect(self, address: Any, /) -> None:
        """Connect. Raises TimeoutError, OSError (ConnectionRefusedError and its like)."""
        error = self._connect(address)
        if error:
            raise OSError(error, _os.strerror(error))

    def connect_ex(self, address: Any, /) -> int:
        """As `connect`, but returns the errno (EAGAIN for a timeout)."""
        try:
            return self._connect(address)
        except TimeoutError:
            return _errno.EAGAIN

    def _connect(self, address: Any) -> int:
        address = _resolver.resolved(_family_of(self), _type_of(self), address)
        error = _connect_ex(self, address)
        if error not in _IN_PROGRESS:
            return error
        if self._must_not_wait():
            return error
        deadline = self._deadline()
        if error == _errno.EWOULDBLOCK:
            error = self._connect_again(address, deadline)
        while error in _IN_PROGRESS:
            self._wait_write(deadline)
            # Its own failure first; then the call once more, which says whether we were woken too early.
            error = self.getsockopt(_original.SOL_SOCKET, _original.SO_ERROR) or _connect_ex(self, address)
        return 0 if error == _errno.EISCONN else error

    def _connect_again(self, address: Any, deadline: float | None) -> int:
        """A Unix socket's EAGAIN: the listener's queue is full, which no poller reports, so asking again is all
        there is.
        """
        pause, longest = _CONNECT_PAUSE
        clock = running().hub.clock
        while True:
            if deadline is not None and clock() >= deadline:
                raise TimeoutError("timed out")
            _sleep(pause)
            error = _connect_ex(self, address)
            if error != _errno.EWOULDBLOCK:
                return error
            pause = min(2 * pause, longest)

    # -- the end

    def _real_close(self, _ss: Any = None) -> None:
        self._unregister()
        _socket.socket.close(self)

    def detach(self) -> int:
        """Give the descriptor away: it stays open, and is returned; blocking, if there is no timeout, as its new
        owner expects.
        """
        self._unregister()
        fd = _Base.detach(self)
        if fd >= 0 and self._timeout is None:
            _os.set_blocking(fd, True)
        return fd


def _unregister_from_its_hub(descriptor: Descriptor) -> None:
    io = descriptor.io
    if io.hub.thread_id == _get_ident():  # not running().hub: a callback of the hub may close a socket
        io.unregister(descriptor)
        return
    # Off its poller here and now, for the number is about to be free; the waiters are its own thread's to wake.
    if io.descriptors.get(descriptor.fd) is descriptor:
        io.poller.remove(descriptor.fd)
    io.hub.call_soon_threadsafe(io.unregister, descriptor)


__getattr__ = complete(
    globals(),
    _original,
    rebound=(
        "create_connection",
        "create_server",
        "has_dualstack_ipv6",
        "fromfd",
        "getfqdn",
        "send_fds",
        "recv_fds",
        "_fallback_socketpair",
        "socketpair",
    ),
)
