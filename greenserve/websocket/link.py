"""The I/O of one WebSocket: its socket, what has come, what has still to go. This half reads, and ends it; outbound.py
is the one that sends.

Strategy. The socket is read by a callback of the hub, not by the caller of `receive`: so Pings are answered, and a
Close is noticed, while the application is busy elsewhere. Complete messages go straight to a waiting receiver, or into
the inbox. While that is full, or the outbox is, nothing is read, and TCP tells the peer. Whatever the peer sends, the
callback ends with the hub's turn and makes itself ready again.

Invariants. Only the hub's thread touches protocol, socket and inbox. `Stage` says how far the end has come. Waiters are
resumed at the end, whatever its cause.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from typing import Any

from greenserve.hub.calls import call_guarded
from greenserve.hub.hub import TIMED_OUT, Hub, running, wake
from greenserve.hub.native import get_ident
from greenserve.hub.poller import READ
from greenserve.hub.timers import Token
from greenserve.websocket.memory import Memory
from greenserve.websocket.outbound import (
    CLOSED,
    CLOSING,
    ENDED,
    LEAVING,
    LINGERING,
    OPEN,
    OUTBOX_LIMIT,
    Outbound,
    Stage,
)
from greenserve.websocket.protocol import MORE, Ahead, Protocol
from greenserve.websocket.protocol.close import CloseCode
from greenserve.websocket.protocol.errors import ConnectionClosed, ProtocolViolation
from greenserve.websocket.protocol.events import Close, Pong
from greenserve.websocket.protocol.message import PackedMessage
from greenserve.websocket.receive_queue import ReceiveQueue
from greenserve.websocket.unpacking import unpacker_of

__all__ = ["Link", "Stage"]

logger = logging.getLogger("greenserve.websocket")

READ_SIZE = 65536  # bytes
LINGER_SECONDS = 2  # to read on after the end, lest a reset destroy our Close on its way (RFC 6455 §7.1.1)
LINGER_LIMIT = 1 << 20  # bytes thrown away at the most
CLOSE_SECONDS = 5  # for the peer to answer our Close
LAST_WORDS = 64  # messages and control frames of a peer that is gone which are still looked at
MAX_PINGS = 16  # that were not answered: an application may send some, too
SMALL = 4096  # bytes: less is not counted, since the rest of a WebSocket weighs as much

_ENDED: Any = object()  # outcome of a receiver: no message will come
_MESSAGE = frozenset((str, bytes, PackedMessage))
_NOTHING, _OTHER = Ahead.NOTHING, Ahead.OTHER


class Link(Outbound):
    """One WebSocket's socket and queues, after its handshake.

    sock: connected, non-blocking, the link's own from now on. ping_interval: seconds of silence after which a Ping is
    sent, 0 for never; ping_timeout: seconds for its Pong, or for data, after that; other Pongs and Pings say nothing.
    write_timeout: seconds in which the peer must take some of what waits for it. All three are as coarse as the
    keepalive that calls `tick`. client: we are the client, so the server is to close the socket. memory: what this link
    shares with others; by default it has no bound but its own.
    """

    status = "101 Switching Protocols"  # for the access log
    _short_read_is_all = True  # a read that brought less than it might has emptied the socket

    __slots__ = (
        "__weakref__",
        "_at_end",
        "_heard",
        "_held",
        "_inbox",
        "_linger_left",
        "_on_closed",
        "_paused",
        "_ping_interval",
        "_ping_timeout",
        "_pings",
        "_unpacking",
        "_write_timeout",
        "client",
        "close_sent",
        "on_pong",
    )

    def __init__(
        self,
        hub: Hub,
        sock: Any,
        protocol: Protocol,
        *,
        ping_interval: float,
        ping_timeout: float,
        write_timeout: float,
        client: bool = False,
        memory: Memory | None = None,
    ) -> None:
        super().__init__(hub, sock, protocol, memory or Memory())
        self.close_sent: Close | None = None  # our Close, if we began
        self.on_pong: Callable[[bytes], object] | None = None
        self.client = client
        self._inbox = ReceiveQueue()
        self._paused = False
        self._unpacking = False  # in line for it
        self._held = 0  # bytes that the memory knows of
        self._linger_left = LINGER_LIMIT
        self._heard = True
        self._ping_interval = ping_interval
        self._ping_timeout = ping_timeout
        self._write_timeout = write_timeout
        self._pings: list[bytes] = []  # payloads of Pings that no Pong has answered
        self._at_end: list[Callable[[Link], object]] | None = None
        self._on_closed: list[Callable[[Link], object]] | None = None

    def start(self, greeting: bytes = b"", early: bytes = b"") -> None:
        """Send the end of the handshake, and begin to read, with the bytes that came early. The hub's thread only."""
        if greeting:
            self._write(greeting)
        if early:
            self.protocol.receive_data(early)
        self.hub.call_soon(self._read_on)

    def call_at_end(self, callback: Callable[[Link], object]) -> None:
        """Call `callback(link)`, in the hub's thread, when nothing can be sent or received any more: perhaps soon."""
        if get_ident() != self.hub.thread_id:
            self.hub.call_soon_threadsafe(self.call_at_end, callback)
        elif self.stage >= ENDED:
            self.hub.call_soon(callback, self)
        elif self._at_end is None:
            self._at_end = [callback]
        else:
            self._at_end.append(callback)

    def forget_at_end(self, callback: Callable[[Link], object]) -> None:
        """Undo `call_at_end`. Harmless when it was not called."""
        if get_ident() != self.hub.thread_id:
            self.hub.call_soon_threadsafe(self.forget_at_end, callback)
        elif self._at_end is not None and callback in self._at_end:
            self._at_end.remove(callback)

    def when_closed(self, callback: Callable[[Link], object]) -> None:
        """Call `callback(link)` when the socket is closed; at once if it is. The hub's thread only."""
        if self.stage is CLOSED:
            callback(self)
        elif self._on_closed is None:
            self._on_closed = [callback]
        else:
            self._on_closed.append(callback)

    # -- reading: in the hub's greenlet

    def switch(self) -> None:
        """There may be something to read."""
        if self.stage >= ENDED or self._paused:
            if self.stage is LINGERING:
                self._discard()
            return
        try:
            data = self._socket.recv(READ_SIZE)
        except self._would_block as busy:
            self._await_data(busy)
            return
        except OSError:
            data = b""
        self.protocol.receive_data(data)
        if not self._deliver():
            return
        if len(data) < READ_SIZE and self._short_read_is_all and not self._descriptor.hangup:
            self._descriptor.reader = self
            self.hub.poller.arm(self._descriptor.fd, READ)
        else:
            self.hub.ready.append(self)  # after the others

    def _await_data(self, busy: BaseException) -> None:
        self._descriptor.reader = self
        self.hub.poller.arm(self._descriptor.fd, READ)

    def _deliver(self) -> bool:
        """Hand on what the protocol has; returns whether to read on."""
        try:
            return self._deliver_events()
        except ProtocolViolation:
            self._answer()
            self._end()
        except Exception:
            logger.exception("a defect of greenserve, or of an on_pong, ended a WebSocket")
            self.fail(CloseCode.INTERNAL_ERROR, "")
        return False

    def _deliver_events(self) -> bool:
        protocol, inbox = self.protocol, self._inbox
        event: object = None
        while not self._paused:
            event = protocol.step()
            if event is None:
                break
            if type(event) in _MESSAGE:
                self._heard = True
                if self.stage < LEAVING:
                    self._paused = inbox.put(event)  # type: ignore[arg-type]  # a message, as just asked
                ahead = protocol.ahead()
                if ahead is _NOTHING:
                    break
                if ahead is _OTHER:  # it may be the end: first let the application answer what came before
                    return self._put_off_reading()
            elif event is not MORE and not self._on_control(event):
                return False
            if self.hub.turn_is_over():
                return self._put_off_reading()
        if event is None or inbox.messages or self._held or protocol.outgoing:
            return self._settle()
        return not self._paused

    def _on_control(self, event: object) -> bool:
        """A Ping, a Pong or a Close. Returns whether there will be more."""
        if type(event) is Close:
            self._answer()
            self._end()
            return False
        if type(event) is Pong:
            pings = self._pings
            if event.payload in pings:
                self._heard = True
                del pings[: pings.index(event.payload) + 1]  # RFC 6455 §5.5.3: it may answer the latest alone
            if self.on_pong is not None:
                self.on_pong(event.payload)
        return True

    def _answer(self) -> None:
        data = self.protocol.data_to_send()
        if data:
            self._write(data)
            if self._outbox_size > OUTBOX_LIMIT:  # it asks, and does not read what we answer
                self._paused = True

    def _settle(self) -> bool:
        """After some events. Returns whether to read on."""
        paused = self._paused  # then what ends the pause has reading go on, serving the receivers included
        if self._inbox.messages and self._inbox.receivers:
            self._serve_receivers()
        self._answer()
        self._account()
        return not (paused or self._paused) and self.stage < ENDED

    def _put_off_reading(self) -> bool:
        if self._settle():
            self.hub.call_soon(self._read_on)
        return False

    def _read_on(self) -> None:
        if self.stage < ENDED and not self._paused and self._deliver():
            self.switch()

    def _resume(self) -> None:
        """Read on, if there is room now on both sides."""
        if not self._paused or self._unpacking or self.stage >= ENDED:
            return
        if self._inbox.below_low_water and self._outbox_size <= OUTBOX_LIMIT:
            self._paused = False
            self.hub.call_soon(self._read_on)

    def _account(self) -> None:
        """Tell the memory what is held now, which may end this link."""
        size = 0 if self.stage is CLOSED else self.protocol.held + self._inbox.size
        if size <= SMALL:
            size = 0
        if size != self._held:
            self._held = size
            self._memory.hold(self, size)

    def give_up(self) -> None:
        """All links together hold more than they may, and this one the most."""
        logger.warning("a WebSocket was closed with 1013, for it held the most of all, and all more than ws_max_memory")
        self._inbox.clear()
        self.fail(CloseCode.TRY_AGAIN_LATER, "the server is short of memory")

    # -- receiving

    def receive(self, timeout: float | None) -> str | bytes:
        """The next message, in any OS thread. Raises ConnectionClosed; TimeoutError after `timeout` seconds."""
        greenlet = running()
        hub = greenlet.hub
        if hub is self.hub:
            inbox = self._inbox
            if inbox.messages:
                hub.give_way(greenlet)  # what an application does with each of many messages may never wait
            if inbox.messages:
                if inbox.at_hand:
                    return self._take()
            elif self.stage >= ENDED:
                raise self.error()
            token: Token = [greenlet]
            inbox.receivers.append(token)
            if inbox.messages:
                self._serve_receivers()
        else:
            token = [greenlet]
            self.hub.call_soon_threadsafe(self._line_up, token)
        try:
            outcome = hub.park_until(greenlet, token, None if timeout is None else hub.clock() + timeout)
        except BaseException:
            self._leave(token)
            raise
        if outcome is TIMED_OUT:
            self._leave(token)
            raise TimeoutError(f"no message came within {timeout} seconds")
        if outcome is _ENDED:
            raise self.error()
        message: str | bytes = outcome
        return message

    def _take(self) -> str | bytes:
        message = self._inbox.take()
        if self._held:
            self._account()
        if self._paused:
            self._resume()
        return message

    def _serve_receivers(self) -> None:
        """Hand messages to the waiters. What has to be unpacked first is, if it is short; else it stands in line.

        What comes behind it is not read then: it may be the end, and the application is to have its chance to answer.
        """
        if self._unpacking:
            return
        if (self._inbox.packed and self.hub.turn_is_over()) or self.serve():
            self._unpacking = self._paused = True
            unpacker_of(self.hub).add(self)

    def serve(self) -> bool:
        """Hand messages to the waiters, and unpack one of them a step further. Returns whether it needs another.

        After the end, receivers for whom there is none are told so.
        """
        more = False
        try:
            more = self._inbox.serve()
        except ProtocolViolation as violation:
            self.protocol.fail(violation)
            self._inbox.clear()
            self._answer()
            self._end()
        if self.stage >= ENDED:
            self._inbox.turn_away(_ENDED)
        self._account()
        if not more:
            self._unpacking = False
            self._resume()
        return more

    def _line_up(self, token: Token) -> None:
        """In the hub: a receiver in another OS thread has come."""
        self._inbox.receivers.append(token)
        self._serve_receivers()

    def _leave(self, token: Token) -> None:
        if running().hub is self.hub:
            self._inbox.leave(token)
        else:
            self.hub.call_soon_threadsafe(self._inbox.leave, token)

    # -- the end

    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Send our Close, if neither side has closed before; the rest goes by itself. The hub's thread only.

        What comes meanwhile is dropped. Raises ValueError for a code that must not be sent.
        """
        if self.stage is OPEN:
            self._say_close(code, reason)
        if self.stage is OPEN or self.stage is CLOSING:
            self.stage = LEAVING
            self._inbox.clear()
            self._resume()

    def drain(self, *, restarting: bool = False) -> None:
        """The server is stopping: close, but hand on what the peer has sent until it answers.

        restarting: another server takes its place at once, so the peer may come again (1012); otherwise 1001.
        """
        if self.stage is OPEN:
            if restarting:
                self._say_close(CloseCode.SERVICE_RESTART, "the server restarts")
            else:
                self._say_close(CloseCode.GOING_AWAY, "the server is stopping")
            if self.stage is OPEN:
                self.stage = CLOSING

    def _say_close(self, code: int, reason: str) -> None:
        frame = self.protocol.close(code, reason)
        self.close_sent = Close(code, reason)
        self._waits = 0.0
        self._write(frame)  # which may find the peer gone

    def fail(self, code: int, reason: str) -> None:
        """Give the peer up, and tell it why, if it reads. The hub's thread only."""
        if self.stage is OPEN:
            self._write(self.protocol.close(code, reason))
        self._end()

    def finish(self, failed: bool) -> None:
        """The application has returned (failed: by an error). The hub's thread only."""
        self.close(CloseCode.INTERNAL_ERROR if failed else CloseCode.NORMAL)

    def abort(self) -> None:
        """End at once. Harmless when it has ended."""
        if self.stage is OPEN:
            self._write(self.protocol.close(CloseCode.GOING_AWAY))
        self._lost()

    def wait_closed(self, timeout: float | None) -> bool:
        """Wait for the end: the peer's Close has come, or it is gone. Returns whether it has come within the timeout.

        A client waits for the server to close the socket, too (RFC 6455 §7.1.1). In any OS thread.
        """
        greenlet = running()
        hub = greenlet.hub
        deadline = None if timeout is None else hub.clock() + timeout
        while not self._is_over:
            token: Token = [greenlet]
            if hub is self.hub:
                self._waiters.append(token)
            else:
                self.hub.call_soon_threadsafe(self._wait_for_end, token)
            if hub.park_until(greenlet, token, deadline) is TIMED_OUT:
                return False
        return True

    @property
    def _is_over(self) -> bool:
        return self.stage >= (CLOSED if self.client else ENDED)

    @staticmethod
    def is_end(error: BaseException) -> bool:
        """Whether an error that came up through the application only says that the peer has closed."""
        return isinstance(error, ConnectionClosed)

    def _wait_for_end(self, token: Token) -> None:
        if self._is_over:
            wake(token)
        else:
            self._waiters.append(token)

    def tick(self, seconds: float) -> None:
        """Called by the keepalive: `seconds` have passed."""
        if self._outbox is not None:
            self._stuck += seconds
            if self._stuck >= self._write_timeout:
                self._flush()  # the poller says that there is room when there is much: a slow peer may have made little
            if self._stuck >= self._write_timeout:
                logger.info("a WebSocket's peer took no bytes for %g seconds", self._write_timeout)
                self._lost()
                return
        if self.stage is OPEN:
            self._keep_alive(seconds)
            return
        self._waits += seconds
        if self._waits >= (CLOSE_SECONDS if self.stage < ENDED else LINGER_SECONDS):
            self._lost()

    def _keep_alive(self, seconds: float) -> None:
        protocol = self.protocol
        if self._heard or protocol.progress:
            self._heard = protocol.progress = False
            self._waits = 0.0
            return
        interval = self._ping_interval
        before, self._waits = self._waits, self._waits + seconds
        if not interval:
            return
        if self._waits >= interval + self._ping_timeout:
            if self._paused and self._outbox_size <= OUTBOX_LIMIT:  # it is we who do not listen
                self._waits = 0.0
            else:
                self._lost()
        elif before < interval <= self._waits:
            self.ping(os.urandom(4))  # which only a peer that has read it can answer

    def ping(self, payload: bytes = b"") -> None:
        """Send a Ping, if it is open and the peer is not far behind. The hub's thread only."""
        if self.stage is OPEN and not self._crowded:
            self._pings.append(payload)
            del self._pings[:-MAX_PINGS]
            self._write(self.protocol.ping(payload))

    def _end(self) -> None:
        """No message will come any more: tell the waiters; flush; shut our side."""
        if self.stage < ENDED:
            self._set_ended()
            if self._outbox is None:
                self._linger()

    def _set_ended(self) -> None:
        self.stage = ENDED
        self._waits = 0.0
        self.protocol.forget()
        self._account()
        self._serve_receivers()
        self._wake_waiters()
        callbacks, self._at_end = self._at_end, None
        for callback in callbacks or ():
            call_guarded(callback, (self,))

    def _relieved(self) -> None:
        self._resume()

    def _flushed(self) -> None:
        if self.stage is ENDED:
            self._linger()

    def _lost(self) -> None:
        """The peer is gone, or as good as gone. What it said before may still be there, its Close above all."""
        if self.stage is CLOSED:
            return
        self._drop_outbox()
        if self.stage < ENDED:
            self._take_last_words()
            self._set_ended()
        self._close()

    def _take_last_words(self) -> None:
        protocol = self.protocol
        try:
            protocol.receive_data(self._socket.recv(READ_SIZE))
        except OSError:
            pass
        protocol.receive_data(b"")
        try:
            for _ in range(LAST_WORDS):
                event: object = protocol.step()
                if type(event) in _MESSAGE and self.stage < LEAVING:
                    self._inbox.put(event)  # type: ignore[arg-type]  # see above
        except ProtocolViolation:
            pass

    def _linger(self) -> None:
        """Shut our side, and read on until the peer closes its own."""
        self.stage = LINGERING
        try:
            if self._descriptor.hangup:
                raise OSError
            if not self.client:
                self._shut_writing()
        except OSError:
            self._close()
            return
        self._discard()

    def _shut_writing(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def _discard(self) -> None:
        while self._linger_left > 0:
            try:
                data = self._socket.recv(READ_SIZE)
            except self._would_block as busy:
                self._await_data(busy)
                return
            except OSError:
                break
            if not data:
                break
            self._linger_left -= len(data)
            if self.hub.turn_is_over():
                self.hub.ready.append(self)
                return
        self._close()

    def _close(self) -> None:
        if self.stage is CLOSED:
            return
        self.stage = CLOSED
        self._account()
        self._descriptor.reader = self._descriptor.writer = None
        self.hub.unregister(self._descriptor)
        self._socket.close()
        self._wake_waiters()
        callbacks, self._on_closed, self.on_pong = self._on_closed, None, None
        for callback in callbacks or ():
            call_guarded(callback, (self,))
