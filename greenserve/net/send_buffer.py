"""What a peer has still to take: bytes, and slices of files. It sends itself, from the moment on at which something is
put into it: so a slow peer costs no green thread, and nothing is withheld from a peer while its application is busy.
"""

from __future__ import annotations

import _socket
import errno
import os
from collections import deque
from typing import Any, Protocol

from greenserve.errors import InvalidResponse
from greenserve.hub.core.hub import Descriptor, HubCall
from greenserve.hub.core.wait_queue import WaitQueue

# The open file may be made to block behind our back: by an application that finds the descriptor, by a child of its.
MSG_DONTWAIT = _socket.MSG_DONTWAIT
# Bytes given to the kernel at once: it copies them while no other thread runs. 1 MiB, and the head of such an answer.
SEND_SIZE = (1 << 20) + (1 << 14)
JOINED_SIZE = 1 << 16  # bytes: small pieces leave together up to here; larger ones as they are, uncopied
COPY_SIZE = 1 << 16  # bytes of a file, where sendfile does not work


class FileSlice:
    """`left` bytes of the regular file `fd` from `offset`, for sendfile(2): from file to socket within the kernel."""

    __slots__ = ("_fd", "_kept", "_offset", "left")

    def __init__(self, fd: int, offset: int, left: int) -> None:
        self._fd = fd
        self._kept = False
        self._offset = offset
        self.left = left

    def keep(self) -> None:
        """Take a descriptor of its own: its user closes the file. Raises OSError: there is none left."""
        self._fd = os.dup(self._fd)
        self._kept = True

    def send(self, sock: Any) -> None:
        """Send some of it. Raises OSError, BlockingIOError among them; InvalidResponse when the file is shorter."""
        try:
            if not isinstance(sock, _socket.socket):
                raise OSError(errno.EINVAL, "TLS is above the descriptor")
            sock.setblocking(False)  # sendfile has no MSG_DONTWAIT
            sent = os.sendfile(sock.fileno(), self._fd, self._offset, min(self.left, SEND_SIZE))
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS):
                raise
            block = os.pread(self._fd, min(self.left, COPY_SIZE), self._offset)  # some file systems have no sendfile
            sent = sock.send(block, MSG_DONTWAIT) if block else 0
        if not sent:
            raise InvalidResponse(f"the file was cut short while it was sent: {self.left} bytes are missing")
        self._offset += sent
        self.left -= sent

    def close(self) -> None:
        """Close the descriptor of its own."""
        if self._kept:
            self._kept = False
            os.close(self._fd)


class Backlog(Protocol):
    """Counts the bytes of many buffers together."""

    unsent: int


class Sink(Protocol):
    """What a buffer needs of its transport."""

    buffer: Any
    descriptor: Descriptor
    owner: Any
    socket: Any

    def on_writable(self, call: HubCall) -> None:
        """Have the hub make `call` when the peer takes bytes again."""

    def drop(self, error: Exception | None) -> bool:
        """Give up the buffer."""


class SendBuffer(HubCall):
    """Bytes and files in the order in which they were put in. Also the hub's call when the peer takes more of them.

    size: bytes of memory. left: bytes that have still to leave, those of files included. low: the water mark below
    which waiters go on; 0: when nothing is left.
    """

    __slots__ = ("_backlog", "_held", "_low", "_pieces", "_transport", "_waiters", "left", "size")

    def __init__(self, transport: Sink, low: int) -> None:
        self._transport = transport
        self._low = low
        self._pieces: deque[bytes | memoryview | FileSlice] = deque()
        self._waiters = WaitQueue()
        self._backlog: Backlog | None = None
        self.size = self.left = 0
        self._held = 0  # bytes: of a piece that was taken in part, the whole is still in memory

    def put(self, piece: bytes | memoryview | FileSlice) -> None:
        """Put it behind what waits."""
        if isinstance(piece, FileSlice):
            self.left += piece.left
        else:
            self._resize(len(piece))
        self._pieces.append(piece)
        self._hold(_held_by(piece))

    def count_in(self, backlog: Backlog) -> bool:
        """Have its bytes counted from now on with those of others. Returns False when they are already."""
        if self._backlog is not None:
            return False
        self._backlog = backlog
        backlog.unsent += self._held
        return True

    def _hold(self, change: int) -> None:
        self._held += change
        if self._backlog is not None:
            self._backlog.unsent += change

    def _resize(self, change: int) -> None:
        self.size += change
        self.left += change

    # -- waiting for the peer

    def wait(self) -> None:
        """Park the running green thread, of any OS thread, until the peer has taken enough; raises what prevents it."""
        # In another OS thread: it may have been sent meanwhile.
        error = self._waiters.wait(unless=lambda: not self._pieces)
        if isinstance(error, Exception):
            raise error

    def wake_waiters(self, error: Exception | None = None) -> bool:
        """Let the waiters go on. Returns whether there were any."""
        return self._waiters.wake_all(error)

    # -- in the hub

    def switch(self) -> None:
        """Send what the peer takes now."""
        transport = self._transport
        if transport.buffer is not self:  # given up
            return
        owner, before = transport.owner, self.left
        try:
            self._send(transport)
        except Exception as error:  # a defect of ours, too, is the end of this one alone
            owner.on_lost(error)
            return
        if self.left < before:
            owner.on_sent()
        if not self._pieces:
            transport.buffer = None
        if not self._pieces or self.size < self._low:
            self.wake_waiters()
        if not self._pieces:
            owner.on_flushed()

    def _send(self, transport: Sink) -> None:
        hub = transport.descriptor.io.hub
        while self._pieces:
            try:
                self._send_first(transport.socket)
            except BlockingIOError:
                transport.on_writable(self)
                return
            if self._pieces and hub.turn_is_over():
                hub.background.add(self.switch)
                return

    def _send_first(self, sock: Any) -> None:
        pieces = self._pieces
        piece = pieces[0]
        if isinstance(piece, FileSlice):
            before = piece.left
            piece.send(sock)
            self.left -= before - piece.left
            if not piece.left:
                pieces.popleft()
                piece.close()
            return
        piece, released = _joined(pieces)
        self._hold(-released)
        sent = sock.send(piece if len(piece) <= SEND_SIZE else memoryview(piece)[:SEND_SIZE], MSG_DONTWAIT)
        self._resize(-sent)
        if sent == len(piece):
            self._hold(-_held_by(pieces.popleft()))
        else:
            pieces[0] = memoryview(piece)[sent:]

    def give_up(self, error: Exception | None) -> bool:
        """Drop what waits. Returns whether a green thread waited, which goes on now."""
        for piece in self._pieces:
            if isinstance(piece, FileSlice):
                piece.close()
        self._pieces.clear()
        self._resize(-self.size)
        self._hold(-self._held)
        self.left = 0
        return self.wake_waiters(error)


def _held_by(piece: bytes | memoryview | FileSlice) -> int:
    if isinstance(piece, FileSlice):
        return 0
    return memoryview(piece.obj).nbytes if isinstance(piece, memoryview) else len(piece)


def _joined(pieces: deque[Any]) -> tuple[bytes | memoryview, int]:
    """The first piece, small ones made one: each of its own would cost a system call. And the bytes released so."""
    first: bytes | memoryview = pieces.popleft()
    size, joined = len(first), [first]
    while pieces and not isinstance(pieces[0], FileSlice) and size + len(pieces[0]) <= JOINED_SIZE:
        joined.append(pieces.popleft())
        size += len(joined[-1])
    released = 0
    if len(joined) > 1:
        first = b"".join(joined)
        released = sum(map(_held_by, joined)) - size
    pieces.appendleft(first)
    return first, released
