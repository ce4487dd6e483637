"""A connected stream socket in the hub: what the protocols of both sides stand on, and the only place where their bytes
meet the kernel.

Strategy. Nothing here waits: `receive` says that there is nothing, and what the peer does not take of a `write` at once
goes to a SendBuffer, which sends itself. Whose transport it is (`Owner`) decides whether a green thread waits for that,
for how long, and what the end of it means.

Invariants. Readiness is edge-triggered: `on_readable` and `wait_readable` are for an owner that has asked first and was
told that there is nothing, or that `drained` is set. Only the hub's thread asks for a call; `receive`, `write` and
`wait_readable` work in every OS thread.
"""

from __future__ import annotations

import _socket
import contextlib
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from greenserve.hub.core.hub import Descriptor, Hub, HubCall
from greenserve.hub.core.originals import get_ident
from greenserve.hub.core.poller import READ, WRITE
from greenserve.hub.spawning import call_in
from greenserve.net.lingering import Lingering
from greenserve.net.send_buffer import MSG_DONTWAIT, SEND_SIZE, FileSlice, SendBuffer

IOV_MAX = 1024  # buffers that one sendmsg takes, on Linux and macOS
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close sends a reset


class Owner(Protocol):
    """Whose transport it is. Called in the hub's greenlet."""

    low_water: int  # see SendBuffer

    def on_sent(self) -> None:
        """The peer has taken some of what waits."""

    def on_flushed(self) -> None:
        """Nothing waits any more."""

    def on_lost(self, error: Exception) -> None:
        """What waits cannot be sent: `drop` it. error: OSError, the peer has gone; InvalidResponse, a file has become
        shorter; any other is a defect, to be logged. Called while it is handled.
        """


class Transport:
    """One peer's bytes. sock: connected, non-blocking, the transport's own from now on; or a TlsSocket on one.

    buffer: what waits for the peer to take it, None for nothing. drained: the last `receive` took all that there was,
    and what comes later will be reported.
    """

    __slots__ = ("buffer", "descriptor", "drained", "owner", "socket")

    def __init__(self, hub: Hub, sock: Any, owner: Owner | None = None) -> None:
        self.socket = sock
        self.owner: Any = owner
        self.buffer: SendBuffer | None = None
        self.drained = True
        self.descriptor: Descriptor = hub.io.register(sock.fileno())

    # -- from the peer

    def receive(self, size: int) -> bytes | None:
        """What has come, at most `size` bytes; b"" at the end, None when there is nothing now. Raises OSError."""
        try:
            data: bytes = self.socket.recv(size, MSG_DONTWAIT)
        except BlockingIOError:
            self.drained = True
            self.descriptor.hangup = False  # an urgent byte or the like: there was no end to read
            return None
        self.drained = len(data) < size and not self.descriptor.hangup
        return data

    def receive_into(self, buffer: memoryview) -> int:
        """As `receive`, into `buffer`. Returns how many bytes, 0 for the end, -1 for nothing now. Raises OSError."""
        try:
            count: int = self.socket.recv_into(buffer, 0, MSG_DONTWAIT)
        except BlockingIOError:
            self.drained = True
            self.descriptor.hangup = False
            return -1
        self.drained = count < len(buffer) and not self.descriptor.hangup
        return count

    def peek(self, size: int) -> bytes | None:
        """As `receive`, but what has come is still to be received."""
        try:
            data: bytes = self.socket.recv(size, socket.MSG_PEEK | MSG_DONTWAIT)
        except BlockingIOError:
            return None
        return data

    def has_data(self) -> bool:
        """Whether bytes have come that were not received."""
        try:
            return bool(self.peek(1))
        except OSError:
            return False

    def on_readable(self, call: HubCall) -> None:
        """Have the hub call `call.switch()`, once, when something has come."""
        descriptor = self.descriptor
        descriptor.reader = call
        poller = descriptor.io.poller
        if not poller.edges:
            poller.arm(descriptor.fd, READ)

    def wait_readable(self, deadline: float | None = None) -> None:
        """Park the running green thread until something has come. Raises TimeoutError, OSError when it is closed."""
        descriptor: Any = self.descriptor
        io = descriptor.io
        if get_ident() == io.hub.thread_id:
            io.wait_read(descriptor, deadline)
        else:
            call_in(io.hub, self._ask_again, deadline)

    def _ask_again(self, deadline: float | None) -> None:
        """Wait for a green thread of another OS thread. What has happened since it asked had no waiter."""
        descriptor = self.descriptor
        descriptor.io.poller.rearm(descriptor.fd)
        descriptor.io.wait_read(descriptor, deadline)

    def wait_writable(self, deadline: float | None = None) -> None:
        """Park the running green thread until the peer takes bytes again. The hub's thread only; as `wait_readable`."""
        self.descriptor.io.wait_write(self.descriptor, deadline)

    def interrupt_reader(self, error: BaseException) -> None:
        """Raise `error` in the green thread that waits in `wait_readable`, if one does."""
        waiter = self.descriptor.reader
        if isinstance(waiter, list) and waiter:
            self.descriptor.io.hub.throw(waiter[0], error)

    # -- to the peer

    def send_all(self, data: bytes, deadline: float | None = None) -> None:
        """Send `data`; parks the running green thread while the peer does not take it. For what has no owner yet."""
        view = memoryview(data)
        while view:
            try:
                view = view[self.socket.send(view, MSG_DONTWAIT) :]
            except BlockingIOError:
                self.wait_writable(deadline)

    def write(self, data: bytes) -> bool:
        """Send `data`, or put it behind what waits. Returns whether all of it has left. Raises OSError."""
        if self.buffer is not None:
            self.buffer.put(data)
            return False
        try:
            sent = self.socket.send(data, MSG_DONTWAIT)
        except BlockingIOError:
            sent = 0
        if sent == len(data):
            return True
        self.put(memoryview(data)[sent:] if sent else data)
        return False

    def write_together(self, pieces: Sequence[bytes]) -> bool:
        """`write` several, in one call of the kernel's and without a copy."""
        sent = 0
        if self.buffer is None:
            try:
                sent = self.socket.sendmsg(_at_once(pieces), (), MSG_DONTWAIT)
            except BlockingIOError:
                pass
        for piece in pieces:
            if sent < len(piece):
                self.put(memoryview(piece)[sent:] if sent else piece)
            sent = max(0, sent - len(piece))
        return self.buffer is None

    def write_file(self, file: FileSlice) -> bool:
        """`write` a piece of a file, which is to stay open as long as it waits; see `FileSlice.keep`.

        Raises InvalidResponse, too: it is shorter.
        """
        if self.buffer is None:
            try:
                file.send(self.socket)
            except BlockingIOError:
                pass
        if not file.left:
            return True
        self.put(file)
        return False

    def put(self, piece: bytes | memoryview | FileSlice) -> None:
        """Put it behind what waits; the hub sends it, and begins at once."""
        if self.buffer is not None:
            self.buffer.put(piece)
            return
        buffer = self.buffer = SendBuffer(self, self.owner.low_water)
        buffer.put(piece)
        hub = self.descriptor.io.hub
        hub.make_ready(buffer)
        if hub.sleeping:  # this is another OS thread
            hub.wakeup.wake()

    def on_writable(self, call: HubCall) -> None:
        """Have the hub call `call.switch()`, once, when the peer takes bytes again."""
        descriptor = self.descriptor
        descriptor.writer = call
        poller = descriptor.io.poller
        if not poller.edges:
            poller.arm(descriptor.fd, WRITE)

    def drop(self, error: Exception | None) -> bool:
        """Give up what waits. Returns whether a green thread waited for it, in which `error` is raised."""
        buffer, self.buffer = self.buffer, None
        if buffer is None:
            return False
        if self.descriptor.writer is buffer:
            self.descriptor.writer = None
        return buffer.give_up(error)

    # -- the end

    def shut_writing(self) -> None:
        """Let the peer read the end behind what it has been sent. Raises OSError when it has gone."""
        self.drop(ConnectionAbortedError("our side of the connection is shut"))
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except BlockingIOError:  # TLS has to say it, and the peer takes nothing
            self.on_writable(_Shutting(self))

    def linger(self, end: Callable[[], object]) -> None:
        """Call `end` when the peer has closed its side, or has sent too much; see lingering.py."""
        Lingering(self, end).switch()

    def detach(self) -> Any:
        """Give up the socket, and return it."""
        self.descriptor.io.unregister(self.descriptor)
        self.owner = None
        return self.socket

    def close(self, *, in_order: bool = True) -> None:
        """Close, and wake the waiters. in_order: False for a reset: an orderly end would pass for the end of what was
        sent.
        """
        self.drop(ConnectionAbortedError("the connection is closed"))
        self.descriptor.io.unregister(self.descriptor)
        try:
            if in_order:
                # RFC 9112 §9.6. A child that the application has forked has the socket too: closing ours tells the
                # peer nothing.
                self.socket.shutdown(socket.SHUT_RDWR)
            else:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        except OSError:
            pass
        self.socket.close()
        self.owner = None  # no cycle: both are freed at once


class _Shutting(HubCall):
    """Shuts our side when the peer takes bytes again."""

    __slots__ = ("_transport",)

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def switch(self) -> None:
        """Try again."""
        if self._transport.owner is not None:
            with contextlib.suppress(OSError):
                self._transport.shut_writing()


def _at_once(pieces: Sequence[bytes]) -> list[bytes | memoryview]:
    """The first of them, as many as are given to the kernel at once."""
    chosen: list[bytes | memoryview] = []
    room = SEND_SIZE
    for piece in pieces[:IOV_MAX]:
        chosen.append(piece if len(piece) <= room else memoryview(piece)[:room])
        room -= len(piece)
        if room <= 0:
            break
    return chosen


def raw_socket(sock: Any) -> Any:
    """What a green socket is made of, as a Transport wants it; the green socket is closed from then on."""
    raw = _socket.socket(sock.family, sock.type, sock.proto, sock.detach())
    raw.setblocking(False)
    return raw
