"""From accept to `Connection`: what a client must send before its first request, which is a TLS handshake (here), or
what its proxy must (proxied.py).

Strategy. An `Arrival` stands for a connection until then: the hub's call when something has come, without a green
thread. A silent one costs what a silent connection does. One that has begun to speak stands in line, for a handshake
is up to a millisecond of computing: `Handshakes` begins one in each of the hub's rounds, and more while the turn lasts,
so that a flood of them leaves requests their time.

Invariants. An arrival is one of the worker's connections, with their deadlines and their ends. It closes its socket, or
hands it to a `Connection`, once.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import Any, Protocol

from greenserve.hub.core.hub import Hub, HubCall
from greenserve.hub.core.poller import READ
from greenserve.net import lingering
from greenserve.net.listener import peer_name
from greenserve.net.tls import SSLContext, SSLError, SSLObject, TlsSocket
from greenserve.server.phases import Phase
from greenserve.server.stream import NEVER, Stream
from greenserve.wsgi.environ import Environ, EnvironTemplate

logger = logging.getLogger("greenserve.server")

MOST = 1000  # handshakes in progress at once: OpenSSL's memory for each is tens of KiB
PATIENCE = 1.0  # seconds of silence after which one in progress gives way to a new one, when there are so many
DRAIN_SECONDS = 2.0  # what a client that has begun has for the rest, and for its request, when the server stops
LINES = 10  # in the log about failures, in each LINES_SECONDS: a scanner must not fill the disk
LINES_SECONDS = 60.0


class ServerTls(Protocol):
    """TLS as a listener speaks it."""

    def context(self) -> SSLContext:
        """For a new connection: the newest certificates. Choosing by server name (SNI) and ALPN are set in it."""

    def environ(self, tls: SSLObject) -> dict[str, Any] | None:
        """What the environ of each request has of its connection (SSL_PROTOCOL and so on), once hands are shaken."""

    def refresh(self) -> None:
        """Called once a second: certificates may have been renewed."""


class Arrival(HubCall):
    """A client's connection that speaks no HTTP yet. timeout: seconds that the client has for what is due."""

    __slots__ = ("deadline", "peer", "peer_address", "stream", "worker", "write_deadline")

    phase = Phase.ARRIVAL
    request_line = "no request"

    def __init__(self, worker: Any, stream: Stream, peer: tuple[str, str], timeout: float) -> None:
        self.worker = worker
        self.stream = stream
        self.peer = peer
        self.peer_address = peer[0]
        self.deadline: float = worker.hub.clock() + timeout
        self.write_deadline = NEVER
        stream.belong_to(self)

    def __repr__(self) -> str:
        return f"<Arrival from {self}>"

    def __str__(self) -> str:
        return peer_name(self.peer)

    @property
    def begun(self) -> bool:
        """Whether more than a connection was asked for."""
        return self.stream.has_data()

    # -- what the worker asks of its connections

    def expire(self) -> None:
        """Its deadline has passed."""
        self.close()

    def drain(self) -> None:
        """The server is stopping: one that has begun may send a request still."""
        if self.begun:
            self.deadline = min(self.deadline, self.worker.hub.clock() + DRAIN_SECONDS)
        else:
            self.close()

    def close(self, *, in_order: bool = True) -> None:
        """End it. Harmless when that has happened, or it is a `Connection` by now."""
        if self.stream.owner is self:
            self.stream.close(in_order=in_order)
            self.worker.forget(self)

    def fail_alone(self) -> None:
        """Log the error that is being handled, a defect of ours or of the program's context, and close."""
        self.close()
        logger.exception("the connection from %s failed by an error of the server's before its first request", self)

    def on_sent(self) -> None:
        """Nothing: what is answered in the clear is sent at once or not at all."""

    on_flushed = on_sent
    low_water = 0

    def on_lost(self, error: Exception) -> None:
        """The client has gone."""
        self.close()


class TlsArrival(Arrival):
    """One that begins with a TLS handshake."""

    __slots__ = ("_known", "_template", "_tls")

    def __init__(
        self,
        worker: Any,
        stream: Stream,
        peer: tuple[str, str],
        template: EnvironTemplate,
        tls: ServerTls,
        known: Environ | None = None,
    ) -> None:
        self._template = template
        self._known = known or {}  # of what the environ of each request has of this connection
        self._tls = tls
        super().__init__(worker, stream, peer, worker.tls_handshake_timeout)

    @property
    def begun(self) -> bool:
        """Whether the handshake has begun, or its first bytes are here."""
        return self._shaking or super().begun

    @property
    def _shaking(self) -> bool:
        """Whether OpenSSL has its bytes."""
        return isinstance(self.stream.socket, TlsSocket)

    def switch(self) -> None:
        """Something has come, or may be sent."""
        if self._shaking:
            self.proceed()
            return
        try:
            first = self.stream.peek(1)
        except OSError:
            first = b""
        if first is None:
            self.stream.on_readable(self)
        elif first:
            self.worker.handshakes.add(self)
        else:  # a health check, or a scanner: that the port is open is all it wanted to know
            self.close()

    def begin(self) -> None:
        """Its turn has come. Raises nothing."""
        stream = self.stream
        try:
            stream.socket = TlsSocket(stream, self._tls.context(), server_side=True, server_hostname=None)
        except Exception:
            self.fail_alone()
        else:
            self.proceed()

    def proceed(self) -> None:
        """Go on with the handshake as far as what has come allows."""
        stream = self.stream
        try:
            wanted = stream.socket.handshake_step()
            if not wanted:
                self._complete()
            elif wanted == READ:
                stream.on_readable(self)
            else:
                stream.on_writable(self)
        except OSError as error:
            self._fail(error)
        except Exception:
            self.fail_alone()

    def _complete(self) -> None:
        worker, stream = self.worker, self.stream
        extra = self._known | (self._tls.environ(stream.socket.ssl_object) or {}) or None
        worker.handshakes.leave(self)
        stream.drained = not stream.has_data()
        connection = worker.welcome(stream, self.peer, self._template, extra)
        if worker.draining:
            connection.deadline = min(connection.deadline, self.deadline)
        worker.forget(self)

    def expire(self) -> None:
        """Its deadline has passed."""
        if self in self.worker.handshakes.in_progress:
            self.worker.handshakes.report("%s did not complete its TLS handshake in time", self)
        self.close()

    def close(self, *, in_order: bool = True) -> None:
        """End it. Harmless when that has happened, or it is a `Connection` by now."""
        if self.stream.owner is self:
            self.worker.handshakes.leave(self)
        super().close(in_order=in_order)

    # -- failures

    def _fail(self, error: OSError) -> None:
        """The peer's mistake, or its end."""
        plain = isinstance(error, SSLError) and error.reason == "HTTP_REQUEST"
        why = error.reason if isinstance(error, SSLError) and error.reason else error.strerror or str(error)
        report = self.worker.handshakes.report
        report("the TLS handshake with %s failed: %s", self, why.replace("_", " ").lower())
        if plain:
            self._answer_in_clear()
        else:
            self.close()

    def _answer_in_clear(self) -> None:
        """Tell a client that speaks HTTP on this port what is wrong; it could not read TLS's own answer."""
        stream, worker = self.stream, self.worker
        worker.handshakes.leave(self)
        stream.socket = stream.socket.plain
        why = "this port speaks HTTPS; write https:// in place of http://"
        try:
            whole = stream.write(worker.error_response(400, why))
            stream.shut_writing()
        except OSError:
            whole = False
        if whole:
            self.deadline = worker.hub.clock() + lingering.SECONDS
            stream.linger(self.close)
        else:
            self.close()


class Handshakes(HubCall):
    """The handshakes of a worker: those in line, and those in progress, of which there are at most MOST."""

    __slots__ = ("_hub", "_left_out", "_line", "_lines", "_lines_until", "_queued", "in_progress")

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._line: deque[TlsArrival] = deque()
        self._queued = False  # this is in the ready queue
        self.in_progress: dict[TlsArrival, float] = {}  # since when; the oldest first
        self._lines = self._left_out = 0
        self._lines_until = 0.0

    def add(self, arrival: TlsArrival) -> None:
        """Have `arrival.begin()` called when its turn has come."""
        self._line.append(arrival)
        self._go_on()

    def leave(self, arrival: TlsArrival) -> None:
        """It is over. Harmless when it had not begun."""
        if self.in_progress.pop(arrival, None) is not None:
            self._go_on()

    def _go_on(self) -> None:
        if self._line and not self._queued:
            self._queued = True
            self._hub.make_ready(self)

    def switch(self) -> None:
        """Begin those that are first in line, until the turn is over."""
        self._queued = False
        line, now = self._line, self._hub.clock()
        while line:
            if len(self.in_progress) >= MOST and not self._make_room(now):
                return  # the next one that leaves, or the next one that comes, goes on
            arrival = line.popleft()
            if arrival.stream.owner is arrival:  # not closed meanwhile
                self.in_progress[arrival] = now
                arrival.begin()
                if self._hub.turn_is_over():
                    break
        self._go_on()

    def tick(self, now: float) -> None:
        """Once a second: one that is too slow may have to give way; and what was left out of the log is counted."""
        self._go_on()
        if now >= self._lines_until and self._left_out:
            logger.info("%d more connections failed before their first request", self._left_out)
            self._left_out = 0

    def _make_room(self, now: float) -> bool:
        """End the oldest if it has been in progress for so long that its client must be slow, or means ill."""
        oldest, since = next(iter(self.in_progress.items()))
        if now - since < PATIENCE:
            return False
        self.report("%s was given up for others: it did not complete its TLS handshake in %d s", oldest, PATIENCE)
        oldest.close()
        return True

    def report(self, text: str, *args: object) -> None:
        """Log a failure, unless there have been many."""
        now = self._hub.clock()
        if now >= self._lines_until:
            self._lines = 0
            self._lines_until = now + LINES_SECONDS
        if self._lines < LINES:
            self._lines += 1
            logger.info(text, *args)
        else:
            self._left_out += 1
