"""Requests whose times and bytes the access log wants. Classes of their own, so that others pay nothing for it."""

from __future__ import annotations

from greenserve.http.response import ResponseHead
from greenserve.hub.core.hub import SECONDS_BETWEEN_POLLS
from greenserve.server.connection import Connection
from greenserve.server.cycle import RequestCycle
from greenserve.server.phases import Phase


class MeasuredCycle(RequestCycle):
    """arrived, first_byte: points of the hub's clock, None as long as they are not known. response_head: as sent."""

    __slots__ = ("arrived", "first_byte", "response_head")

    connection: MeasuredConnection

    def serve(self) -> None:
        """As RequestCycle. The next request of this connection may have come at any time from now on."""
        connection = self.connection
        self.arrived, connection.arrived = connection.arrived, None
        self.first_byte: float | None = None
        self.response_head = b""
        RequestCycle.serve(self)

    def _make_head(self, length: int | None) -> ResponseHead:
        head = RequestCycle._make_head(self, length)
        data, _, _, _ = head
        self.note_head(data)
        return head

    def note_head(self, head: bytes) -> None:
        """The head leaves now."""
        self.first_byte = self.connection.worker.hub.clock()
        self.response_head = head


class MeasuredConnection(Connection):
    """arrived: when the hub has seen what has come for the next request; None when that is not known."""

    __slots__ = ("arrived",)

    cycle_class = MeasuredCycle
    arrived: float | None

    def begin(self) -> bool:
        """As Connection. Its turn comes after those that became ready before it, and it may have to wait in line."""
        if self.phase is not Phase.RUN:  # else it has only given way
            self.arrived = self.worker.hub.poll_time - SECONDS_BETWEEN_POLLS
        return Connection.begin(self)
