"""One WebSocket after its handshake: what has come, what is to go, and how it ends. The bytes are its transport's.

Strategy. A callback of the hub reads, not the caller of `receive`: so Pings are answered, and a Close is noticed, while
the application is busy elsewhere. Complete messages go straight to a waiting receiver, or into the inbox. While that is
full, or too much waits to be sent, nothing is read, and TCP tells the peer. Whatever the peer sends, the callback ends
with the hub's turn and makes itself ready again. A sender waits while more than UNSENT_LIMIT has still to leave: so a
slow peer costs its senders time and the server a bounded piece of memory, and other clients nothing.

Invariants. Only the hub's thread touches protocol, transport and queues, so no lock is needed and none can deadlock:
other OS threads ask it by `call_soon_threadsafe`. A frame is made when there is room for it and put in line at once, so
frames leave in the order in which the protocol has made them: compression with a context kept between messages depends
on that. `Stage` says how far the end has come, NEXT what may follow; `_enter` is the one way there. Waiters are resumed
at the end, whatever its cause.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from greenlet import getcurrent

from greenserve.hub.core.hub import TIMED_OUT, Hub, HubCall, running
from greenserve.hub.core.originals import get_ident
from greenserve.hub.core.ready import call_guarded
from greenserve.hub.core.wait_queue import WaitQueue
from greenserve.hub.spawning import call_in
from greenserve.net import lingering
from greenserve.net.send_buffer import JOINED_SIZE
from greenserve.net.transport import Transport
from greenserve.websocket.keepalive import keepalive_of
from greenserve.websocket.memory import Memory
from greenserve.websocket.protocol import MORE, Ahead, Protocol
from greenserve.websocket.protocol.close import CloseCode
from greenserve.websocket.protocol.errors import ConnectionClosed, ProtocolViolation
from greenserve.websocket.protocol.events import Close, Pong
from greenserve.websocket.protocol.message import PackedMessage
from greenserve.websocket.receive_queue import ReceiveQueue
from greenserve.websocket.stages import CLOSED, CLOSING, ENDED, LEAVING, LINGERING, NEXT, OPEN, Stage

logger = logging.getLogger("greenserve.websocket")

READ_SIZE = 65536  # bytes
UNSENT_LIMIT = 1 << 20  # bytes that the peer has not taken, before a sender waits, and a broadcast gives the peer up
LARGE = 1 << 16  # bytes or characters: compressing so much takes a millisecond
CLOSE_SECONDS = 5  # for the peer to answer our Close
LAST_WORDS = 64  # messages and control frames of a peer that is gone which are still looked at
MAX_PINGS = 16  # that were not answered: an application may send some, too
SMALL = 4096  # bytes: less is not counted, since the rest of a WebSocket weighs as much

_MESSAGE = frozenset((str, bytes, PackedMessage))
_SIZED = frozenset((str, bytes))
_NOTHING, _OTHER = Ahead.NOTHING, Ahead.OTHER


class Connection(HubCall):
    """One WebSocket's protocol, transport and queues. Call `start` on it.

    ping_interval: seconds of silence after which a Ping is sent, 0 for never; ping_timeout: seconds for its Pong, or
    for data, after that; other Pongs and Pings say nothing. write_timeout: seconds in which the peer must take some of
    what waits for it. All three are as coarse as the keepalive that calls `tick`. client: we are the client, so the
    server is to close the connection. memory: what it shares with others; by default it has no bound but its own.
    """

    status = "101 Switching Protocols"  # for the access log
    low_water = (UNSENT_LIMIT >> 1) + 1  # see SendBuffer

    __slots__ = (
        "__weakref__",
        "_callbacks",
        "_given",
        "_heard",
        "_keepalive",
        "_memory",
        "_ping_interval",
        "_ping_timeout",
        "_pings",
        "_stuck",
        "_waits",
        "_write_timeout",
        "client",
        "close_sent",
        "held",
        "hub",
        "on_pong",
        "paused",
        "protocol",
        "received",
        "stage",
        "transport",
    )

    def __init__(
        self,
        hub: Hub,
        transport: Transport,
        protocol: Protocol,
        *,
        ping_interval: float,
        ping_timeout: float,
        write_timeout: float,
        client: bool = False,
        memory: Memory | None = None,
    ) -> None:
        self.hub = hub
        self.transport = transport
        transport.owner = self
        self.protocol = protocol
        self.stage: Stage = OPEN
        self.close_sent: Close | None = None  # our Close, if we began
        self.on_pong: Callable[[bytes], object] | None = None
        self.client = client
        self._memory = memory or Memory()
        self.received = ReceiveQueue()
        self.paused = False
        self.held = 0  # bytes that the memory knows of
        self._given = 0  # bytes, to the transport
        self._heard = True
        self._ping_interval = ping_interval
        self._ping_timeout = ping_timeout
        self._write_timeout = write_timeout
        self._pings: list[bytes] = []  # payloads of Pings that no Pong has answered
        self._stuck = 0.0  # seconds in which the peer has taken nothing of what waits for it
        self._waits = 0.0  # seconds in which the peer has given no sign; after the end: seconds since
        self._callbacks: list[tuple[Stage, Callable[[Connection], object]]] | None = None  # at their stages
        pings = (ping_interval, ping_timeout) if ping_interval else ()
        self._keepalive = keepalive_of(hub, min((write_timeout, *pings)))
        self._keepalive.add(self)

    def start(self, greeting: bytes = b"", early: bytes = b"") -> None:
        """Send the end of the handshake, and begin to read, with the bytes that came early. The hub's thread only."""
        if greeting:
            self._write(greeting)
        if early:
            self.protocol.receive_data(early)
        self.hub.call_soon(self._read_on)

    @property
    def sent(self) -> int:
        """Bytes, for the access log."""
        return self._given - self.unsent

    @property
    def unsent(self) -> int:
        """Bytes that wait for the peer to take them."""
        buffer = self.transport.buffer
        return 0 if buffer is None else buffer.size

    # -- reading: in the hub's greenlet

    def switch(self) -> None:
        """There may be something to read."""
        if self.stage >= ENDED or self.paused:
            return
        transport = self.transport
        try:
            data = transport.receive(READ_SIZE)
        except OSError:
            data = b""
        if data is None:
            transport.on_readable(self)
            return
        protocol, received = self.protocol, self.received
        message = protocol.receive_message(data)
        if message is not None and received.receivers and self.stage < LEAVING and protocol.ahead() is _NOTHING:
            self._heard = True  # `_deliver` in short, for the usual case
            self.paused = received.put(message)
            if (received.messages or self.held or protocol.outgoing) and not self._settle():
                return
        elif not self._deliver(message):
            return
        if transport.drained:
            transport.on_readable(self)
        else:
            self.hub.make_ready(self)  # after what is ready already

    def _deliver(self, event: object = None) -> bool:
        """Hand on what the protocol has, after the `event` that it gave already; returns whether to read on."""
        try:
            return self._deliver_events(event)
        except ProtocolViolation:
            self._answer()
            self._end()
        except Exception:
            logger.exception("a defect of greenserve, or of an on_pong, ended a WebSocket")
            self.fail(CloseCode.INTERNAL_ERROR, "")
        return False

    def _deliver_events(self, event: object) -> bool:
        protocol, received = self.protocol, self.received
        while not self.paused and (event := protocol.step() if event is None else event) is not None:
            if type(event) in _MESSAGE:
                self._heard = True
                if self.stage < LEAVING:
                    self.paused = received.put(event)  # type: ignore[arg-type]  # a message, as just asked
                ahead = protocol.ahead()
                if ahead is _NOTHING:
                    break
                if ahead is _OTHER:  # it may be the end: first let the application answer what came before
                    return self._put_off_reading()
            elif event is not MORE and not self._on_control(event):
                return False
            if self.hub.turn_is_over():
                return self._put_off_reading()
            event = None
        if event is None or received.messages or self.held or protocol.outgoing:
            return self._settle()
        return not self.paused

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
            if self.unsent > UNSENT_LIMIT:  # it asks, and does not read what we answer
                self.paused = True

    def _settle(self) -> bool:
        """After some events. Returns whether to read on."""
        paused = self.paused  # then what ends the pause has reading go on, serving the receivers included
        if self.received.messages and self.received.receivers:
            self.received.serve(self)
        self._answer()
        self._account()
        return not (paused or self.paused) and self.stage < ENDED

    def _put_off_reading(self) -> bool:
        if self._settle():
            self.hub.call_soon(self._read_on)
        return False

    def _read_on(self) -> None:
        if self.stage < ENDED and not self.paused and self._deliver():
            self.switch()

    def _resume(self) -> None:
        """Read on, if there is room now on both sides."""
        if self.paused and self.stage < ENDED and self.received.below_low_water and self.unsent <= UNSENT_LIMIT:
            self.paused = False
            self.hub.call_soon(self._read_on)

    def _account(self) -> None:
        """Tell the memory what is held now, which may end this one."""
        size = 0 if self.stage is CLOSED else self.protocol.held + self.received.size
        if size <= SMALL:
            size = 0
        if size != self.held:
            self.held = size
            self._memory.hold(self, size)

    def give_up(self) -> None:
        """All connections together hold more than they may, and this one the most."""
        logger.warning(
            "a WebSocket was closed with 1013: all together held more than ws_max_memory, and this one held the most"
        )
        self.received.clear()
        self.fail(CloseCode.TRY_AGAIN_LATER, "the server is short of memory")

    # -- what its queue of messages tells it

    def on_changed(self, *, room: bool) -> None:
        """What the queue holds has changed. room: there may be room for more."""
        self._account()
        if room:
            self._resume()

    def on_violation(self, violation: ProtocolViolation) -> None:
        """A message cannot be unpacked."""
        self.protocol.fail(violation)
        self._answer()
        self._end()

    # -- sending

    def send(self, message: str | bytes) -> None:
        """Send a message; waits while too much has still to leave. In any OS thread.

        Raises ConnectionClosed; TypeError; UnicodeEncodeError.
        """
        hub = self.hub
        if get_ident() != hub.thread_id:
            call_in(hub, self.send, message)
            return
        # A peer as quick as we are never makes a sender wait.
        if hub.turn_is_over() and getcurrent() is not hub.loop:
            hub.pause(running())
        while (buffer := self.transport.buffer) is not None and self._crowded and self.stage is OPEN:
            buffer.wait()
        protocol = self.protocol
        if protocol.deflate is None or type(message) not in _SIZED or len(message) <= LARGE:
            self._write(protocol.send(message))
        else:
            self._write(self._encoded(message))
        if self.stage >= ENDED:
            raise self.error()

    def _encoded(self, message: str | bytes) -> bytes:
        """The frame of a large message: compressing a megabyte takes ten milliseconds; other threads run meanwhile.

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
        """Send a ready-made frame without ever waiting: False, and the peer given up, when it takes nothing.

        For broadcasts: a member that does not read must not delay other members, nor fill the memory. The hub's thread
        only.
        """
        if self.stage is not OPEN:
            return False
        if self.unsent > UNSENT_LIMIT:
            self.fail(CloseCode.TRY_AGAIN_LATER, "you do not read what is sent")
            return False
        self._write(frame)
        return True

    @property
    def _crowded(self) -> bool:
        """Whether a sender has to wait: much has still to leave, or not so little, and of all connections too much."""
        return self.unsent > (JOINED_SIZE if self._memory.scarce else UNSENT_LIMIT)

    def _write(self, data: bytes) -> None:
        """Send, or put behind what waits already."""
        if self.stage >= LINGERING:
            return
        transport = self.transport
        self._given += len(data)
        try:
            if transport.write(data):
                return
        except OSError:
            self._given -= len(data)
            self._lost()
            return
        if transport.buffer.count_in(self._memory):  # type: ignore[union-attr]  # it was made just now, or before
            self._stuck = 0.0

    def _drop(self) -> None:
        self._given -= self.unsent
        self.transport.drop(None)

    def on_sent(self) -> None:
        """The peer has taken some of what waits."""
        self._waits = self._stuck = 0.0  # a slow peer is not a dead one
        if self.unsent < self.low_water:
            self._resume()

    def on_flushed(self) -> None:
        """The peer has taken all that waited."""
        if self.stage is ENDED:
            self._linger()

    def on_lost(self, error: Exception) -> None:
        """What waits cannot be sent."""
        if not isinstance(error, OSError):
            logger.exception("a defect of greenserve ended a WebSocket")
        self._lost()

    # -- the end

    def _enter(self, stage: Stage) -> None:
        """Go on to `stage`, and do what belongs to that whatever has led to it."""
        assert stage in NEXT[self.stage], f"{self.stage} is not followed by {stage}"
        self.stage = stage
        if stage is LEAVING:
            self.received.clear()
            self._resume()
        elif stage is ENDED:
            self._waits = 0.0
            self.protocol.forget()
            self._account()
            self.received.end(self)
            if self.transport.buffer is not None:
                self.transport.buffer.wake_waiters()  # the senders
            self._call_back()
        elif stage is CLOSED:
            self._account()
            self._drop()
            self.transport.close()
            self._keepalive.discard(self)
            self.on_pong = None
            self._call_back()

    def _call_back(self) -> None:
        callbacks, self._callbacks = self._callbacks or [], None
        for stage, callback in callbacks:
            if stage <= self.stage:
                call_guarded(callback, (self,))
            else:
                self._call_at(stage, callback)

    def _call_at(self, stage: Stage, callback: Callable[[Connection], object]) -> None:
        if self._callbacks is None:
            self._callbacks = []
        self._callbacks.append((stage, callback))

    def call_at_end(self, callback: Callable[[Connection], object]) -> None:
        """Call `callback(connection)`, in the hub's thread, at the end: nothing can be sent or received any more."""
        if get_ident() != self.hub.thread_id:
            self.hub.call_soon_threadsafe(self.call_at_end, callback)
        elif self.stage >= ENDED:
            self.hub.call_soon(callback, self)
        else:
            self._call_at(ENDED, callback)

    def forget_at_end(self, callback: Callable[[Connection], object]) -> None:
        """Undo `call_at_end`. Harmless when it was not called."""
        if get_ident() != self.hub.thread_id:
            self.hub.call_soon_threadsafe(self.forget_at_end, callback)
        else:
            self._forget(ENDED, callback)

    def _forget(self, stage: Stage, callback: Callable[[Connection], object]) -> None:
        if (stage, callback) in (self._callbacks or ()):
            self._callbacks.remove((stage, callback))  # type: ignore[union-attr]  # as just asked

    def when_closed(self, callback: Callable[[Connection], object]) -> None:
        """Call `callback(connection)` when the socket is closed; at once if it is. The hub's thread only."""
        if self.stage is CLOSED:
            callback(self)
        else:
            self._call_at(CLOSED, callback)

    def wait_closed(self, timeout: float | None) -> bool:
        """Wait for the end: the peer's Close has come, or it is gone. Returns whether it has come within the timeout.

        A client waits for the server to close the socket, too (RFC 6455 §7.1.1). In any OS thread.
        """
        hub = self.hub
        if get_ident() != hub.thread_id:
            return call_in(hub, self.wait_closed, timeout)
        stage = CLOSED if self.client else ENDED
        if self.stage >= stage:
            return True
        waiters = WaitQueue()

        def on_end(_: Connection) -> None:
            waiters.wake()

        self._call_at(stage, on_end)
        try:
            return waiters.wait(timeout) is not TIMED_OUT
        finally:
            self._forget(stage, on_end)

    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Send our Close, if neither side has closed before; the rest goes by itself. The hub's thread only.

        What comes meanwhile is dropped. Raises ValueError for a code that must not be sent.
        """
        if self.stage is OPEN:
            self._say_close(code, reason)
        if self.stage is OPEN or self.stage is CLOSING:
            self._enter(LEAVING)

    def drain(self, *, restarting: bool = False) -> None:
        """The server is stopping: close, but hand on what the peer has sent until it answers.

        restarting: another server takes its place at once, so the peer may come again (1012); otherwise 1001.
        """
        if self.stage is OPEN:
            code = CloseCode.SERVICE_RESTART if restarting else CloseCode.GOING_AWAY
            self._say_close(code, "the server restarts" if restarting else "the server is stopping")
            if self.stage is OPEN:
                self._enter(CLOSING)

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

    @staticmethod
    def is_end(error: BaseException) -> bool:
        """Whether an error that came up through the application only says that the peer has closed."""
        return isinstance(error, ConnectionClosed)

    def error(self) -> ConnectionClosed:
        """What to raise after the end."""
        closed = self.protocol.closed or Close(CloseCode.ABNORMAL)
        return ConnectionClosed(closed.code, closed.reason)

    def _end(self) -> None:
        """No message will come any more: tell the waiters; flush; shut our side."""
        if self.stage < ENDED:
            self._enter(ENDED)
            if self.transport.buffer is None:
                self._linger()

    def _linger(self) -> None:
        """Shut our side, and read on until the peer closes its own."""
        self._enter(LINGERING)
        try:
            if not self.client:
                self.transport.shut_writing()
        except OSError:
            self._closed()
        else:
            self.transport.linger(self._closed)

    def _closed(self) -> None:
        if self.stage is not CLOSED:
            self._enter(CLOSED)

    def _lost(self) -> None:
        """The peer is gone, or as good as gone. What it said before may still be there, its Close above all."""
        if self.stage is CLOSED:
            return
        self._drop()
        if self.stage < ENDED:
            self._take_last_words()
            self._enter(ENDED)
        self._closed()

    def _take_last_words(self) -> None:
        protocol = self.protocol
        try:
            protocol.receive_data(self.transport.receive(READ_SIZE) or b"")
        except OSError:
            pass
        protocol.receive_data(b"")
        try:
            for _ in range(LAST_WORDS):
                event: object = protocol.step()
                if type(event) in _MESSAGE and self.stage < LEAVING:
                    self.received.put(event)  # type: ignore[arg-type]  # see above
        except ProtocolViolation:
            pass

    # -- time: called by the keepalive

    def tick(self, seconds: float) -> None:
        """`seconds` have passed."""
        buffer = self.transport.buffer
        if buffer is not None:
            self._stuck += seconds
            if self._stuck >= self._write_timeout:
                buffer.switch()  # the poller only says that there is much room: a slow peer may have made little
            if self._stuck >= self._write_timeout:
                logger.info("a WebSocket's peer took no bytes for %g seconds", self._write_timeout)
                self._lost()
                return
        if self.stage is OPEN:
            self._keep_alive(seconds)
            return
        self._waits += seconds
        if self._waits >= (CLOSE_SECONDS if self.stage < ENDED else lingering.SECONDS):
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
            if self.paused and self.unsent <= UNSENT_LIMIT:  # we are the side that does not listen
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
