"""A link on a socket that has shaken hands: the kind that fits the socket, with its place in the keepalive."""

from __future__ import annotations

from typing import Any

from greenserve.hub.hub import Hub
from greenserve.websocket.keepalive import keepalive_of
from greenserve.websocket.link import Link
from greenserve.websocket.memory import Memory
from greenserve.websocket.protocol import Protocol


def open_link(
    hub: Hub,
    sock: Any,
    protocol: Protocol,
    *,
    ping_interval: float,
    ping_timeout: float,
    write_timeout: float,
    client: bool = False,
    memory: Memory | None = None,
) -> Link:
    """A link on a connected, non-blocking socket. The hub's thread only; call `start` on it. The rest as of `Link`."""
    kind: type[Link] = Link
    if hasattr(sock, "pending"):  # TLS
        from greenserve.websocket.tls import TlsLink as kind  # noqa: PLC0415 - most programs never speak TLS here
    link = kind(
        hub,
        sock,
        protocol,
        ping_interval=ping_interval,
        ping_timeout=ping_timeout,
        write_timeout=write_timeout,
        client=client,
        memory=memory,
    )
    pings = (ping_interval, ping_timeout) if ping_interval else ()
    keepalive = keepalive_of(hub, min((write_timeout, *pings)))
    keepalive.add(link)
    link.when_closed(keepalive.discard)
    return link
