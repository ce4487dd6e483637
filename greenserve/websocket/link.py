"""The I/O of one WebSocket: its socket, what has come, what has still to go.

Strategy. The socket is read and written in the hub's thread alone, and read by a callback of the hub, not by whoever
calls `receive`: so Pings are answered, and a Close is noticed, while the application is busy elsewhere. Complete
messages go straight to a waiting receiver, or into the inbox; when that is full, reading stops until somebody takes
one, and TCP tells the peer. What cannot be sent at once waits in the outbox; a sender waits while there is more in it
than OUTBOX_LIMIT.

Laws. Only the hub's thread touches the protocol, so no lock is needed and none can deadlock; other threads ask it by
`call_soon_threadsafe`. `Stage` says how far the end has come, and goes forwards only.
"""

from __future__ import annotations

import _socket
import socket
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from typing import Any

from greenserve.hub.hub import Call, Descriptor, Hub, HubCall, running, wake
from greenserve.hub.native import get_ident
from greenserve.hub.poller import READ, WRITE
from greenserve.hub.timers import Token
from greenserve.websocket.closing import CloseCode
from greenserve.websocket.errors import ConnectionClosed, ProtocolViolation
from greenserve.websocket.events import Close, Pong
from greenserve.websocket.protocol import Protocol

READ_SIZE = 65536  # bytes
INBOX_MESSAGES = 64  # messages that nobody has received, before reading stops
OUTBOX_LIMIT = 1 << 20  # bytes that the peer has not taken, before a sender waits, and a broadcast gives the peer up
LINGER_SECONDS = 2  # to read on after the end, lest a reset destroy our Close on its way (RFC 6455 §7.1.1)
CLOSE_SECONDS = 5  # for the peer to answer our Close


class Stage(IntEnum):
    """How far the end has come."""

    OPEN = 0
    CLOSING = 1  # our Close is on its way; the peer's is awaited
    ENDED = 2  # no message comes any more, none can be sent; what is in the outbox still goes
    LINGERING = 3  # our side is shut; what comes is thrown away
    CLOSED = 4


_OPEN, _CLOSING, _ENDED, _LINGERING, _CLOSED = Stage


class Link(HubCall):
    """One WebSocket's socket and queues.

    protocol: after its handshake. early: bytes that came with the handshake. on_closed: called once, in the hub's
    greenlet. ping_interval: seconds of silence after which a Ping is sent, 0 for never; ping_timeout: seconds for any
    sign of life after that. Both are as coarse as the heartbeat (heartbeat.py), which counts them in `silent`.
    """

    __slots__ = (
        "__weakref__",
        "_descriptor",
        "_heard",
        "_inbox",
        "_on_closed",
        "_outbox",
        "_outbox_size",
        "_paused",
        "_ping_interval",
        "_ping_timeout",
        "_receivers",
        "_senders",
        "_socket",
        "_waits",
        "_would_block",
        "hub",
        "on_pong",
        "protocol",
        "stage",
    )

    def __init__(
        self,
        hub: Hub,
        sock: Any,
        protocol: Protocol,
        *,
        ping_interval: float,
        ping_timeout: float,
        on_closed: Callable[[Link], object] | None = None,
    ) -> None:
        self.hub = hub
        self.protocol = protocol
        self.stage = _OPEN
        self.on_pong: Callable[[bytes], object] | None = None
        self._socket = sock
        self._would_block: tuple[type[BaseException], ...] = _would_block(sock)
        # Lists, not deques: an empty deque has 600 bytes, and these are short and mostly empty.
        self._inbox: list[str | bytes] = []
        self._receivers: list[Token] = []
        self._senders: list[Token] = []
        self._outbox: deque[bytes] | None = None
        self._outbox_size = 0
        self._paused = False
        self._heard = True
        self._waits = 0.0  # seconds of silence; after the end: seconds since
        self._ping_interval = ping_interval
        self._ping_timeout = ping_timeout
        self._on_closed = on_closed
        self._descriptor: Descriptor = hub.register(sock.fileno())

    def start(self, greeting: bytes, early: bytes = b"") -> None:
        """Send the end of the handshake, and begin to read, with the bytes that came early."""
        if greeting:
            self._write(greeting)
        if early:
            self.protocol.receive_data(early)
        self.hub.ready.append(self)

    def drain(self) -> None:
        """The server is stopping."""
        self.close(CloseCode.GOING_AWAY, "the server is stopping")

    def ping(self, payload: bytes = b"") -> None:
        """Send a Ping, if it is open. The hub's thread only."""
        if self.stage is _OPEN:
            self._write(self.protocol.ping(payload))

    # -- receiving: in the hub's greenlet

    def switch(self) -> None:
        """There may be something to read."""
        if self.stage >= _LINGERING:
            self._discard()
            return
        if self._paused or not self._deliver():
            return
        try:
            data = self._socket.recv(READ_SIZE)
        except self._would_block:
            self._await_data()
            return
        except OSError:
            data = b""
        self._heard = True
        self.protocol.receive_data(data)
        if not self._deliver() or self.stage >= _ENDED:
            return
        if not data:  # the protocol has told of the end
            self._end()
        elif len(data) < READ_SIZE and not self._descriptor.hangup and len(self._would_block) == 1:
            self._await_data()
        else:
            self.hub.ready.append(self)

    def _await_data(self) -> None:
        self._descriptor.reader = self
        self.hub.poller.arm(self._descriptor.fd, READ)

    def _deliver(self) -> bool:
        """Hand on what the protocol has; returns whether to read on."""
        protocol = self.protocol
        while True:
            if len(self._inbox) >= INBOX_MESSAGES:
                self._paused = True
                break
            try:
                event = protocol.next_event()
            except ProtocolViolation:
                self._answer()
                self._end()
                return False
            if event is None:
                break
            kind = type(event)
            if kind is str or kind is bytes:
                self._hand_over(event)  # type: ignore[arg-type]  # str or bytes, as just asked
            elif kind is Close:
                self._answer()
                self._end()
                return False
            elif kind is Pong and self.on_pong is not None:
                self.on_pong(event.payload)  # type: ignore[union-attr]  # a Pong, as just asked
        self._answer()
        return not self._paused

    def _hand_over(self, message: str | bytes) -> None:
        receivers, inbox = self._receivers, self._inbox
        while receivers:
            if wake(receivers.pop(0), message):
                return
        inbox.append(message)
        # A receiver in another OS thread may have looked before and come into line after.
        while receivers and inbox:
            token = receivers.pop(0)
            if wake(token, inbox[0]):
                del inbox[0]

    def _answer(self) -> None:
        data = self.protocol.data_to_send()
        if data:
            self._write(data)

    def receive(self, timeout: float | None) -> str | bytes:
        """The next message. Raises ConnectionClosed at the end; TimeoutError after `timeout` seconds."""
        inbox = self._inbox
        if inbox:
            return self._take()
        if self.stage >= _ENDED:
            raise self.error()
        greenlet = running()
        token: Token = [greenlet]
        self._receivers.append(token)
        if (inbox or self.stage >= _ENDED) and token:  # it came meanwhile, from another OS thread
            self._wake_receivers()
        hub = greenlet.hub
        try:
            outcome = hub.park_until(greenlet, token, None if timeout is None else hub.clock() + timeout)
        except BaseException:
            self._leave(token)
            raise
        if type(outcome) is str or type(outcome) is bytes:
            return outcome
        self._leave(token)
        if outcome is self:
            raise self.error()
        raise TimeoutError(f"no message came within {timeout} seconds")

    def _take(self) -> str | bytes:
        message = self._inbox.pop(0)
        if self._paused:
            self.hub.call_soon_threadsafe(self._resume)
        return message

    def _resume(self) -> None:
        if self._paused and self.stage < _ENDED:
            self._paused = False
            self.hub.ready.append(self)

    def _leave(self, token: Token) -> None:
        if token in self._receivers:
            self._receivers.remove(token)

    def _wake_receivers(self) -> None:
        """Give what is there to those who wait; at the end, tell them that it has come."""
        receivers, inbox = self._receivers, self._inbox
        while receivers and inbox:
            if wake(receivers.pop(0), inbox[0]):
                del inbox[0]
        while receivers and self.stage >= _ENDED:
            wake(receivers.pop(0), self)

    # -- sending

    def send(self, message: str | bytes) -> None:
        """Send a message; waits while the outbox is over its limit. In any OS thread.

        Raises ConnectionClosed; TypeError.
        """
        if get_ident() != self.hub.thread_id:
            self._send_from_elsewhere(message)
            return
        frame = self.protocol.send(message)
        if self._outbox_size > OUTBOX_LIMIT:
            self._wait_to_send()
        self._write(frame)
        if self.stage >= _ENDED:
            raise self.error()

    def post(self, frame: bytes) -> bool:
        """Send a ready-made frame without ever waiting: False, and the link given up, when the peer takes nothing.

        For broadcasts: a member that does not read must not delay the others, nor fill the memory. The hub's thread
        only.
        """
        if self.stage is not _OPEN:
            return False
        if self._outbox_size > OUTBOX_LIMIT:
            self.fail(CloseCode.TRY_AGAIN_LATER, "you do not read what is sent")
            return False
        self._write(frame)
        return True

    def _send_from_elsewhere(self, message: str | bytes) -> None:
        if not isinstance(message, str | bytes | bytearray | memoryview):
            raise TypeError(f"a message is str or bytes, not {type(message).__name__}")
        greenlet = running()
        while self._outbox_size > OUTBOX_LIMIT and self.stage is _OPEN:
            token: Token = [greenlet]
            self._senders.append(token)
            self.hub.call_soon_threadsafe(self._flush)
            greenlet.hub.park(greenlet, token)
        if self.stage is not _OPEN:
            raise self.error()
        self.hub.call_soon_threadsafe(self._send_now, message)

    def _send_now(self, message: str | bytes) -> None:
        if self.stage is _OPEN:
            self._write(self.protocol.send(message))

    def _wait_to_send(self) -> None:
        greenlet = running()
        while self._outbox_size > OUTBOX_LIMIT and self.stage < _ENDED:
            token: Token = [greenlet]
            self._senders.append(token)
            greenlet.hub.park(greenlet, token)

    def _write(self, data: bytes) -> None:
        """Send, or put behind what waits already."""
        outbox = self._outbox
        if not outbox:
            if self.stage >= _LINGERING:
                return
            try:
                sent = self._socket.send(data)
            except self._would_block:
                sent = 0
            except OSError:
                self._lost()
                return
            if sent == len(data):
                return
            data = data[sent:]
            if outbox is None:
                outbox = self._outbox = deque()
            self._await_room()
        outbox.append(data)
        self._outbox_size += len(data)

    def _await_room(self) -> None:
        self._descriptor.writer = Call(self._flush, ())
        self.hub.poller.arm(self._descriptor.fd, WRITE)

    def _flush(self) -> None:
        """Send what waits, as far as the peer takes it."""
        outbox = self._outbox
        if self.stage is _CLOSED:
            return
        while outbox:
            data = outbox[0]
            try:
                sent = self._socket.send(data)
            except self._would_block:
                self._await_room()
                break
            except OSError:
                self._lost()
                return
            self._outbox_size -= sent
            if sent == len(data):
                outbox.popleft()
            else:
                outbox[0] = data[sent:]
        if not outbox:
            self._outbox = None
            if self.stage is _ENDED:
                self._linger()
        if self._outbox_size <= OUTBOX_LIMIT >> 1:
            self._wake_senders()

    def _wake_senders(self) -> None:
        while self._senders:
            wake(self._senders.pop(0))

    # -- the end

    def error(self) -> ConnectionClosed:
        """What to raise after the end."""
        closed = self.protocol.closed or Close(CloseCode.ABNORMAL)
        return ConnectionClosed(closed.code, closed.reason)

    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Send our Close, if nobody has closed before; the rest goes by itself. The hub's thread only.

        Raises ValueError for a code that must not be sent.
        """
        if self.stage is _OPEN:
            frame = self.protocol.close(code, reason)
            self.stage = _CLOSING
            self._waits = 0.0
            self._write(frame)
            if self._paused:  # the peer's Close is behind what nobody will receive any more
                self._inbox.clear()
                self._resume()

    def fail(self, code: int, reason: str) -> None:
        """Give the peer up: it is told, if it reads."""
        if self.stage is _OPEN:
            self._write(self.protocol.close(code, reason))
        self._end()

    def wait_closed(self, timeout: float | None) -> bool:
        """Wait until the peer's Close has come, or it is gone. Returns whether it has."""
        deadline = None if timeout is None else running().hub.clock() + timeout
        while self.stage < _ENDED:
            left = None if deadline is None else deadline - running().hub.clock()
            try:
                self.receive(left)
            except ConnectionClosed:
                return True
            except TimeoutError:
                return False
        return True

    def tick(self, seconds: float) -> None:
        """Called by the heartbeat: `seconds` have passed."""
        if self.stage is _OPEN and self._heard:
            self._heard = False
            self._waits = 0.0
            return
        before, self._waits = self._waits, self._waits + seconds
        if self.stage is _OPEN:
            interval = self._ping_interval
            if not interval:
                return
            if self._waits >= interval + self._ping_timeout:
                self._lost()
            elif before < interval <= self._waits:
                self._write(self.protocol.ping())
        elif self.stage is _CLOSING:
            if self._waits >= CLOSE_SECONDS:
                self._lost()
        elif self._waits >= LINGER_SECONDS:
            self._close()

    def _lost(self) -> None:
        """The peer is gone, or as good as gone."""
        if self.protocol.closed is None:
            self.protocol.receive_data(b"")
            try:
                self.protocol.next_event()
            except ProtocolViolation:
                pass
        self._outbox = None
        self._outbox_size = 0
        self.stage = max(self.stage, _ENDED)
        self._close()

    def _end(self) -> None:
        """No message will come any more: tell the receivers; flush; shut our side."""
        if self.stage < _ENDED:
            self.stage = _ENDED
            self._waits = 0.0
            self._paused = False
            self._wake_receivers()
            self._wake_senders()
            if not self._outbox:
                self._linger()

    def _linger(self) -> None:
        self.stage = _LINGERING
        try:
            if self._descriptor.hangup:
                raise OSError
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._close()
            return
        self._discard()

    def _discard(self) -> None:
        if self.stage is _CLOSED:
            return
        try:
            while self._socket.recv(READ_SIZE):
                pass
        except self._would_block:
            self._await_data()
            return
        except OSError:
            pass
        self._close()

    def _close(self) -> None:
        if self.stage is _CLOSED:
            return
        self.stage = _CLOSED
        self._descriptor.reader = self._descriptor.writer = None
        self.hub.unregister(self._descriptor)
        self._socket.close()
        self._wake_receivers()
        self._wake_senders()
        on_closed, self._on_closed = self._on_closed, None
        if on_closed is not None:
            on_closed(self)


def _would_block(sock: Any) -> tuple[type[BaseException], ...]:
    """What a socket that is not ready raises."""
    if isinstance(sock, _socket.socket) and not hasattr(sock, "pending"):
        return (BlockingIOError,)
    import ssl  # noqa: PLC0415 - most programs never speak TLS here

    return (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
