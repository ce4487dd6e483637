"""What the WSGI layer needs of a connection: a narrow Protocol, so that its tests need no socket."""

from __future__ import annotations

from typing import Protocol


class Dated(Protocol):
    """Knows the time as messages carry it."""

    date: bytes  # the Date field's value of this second (RFC 9110 §6.6.1); the same object while the second lasts


class Transport(Protocol):
    """One connection, during one request."""

    # Whether another request may follow; the exchange clears it when the response makes that impossible.
    keep_alive: bool

    @property
    def host(self) -> Dated:
        """The server."""

    def send(self, data: bytes) -> None:
        """Send all of `data`, and let others run from time to time. Raises ClientDisconnected."""

    def finish(self, data: bytes) -> None:
        """Send the end of a response; what the client does not take at once may go out later. Raises
        ClientDisconnected.
        """

    def finish_large(self, head: bytes, body: bytes) -> None:
        """`finish` a whole response whose body is not worth a copy."""

    def finish_file(self, fd: int, offset: int, count: int) -> None:
        """`finish` with `count` bytes of the regular file `fd` from `offset`; the file may be closed afterwards."""

    def give_way(self) -> None:
        """Let others run when this turn is over."""

    def settle_body(self) -> bool:
        """The response begins: say whether what the application leaves of the request's body can be skipped, so that
        the connection can be kept.
        """
