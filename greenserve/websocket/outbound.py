"""The sending half of a link: from a message to the socket, and what waits in between.

Strategy. A frame goes straight to the socket. What that does not take waits in the outbox until the poller says that
there is room; a sender waits while there is more in it than OUTBOX_LIMIT, so a slow peer costs its senders time and the
server a bounded piece of memory, and other clients nothing. A peer that takes nothing at all is gone after a while.

Invariants. Only the hub's thread touches protocol and socket, so no lock is needed and none can deadlock: other OS
threads ask it by `call_soon_threadsafe`. A frame is made when there is room for it and put in line at once, so frames
leave in the order in which the protocol has made them: compression with a context kept between messages depends on
that.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum
from typing import Any, ClassVar

from greenlet import getcurrent

from greenserve.hub.hub import Call, Descriptor, Hub, HubCall, running, wake
from greenserve.hub.native import get_ident
from greenserve.hub.poller import WRITE
from greenserve.hub.timers import Token
from greenserve.websocket.memory import Memory
from greenserve.websocket.protocol import Protocol
from greenserve.websocket.protocol.close import CloseCode
from greenserve.websocket.protocol.errors import ConnectionClosed
from greenserve.websocket.protocol.events import Close

OUTBOX_LIMIT = 1 << 20  # bytes that the peer has not taken, before a sender waits, and a broadcast gives the peer up
LARGE = 1 << 16  # bytes or characters: compressing so much takes a millisecond
JOINED_SIZE = 1 << 16  # bytes: small frames that wait leave together up to here; larger ones as they are, uncopied


class Stage(IntEnum):
    """How far the end has come; it goes forwards only."""

    OPEN = 0
    CLOSING = 1  # our Close is on its way, the peer's is awaited; messages are still handed over
    LEAVING = 2  # the same, but messages are not wanted any more
    ENDED = 3  # no message comes any more, none can be sent; what is in the outbox still goes
    LINGERING = 4  # our side is shut; what comes is thrown away
    CLOSED = 5


OPEN, CLOSING, LEAVING, ENDED, LINGERING, CLOSED = Stage  # a member of an Enum costs two look-ups

_SIZED = frozenset((str, bytes))
_SENT: Any = object()  # outcome of a sender in another OS thread


class Outbound(HubCall):
    """A protocol, a socket, and what has still to go."""

    _would_block: ClassVar[tuple[type[BaseException], ...]] = (BlockingIOError,)  # what it raises when not ready

    __slots__ = (
        "_descriptor",
        "_memory",
        "_outbox",
        "_outbox_size",
        "_socket",
        "_stuck",
        "_waiters",
        "_waits",
        "hub",
        "protocol",
        "sent",
        "stage",
    )

    def __init__(self, hub: Hub, sock: Any, protocol: Protocol, memory: Memory) -> None:
        self.hub = hub
        self.protocol = protocol
        self.stage: Stage = OPEN
        self.sent = 0  # bytes
        self._socket = sock
        self._memory = memory
        self._outbox: deque[bytes | memoryview] | None = None  # an empty deque has 600 bytes
        self._outbox_size = 0
        self._waiters: list[Token] = []  # for room in the outbox, or for the end
        self._stuck = 0.0  # seconds in which the peer has taken nothing of what waits for it
        self._waits = 0.0  # seconds in which the peer has given no sign; after the end: seconds since
        self._descriptor: Descriptor = hub.register(sock.fileno())

    def send(self, message: str | bytes) -> None:
        """Send a message; waits while the outbox is over its limit. In any OS thread.

        Raises ConnectionClosed; TypeError; UnicodeEncodeError.
        """
        hub = self.hub
        if get_ident() != hub.thread_id:
            self._send_from_elsewhere(message)
            return
        # A peer as quick as we are never makes a sender wait.
        if hub.turn_is_over() and getcurrent() is not hub.loop:
            hub.pause(running())
        if self._outbox_size and self._crowded:
            self._wait_for_room()
        protocol = self.protocol
        if protocol.deflate is None or type(message) not in _SIZED or len(message) <= LARGE:
            self._write(protocol.send(message))
        else:
            self._write(self._encoded(message))
        if self.stage >= ENDED:
            raise self.error()

    def _encoded(self, message: str | bytes) -> bytes:
        """The frame of a large message: compressing a megabyte takes ten milliseconds, so others run meanwhile.

        One is compressed after the other: a hundred at once would each take their step before anything else runs.
        """
        hub = self.hub
        if getcurrent() is hub.loop:
            return self.protocol.send(message)
        greenlet = running()
        with self._memory.compressing:
            steps = self.protocol.sending(message)
            while True:
                try:
                    next(steps)
                except StopIteration as end:
                    frame: bytes = end.value
                    return frame
                if hub.turn_is_over():
                    hub.pause(greenlet)

    def post(self, frame: bytes) -> bool:
        """Send a ready-made frame without ever waiting: False, and the link given up, when the peer takes nothing.

        For broadcasts: a member that does not read must not delay the others, nor fill the memory. The hub's thread
        only.
        """
        if self.stage is not OPEN:
            return False
        if self._outbox_size > OUTBOX_LIMIT:
            self.fail(CloseCode.TRY_AGAIN_LATER, "you do not read what is sent")
            return False
        self._write(frame)
        return True

    def fail(self, code: int, reason: str) -> None:
        """Give the peer up, and tell it why, if it reads. The hub's thread only."""
        raise NotImplementedError

    def error(self) -> ConnectionClosed:
        """What to raise after the end."""
        closed = self.protocol.closed or Close(CloseCode.ABNORMAL)
        return ConnectionClosed(closed.code, closed.reason)

    # -- waiting to send

    @property
    def _crowded(self) -> bool:
        """Whether a sender has to wait: there is much in the outbox, or not so little, and in all of them too much."""
        return self._outbox_size > (JOINED_SIZE if self._memory.scarce else OUTBOX_LIMIT)

    def _wait_for_room(self) -> None:
        greenlet = running()
        while self._crowded and self.stage is OPEN:
            token: Token = [greenlet]
            self._waiters.append(token)
            greenlet.hub.park(greenlet, token)

    def _send_from_elsewhere(self, message: str | bytes) -> None:
        greenlet = running()
        while True:
            token: Token = [greenlet]
            self.hub.call_soon_threadsafe(self._send_for, token, message)
            outcome = greenlet.hub.park(greenlet, token)
            if outcome is _SENT:
                return
            if outcome is not None:
                raise outcome

    def _send_for(self, token: Token, message: str | bytes) -> None:
        """In the hub: send for a sender in another OS thread, or put it in line."""
        if not token:  # it was killed meanwhile
            return
        if self._crowded and self.stage is OPEN:
            self._waiters.append(token)
            return
        try:
            self._write(self.protocol.send(message))
        except Exception as error:  # the sender's to raise: closed, a wrong type, no UTF-8
            wake(token, error)
        else:
            wake(token, _SENT if self.stage < ENDED else self.error())

    def _wake_waiters(self) -> None:
        waiters, self._waiters = self._waiters, []
        for token in waiters:
            wake(token)

    # -- to the socket

    def _write(self, data: bytes) -> None:
        """Send, or put behind what waits already."""
        if self._outbox is None:
            if self.stage >= LINGERING:
                return
            try:
                sent = self._socket.send(data)
            except self._would_block:
                sent = 0
            except OSError:
                self._lost()
                return
            self.sent += sent
            if sent == len(data):
                return
            self._outbox = deque()
            self._stuck = 0.0
            self._put_off(memoryview(data)[sent:] if sent else data)
            self._flush()
        else:
            self._put_off(data)

    def _put_off(self, data: bytes | memoryview) -> None:
        assert self._outbox is not None
        self._outbox.append(data)
        self._outbox_size += len(data)
        self._memory.waiting += len(data)

    def _drop_outbox(self) -> None:
        self._memory.waiting -= self._outbox_size
        self._outbox = None
        self._outbox_size = 0

    def _flush(self) -> None:
        """Send what waits, as far as the peer takes it."""
        before = self._outbox_size
        while self._outbox:
            data = _joined(self._outbox)
            try:
                sent = self._socket.send(data)
            except self._would_block as busy:
                self._await_room(busy)
                break
            except OSError:
                self._lost()
                return
            self.sent += sent
            self._outbox_size -= sent
            self._memory.waiting -= sent
            if sent == len(data):
                self._outbox.popleft()
            else:
                self._outbox[0] = memoryview(data)[sent:]
            if self._outbox and self.hub.turn_is_over():
                self.hub.call_soon(self._go_on_sending)
                break
        if self._outbox_size < before:
            self._waits = self._stuck = 0.0  # a slow peer is not a dead one
        if self._outbox_size <= OUTBOX_LIMIT >> 1:
            self._wake_waiters()
            self._relieved()
        if self._outbox is not None and not self._outbox:
            self._outbox = None
            self._flushed()

    def _await_room(self, busy: BaseException) -> None:
        self._descriptor.writer = Call(self._go_on_sending, ())
        self.hub.poller.arm(self._descriptor.fd, WRITE)

    def _go_on_sending(self) -> None:
        """There is room."""
        self._flush()

    # -- what the other half does about it

    def _relieved(self) -> None:
        """There is less than half of its limit in the outbox."""
        raise NotImplementedError

    def _flushed(self) -> None:
        """There is nothing in it."""
        raise NotImplementedError

    def _lost(self) -> None:
        """The socket has failed."""
        raise NotImplementedError


def _joined(outbox: deque[bytes | memoryview]) -> bytes | memoryview:
    """The first piece, small ones made one: each piece of its own would cost a system call."""
    first = outbox[0]
    if len(outbox) > 1 and len(first) + len(outbox[1]) <= JOINED_SIZE:
        pieces, size = [outbox.popleft()], len(first)
        while outbox and size + len(outbox[0]) <= JOINED_SIZE:
            pieces.append(outbox.popleft())
            size += len(pieces[-1])
        first = b"".join(pieces)
        outbox.appendleft(first)
    return first
