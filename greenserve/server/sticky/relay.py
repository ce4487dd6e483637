"""A TLS connection whose requests another worker serves: bytes go to and fro between the client and a pair of sockets.

Strategy. Each direction reads when its target has taken all that was read before: so what waits is one piece for each,
and a slow reader holds up the writer behind it. No green thread is needed. The connection has left HTTP, as for a
WebSocket, and the relay is its owner; it ends when one of both sides has, and then the client's is closed in order.

The worker that serves the requests keeps all deadlines but one: that the client takes what it is sent.
"""

from __future__ import annotations

from typing import Any

from greenserve.hub.core.hub import HubCall
from greenserve.hub.core.timers import Timer
from greenserve.net.transport import Transport
from greenserve.server.handover import Surrendered
from greenserve.server.phases import Phase

PIECE = 65536  # bytes


class Relay:
    """Owns a Connection, whose request in progress has been passed on with the other one of the pair."""

    status = "101 Switching Protocols"  # no line says so: the other worker writes it
    sent = 0

    def __init__(self, connection: Any, sock: Any) -> None:
        cycle = connection.cycle
        if cycle.body is not None:
            cycle.body.close_unopened()
        connection.cycle = None
        connection.enter(Phase.UPGRADED)
        connection.owner = self
        self.connection = connection
        self._client = connection.stream
        connection.stream = Surrendered(connection.worker)
        self._worker = Transport(connection.worker.hub, sock)
        patience = connection.worker.write_timeout
        self._flows = _Flow(self, self._client, self._worker), _Flow(self, self._worker, self._client, patience)

    def start(self) -> None:
        """Begin, both ways."""
        for flow in self._flows:
            flow.switch()

    def on_end(self, flow: _Flow) -> None:
        """One side has sent its last, and the other one has it."""
        if flow.target is self._worker:
            self._worker.shut_writing()  # the client's answer may still come
            return
        connection, self._client.owner = self.connection, self.connection
        connection.stream, connection.owner = self._client, None
        self._stop()
        connection.linger()

    def fail(self, error: Exception) -> None:
        """One side has gone, or this is a defect of ours."""
        if isinstance(error, OSError):
            self.connection.close()
        else:
            self.connection.fail_alone()

    def _stop(self) -> None:
        for flow in self._flows:
            flow.stop()
        self._worker.close()

    # -- what the server tells it (Owner)

    def drain(self, *, restarting: bool) -> None:
        """Nothing: the worker that has the requests sees that this one leaves, and ends them in order."""

    def finish(self, failed: bool) -> None:
        """Nothing: no application has it."""

    def abort(self) -> None:
        """End now."""
        self._stop()
        self._client.close(in_order=False)

    def when_closed(self, callback: Any) -> None:
        """Never: no application waits for it."""

    @staticmethod
    def is_end(error: BaseException) -> bool:
        """Nothing comes up through an application."""
        return False


class _Flow(HubCall):
    """One direction; also the owner of its target. patience: seconds in which the target must take something."""

    __slots__ = ("_is_over", "_patience", "_relay", "_source", "_stopped", "_timer", "target")

    low_water = 0

    def __init__(self, relay: Relay, source: Transport, target: Transport, patience: float | None = None) -> None:
        self._relay = relay
        self._source = source
        self.target = target
        target.owner = self
        self._patience = patience
        self._timer: Timer | None = None
        self._is_over = self._stopped = False

    def switch(self) -> None:
        """There may be something to read."""
        try:
            self._move()
        except Exception as error:
            self._relay.fail(error)

    def _move(self) -> None:
        hub = self._source.descriptor.io.hub
        while not (self._stopped or self._is_over) and self.target.buffer is None:
            data = self._source.receive(PIECE)
            if data is None:
                self._source.on_readable(self)
                return
            if not data:
                self._is_over = True
                self._relay.on_end(self)
            elif not self.target.write(data):
                self.on_sent()
            if hub.turn_is_over():
                hub.background.add(self.switch)
                return

    def stop(self) -> None:
        """Move nothing more."""
        self._stopped = True
        self._cancel()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- what the target tells it

    def on_sent(self) -> None:
        """It takes some of what waits, or is about to."""
        self._cancel()
        if self._patience is not None:
            hub = self.target.descriptor.io.hub
            self._timer = hub.call_later(self._patience, self.on_lost, TimeoutError("the client took no bytes in time"))

    def on_flushed(self) -> None:
        """It has taken all."""
        self._cancel()
        self.switch()

    def on_lost(self, error: Exception) -> None:
        """It has gone."""
        self._relay.fail(error)
