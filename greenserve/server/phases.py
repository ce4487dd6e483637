"""What a connection is doing, and what may follow. connection.py's `_enter` is the one way from a phase to the next."""

from __future__ import annotations

from enum import Enum


class Phase(Enum):
    """What a connection is doing, and so what its deadline means. NEXT says what may follow."""

    PROXY = "PROXY header"  # of proxied.py: the first line is the proxy's; at its deadline closed
    ARRIVAL = "arrival"  # of arrival.py: there is no HTTP yet, but a TLS handshake; at its deadline closed
    IDLE = "idle"  # parked between requests; at its deadline closed silently
    HEAD = "head"  # parked, new or with part of a head; at its deadline 408
    RUN = "run"  # in a green thread, or in line for one; at its deadline the wait for the body ends with 408
    SKIP_BODY = "skip body"  # parked: the response has left, the request's body has not come; at its deadline LINGER
    TAKE_IN = "take in"  # parked: a chunked body comes before its application is called; at its deadline 408
    FLUSH = "flush"  # parked: the application has ended, the client has not taken all
    UPGRADED = "upgraded"  # the application has the socket
    LINGER = "linger"  # the last response is sent and our side shut; what still comes is thrown away
    CLOSED = "closed"

    __hash__ = object.__hash__  # Enum's own is Python code, and a phase is looked up with every request


NEXT: dict[Phase, frozenset[Phase]] = {
    Phase.PROXY: frozenset(),  # then an Arrival or a Connection begins
    Phase.ARRIVAL: frozenset(),  # then a Connection begins, with HEAD
    Phase.IDLE: frozenset({Phase.RUN, Phase.CLOSED}),
    Phase.HEAD: frozenset({Phase.RUN, Phase.FLUSH, Phase.LINGER, Phase.CLOSED}),
    Phase.RUN: frozenset(
        {
            Phase.IDLE,
            Phase.HEAD,
            Phase.SKIP_BODY,
            Phase.TAKE_IN,
            Phase.FLUSH,
            Phase.UPGRADED,
            Phase.LINGER,
            Phase.CLOSED,
        }
    ),
    Phase.SKIP_BODY: frozenset({Phase.RUN, Phase.LINGER, Phase.CLOSED}),
    Phase.TAKE_IN: frozenset({Phase.RUN, Phase.FLUSH, Phase.LINGER, Phase.CLOSED}),
    Phase.FLUSH: frozenset({Phase.RUN, Phase.SKIP_BODY, Phase.LINGER, Phase.CLOSED}),
    Phase.UPGRADED: frozenset({Phase.LINGER, Phase.CLOSED}),
    Phase.LINGER: frozenset({Phase.CLOSED}),
    Phase.CLOSED: frozenset(),
}

# The setting that says for how long a connection waits in a phase without a green thread, where one does.
PATIENCE: dict[Phase, str] = {
    Phase.PROXY: "header_timeout",
    Phase.ARRIVAL: "tls_handshake_timeout",
    Phase.IDLE: "keepalive_timeout",
    Phase.HEAD: "header_timeout",
}
