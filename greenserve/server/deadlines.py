"""What ends a connection's wait when its client does not: a deadline, the server's stop, a shortage of descriptors.

Deadlines are two numbers in each connection, `deadline` of its phase and `write_deadline`, which the worker's sweep
compares once a second; a timer for each would cost more than the request. phases.py says what a phase's means.
"""

from __future__ import annotations

import logging

from greenserve.errors import ClientDisconnected, RequestTimeout
from greenserve.net import lingering
from greenserve.server.arrival import Arrival
from greenserve.server.connection import Connection
from greenserve.server.phases import PATIENCE, Phase
from greenserve.server.stream import NEVER
from greenserve.wsgi.gateway import ResponseState

logger = logging.getLogger("greenserve.server")

_TAKES_NOTHING = "the client took no bytes in time"


def expire(connection: Connection | Arrival, now: float) -> None:
    """A deadline may have passed; called by the worker's sweep."""
    if isinstance(connection, Arrival):
        connection.expire()
        return
    if connection.write_deadline < now:
        cut_off(connection, _TAKES_NOTHING)
    if connection.deadline < now:
        connection.deadline = NEVER
        try:
            _expire_phase(connection)
        except Exception:
            connection.fail_alone()


def cut_off(connection: Connection, why: str, level: int = logging.INFO) -> None:
    """Drop what its client has not taken: the green thread that waits for that is told, or the connection ends."""
    connection.write_deadline = NEVER
    if not connection.give_up(ClientDisconnected(why)):
        logger.log(level, "%s: %s", connection.request_line, why)
        connection.abort()


def _expire_phase(connection: Connection) -> None:
    phase = connection.phase
    if phase is Phase.HEAD and not connection.stream.parser.idle:
        connection.refuse_request(RequestTimeout("the request head did not arrive in time"))
    elif phase is Phase.IDLE or phase is Phase.HEAD:
        connection.retire()
    elif phase is Phase.RUN:
        connection.stream.interrupt_reader(_body_is_late())
    elif phase is Phase.SKIP_BODY:
        connection.linger()
    elif phase is Phase.TAKE_IN:
        connection.refuse_request(_body_is_late())
    elif phase is Phase.LINGER:
        connection.close()


def _body_is_late() -> RequestTimeout:
    return RequestTimeout("the request body did not arrive in time")


def drain(
    connection: Connection | Arrival, *, spare_idle: bool = False, spare_new: bool = False, spare_upgraded: bool = False
) -> None:
    """The server is stopping: close when idle, new or a WebSocket, unless that is spared; a request in progress will be
    the last.
    """
    if isinstance(connection, Arrival):
        connection.drain()
        return
    grace = connection.worker.idle_grace
    announce_end(connection)
    if connection.cycle is not None and not grace:
        connection.cycle.keep_alive = False
    if connection.owner is not None:
        if not spare_upgraded:
            connection.owner.drain(restarting=connection.worker.restarting)
    elif connection.phase is Phase.IDLE:
        # Those that have become idle since the restart began have a moment of their own.
        if not spare_idle and (not grace or connection.deadline > connection.worker.hub.clock() + grace):
            connection.retire()
    elif connection.phase is Phase.HEAD and connection.stream.parser.idle:
        if not (spare_idle or spare_new):
            connection.retire()
    elif connection.phase is Phase.SKIP_BODY:
        connection.linger()


def announce_end(connection: Connection | Arrival) -> None:
    """The server will stop: a request in progress is the last, if its client can still be told so.

    One that was promised a further request may have sent it already; that one's response says it then.
    """
    cycle = connection.cycle if isinstance(connection, Connection) else None
    if cycle is not None and (cycle.state is ResponseState.NOTHING or cycle.state is ResponseState.HEAD_KNOWN):
        cycle.keep_alive = False


def silent_since(connection: Connection | Arrival) -> float:
    """Since when it has waited for its client without a green thread; NEVER if it does not."""
    if connection.phase is Phase.LINGER:
        return connection.deadline - lingering.SECONDS
    if isinstance(connection, Connection) and connection.cycle is not None and connection.cycle.body is not None:
        return connection.cycle.body.waiting_since
    if connection.phase not in PATIENCE:
        return NEVER
    patience: float = getattr(connection.worker, PATIENCE[connection.phase])
    return connection.deadline - patience


def make_room(connection: Connection | Arrival) -> None:
    """Its descriptor is needed for another client."""
    if isinstance(connection, Connection) and (connection.phase is Phase.IDLE or connection.phase is Phase.HEAD):
        connection.retire()
    else:
        connection.close()
