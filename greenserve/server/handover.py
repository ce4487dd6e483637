"""Giving a connection away, until the application of its request returns: to a WebSocket, or to a library that takes
the socket (hijack.py).

`surrender` is the one way out of HTTP. The new owner has the transport; what HTTP still sends goes to a stand-in, which
swallows it. `release` is the end: the owner closes what it has, or gives it back to be closed.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from greenserve.errors import BadRequest, ClientDisconnected
from greenserve.hub.core.originals import get_ident
from greenserve.hub.spawning import call_in
from greenserve.net.transport import Transport
from greenserve.server.body import BodyState
from greenserve.server.phases import Phase
from greenserve.server.stream import Stream


class Surrendered:
    """Stands where a connection's stream was: HTTP's answer, if the application gives one, goes nowhere."""

    __slots__ = ("worker",)

    buffer = None
    descriptor = socket = SimpleNamespace(reader=None, family=-1, type=-1, fileno=lambda: -1)
    give_way = Stream.give_way

    def __init__(self, worker: Any) -> None:
        self.worker = worker

    def send(self, *_: object) -> None:
        """Swallow it."""
        self.give_way()  # type: ignore[misc]  # which needs the worker alone

    finish = finish_large = finish_file = send

    def shut_writing(self) -> None:
        """Nothing: the new owner ends it."""

    def close(self, *, in_order: bool) -> None:
        """Nothing."""


def surrender(connection: Any) -> tuple[Transport, bytes]:
    """Take a Connection's transport away from HTTP. Returns it, and what was received and not consumed.

    Raises ClientDisconnected when it is closed; BadRequest when an upgrade is asked for and the request's body has not
    been read.
    """
    hub, stream, cycle = connection.worker.hub, connection.stream, connection.cycle
    if get_ident() != hub.thread_id:  # only its own may touch the descriptor
        return call_in(hub, surrender, connection)
    if connection.phase is Phase.CLOSED or connection.phase is Phase.UPGRADED:
        raise ClientDisconnected("the connection is closed, or was already handed over")
    if connection.greenlet is None or cycle is None:
        raise ClientDisconnected("the request is over; its connection belongs to the next one")
    if stream.buffer is not None:
        raise ClientDisconnected("the request is answered; its client has not taken all of the answer")
    body = cycle.body
    if body is not None:
        # RFC 9110 §7.8: not before the request is complete, or its rest would be taken for the other protocol.
        if cycle.request.upgrade and body.state is not BodyState.ENDED:
            raise BadRequest("the connection changes its protocol behind the request, and its body was not read")
        body.state = BodyState.TAKEN
    connection.enter(Phase.UPGRADED)
    cycle.keep_alive = False
    connection.worker.pool.detach(connection)
    connection.stream = Surrendered(connection.worker)
    return stream, stream.parser.trailing_data


def release(connection: Any) -> None:
    """The application has returned, and the owner of the transport should end; the connection is closed with it."""
    owner = connection.owner
    if owner is not None:
        owner.finish(failed=False)
        owner = connection.owner  # what was taken back has none
    if owner is not None:
        owner.when_closed(lambda _: connection.close())
    elif connection.phase is Phase.UPGRADED:  # it was not taken after all
        connection.close()
