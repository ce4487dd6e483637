"""Connecting to a WebSocket server: `connect` gives the same `WebSocket` that applications hold.

Strategy. A transport connects and shakes hands, with TLS and with the server, each wait parking only the green thread
that makes it; from then on it is a connection's, which never waits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from greenserve.hub.core.hub import current_hub
from greenserve.net.client import open_transport
from greenserve.net.tls import SSLContext
from greenserve.net.transport import Transport
from greenserve.websocket import protocol as protocols
from greenserve.websocket.api import WebSocket
from greenserve.websocket.connection import Connection
from greenserve.websocket.protocol.handshake import CLIENT_DEFLATE, Agreement, ClientHandshake

RECEIVE_SIZE: Final = 16384  # bytes
BODY_SECONDS: Final = 2.0  # a refusal is known by its head: what it says besides is not worth a long wait
_PORTS: Final = {"ws": 80, "wss": 443}


class Target(NamedTuple):
    """Where a URL points. authority: for the Host field; path: with the query, encoded."""

    secure: bool
    host: str
    port: int
    authority: str
    path: str


def connect(  # noqa: PLR0913 - options, each by its name
    url: str,
    *,
    subprotocols: Sequence[str] = (),
    origin: str | None = None,
    headers: Iterable[tuple[str, str]] = (),
    compression: bool = True,
    timeout: float | None = 10.0,
    max_message: int | None = 1 << 20,
    ssl: SSLContext | None = None,
    server_hostname: str | None = None,
    ping_interval: float = 20.0,
    ping_timeout: float = 20.0,
    write_timeout: float = 60.0,
) -> WebSocket:
    """Open a WebSocket to `url` (ws:// or wss://) and return it. Only the calling green thread waits.

    subprotocols: offered, best first. origin: for the Origin field. headers: further fields (cookies, authorization).
    compression: offer permessage-deflate. timeout: seconds until it is open (looking up the name not counted), None
    for any time. max_message: bytes, None for no limit. ssl: for wss, the system's authorities by default;
    server_hostname: the name that the certificate must have, if it is not the URL's. ping_interval: seconds of silence
    after which the server is pinged, 0 for never; ping_timeout: seconds that it may then stay silent. write_timeout:
    seconds in which it must take some of what is sent.

    Redirects are not followed, and proxies are not used (connect to what stands behind them). Raises HandshakeFailed
    when the server does not accept; OSError (TimeoutError, ConnectionRefusedError, ssl.SSLError) when it cannot be
    reached; ValueError for an invalid URL or header.

    >>> @greenserve.websocket.handler
    ... def echo(ws):
    ...     for message in ws:
    ...         ws.send(message)
    >>> with greenserve.Server(echo, bind="127.0.0.1:0") as server:
    ...     with greenserve.websocket.connect(server.url.replace("http", "ws")) as ws:
    ...         ws.send("hello")
    ...         ws.receive(timeout=5)
    'hello'
    """
    target = parse_url(url)
    if ssl is not None and not target.secure:
        raise ValueError(f"{url!r} is not encrypted, but an ssl context was given: write wss://")
    handshake = ClientHandshake(
        target.authority,
        target.path,
        origin=origin,
        subprotocols=subprotocols,
        deflate=CLIENT_DEFLATE if compression else None,
        headers=headers,
    )
    hub = current_hub()
    deadline = None if timeout is None else hub.clock() + timeout
    transport = open_transport(
        target.host,
        target.port,
        secure=target.secure,
        context=ssl,
        server_hostname=server_hostname,
        deadline=deadline,
    )
    try:
        agreement = _agree(transport, handshake, deadline)
    except BaseException:
        transport.close()
        raise
    limits = protocols.Limits(max_message=max_message)
    connection = Connection(
        hub,
        transport,
        protocols.Protocol(protocols.Role.CLIENT, limits=limits, deflate=agreement.deflate),
        ping_interval=ping_interval,
        ping_timeout=ping_timeout,
        write_timeout=write_timeout,
        client=True,
    )
    connection.start(early=handshake.early)
    return WebSocket(connection, path=target.path, origin=origin, subprotocol=agreement.subprotocol)


def parse_url(url: str) -> Target:
    """Take a WebSocket URL apart (RFC 6455 §3). Raises ValueError."""
    parts = urlsplit(url)
    port = _PORTS.get(parts.scheme)
    if port is None or not parts.hostname:
        raise ValueError(f"a WebSocket's URL is ws://HOST[:PORT]/PATH or wss://..., not {url!r}")
    if parts.fragment or "#" in url:
        raise ValueError(f"{url!r} has a fragment, which a WebSocket's URL cannot have (RFC 6455 §3)")
    if parts.username is not None:
        raise ValueError("a user and password in a WebSocket's URL are not sent: use headers=[('Authorization', ...)]")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return Target(
        secure=parts.scheme == "wss",
        host=parts.hostname,
        port=parts.port or port,
        authority=host if (parts.port or port) == port else f"{host}:{parts.port}",
        path=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
    )


def _agree(transport: Transport, handshake: ClientHandshake, deadline: float | None) -> Agreement:
    """Send the request; what was agreed. Raises HandshakeFailed, OSError."""
    transport.send_all(handshake.request, deadline)
    while handshake.outcome is None:
        handshake.receive(_receive(transport, deadline))
    if isinstance(handshake.outcome, Agreement):
        return handshake.outcome
    soon = current_hub().clock() + BODY_SECONDS
    with contextlib.suppress(OSError):
        while not handshake.complete:
            handshake.receive(_receive(transport, soon if deadline is None else min(soon, deadline)))
    raise handshake.outcome


def _receive(transport: Transport, deadline: float | None) -> bytes:
    while (data := transport.receive(RECEIVE_SIZE)) is None:
        transport.wait_readable(deadline)
    return data
