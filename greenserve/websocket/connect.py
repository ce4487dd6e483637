"""Connecting to a WebSocket server: `connect` gives the same `WebSocket` that applications hold.

Strategy. The green socket connects, shakes hands with TLS and with the server, each wait parking only the green thread
that makes it; from then on the socket is a link's, which never waits.
"""

from __future__ import annotations

import _socket
import contextlib
import ssl as real_ssl
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from greenserve.green import socket as green_socket
from greenserve.green import ssl as green_ssl
from greenserve.hub.hub import current_hub
from greenserve.websocket import protocol as protocols
from greenserve.websocket.opening import open_link
from greenserve.websocket.protocol.handshake import CLIENT_DEFLATE, Agreement, ClientHandshake
from greenserve.websocket.session import WebSocket

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
    ssl: real_ssl.SSLContext | None = None,
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
    stopwatch = _Stopwatch(timeout)
    sock: Any = green_socket.create_connection((target.host, target.port), timeout)
    try:
        sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        if target.secure:
            stopwatch.limit(sock)
            sock = _encrypted(sock, ssl, server_hostname or target.host)
        agreement = _shake_hands(sock, handshake, stopwatch)
        sock = _given_up(sock)
        limits = protocols.Limits(max_message=max_message)
        state = protocols.Protocol(protocols.Role.CLIENT, limits=limits, deflate=agreement.deflate)
        link = open_link(
            current_hub(),
            sock,
            state,
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            write_timeout=write_timeout,
            client=True,
        )
    except BaseException:
        with contextlib.suppress(OSError):
            sock.close()
        raise
    link.start(early=handshake.early)
    return WebSocket(link, path=target.path, origin=origin, subprotocol=agreement.subprotocol)


class _Stopwatch:
    """One deadline over many waits."""

    def __init__(self, timeout: float | None) -> None:
        self._clock = current_hub().clock
        self._deadline = None if timeout is None else self._clock() + timeout

    def within(self, seconds: float) -> _Stopwatch:
        """Another one, which ends after `seconds` at the latest."""
        now = self._clock()
        return _Stopwatch(seconds if self._deadline is None else min(seconds, self._deadline - now))

    def limit(self, sock: Any) -> None:
        """Let the socket's next wait end at the deadline. Raises TimeoutError when it has passed."""
        if self._deadline is not None:
            left = self._deadline - self._clock()
            if left <= 0:
                raise TimeoutError("the WebSocket's handshake took too long")
            sock.settimeout(left)


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


def _encrypted(sock: Any, context: real_ssl.SSLContext | None, name: str) -> Any:
    """The green TLS socket above `sock`, after its handshake. A context of the program's own need not be green."""
    if context is None:
        context = green_ssl.SSLContext(real_ssl.PROTOCOL_TLS_CLIENT)
        context.load_default_certs(real_ssl.Purpose.SERVER_AUTH)
    return green_ssl.SSLSocket._create(sock, server_side=False, server_hostname=name, context=context)


def _given_up(sock: Any) -> Any:
    """The socket as a link wants it: one that never waits."""
    if isinstance(sock, green_ssl.SSLSocket):
        sock.settimeout(0.0)
        return sock
    family, kind, proto = sock.family, sock.type, sock.proto
    raw = _socket.socket(family, kind, proto, sock.detach())
    raw.setblocking(False)
    return raw


def _shake_hands(sock: Any, handshake: ClientHandshake, stopwatch: _Stopwatch) -> Agreement:
    """Send the request; what was agreed. Raises HandshakeFailed, OSError."""
    stopwatch.limit(sock)
    sock.sendall(handshake.request)
    while handshake.outcome is None:
        stopwatch.limit(sock)
        handshake.receive(sock.recv(RECEIVE_SIZE))
    if isinstance(handshake.outcome, Agreement):
        return handshake.outcome
    patience = stopwatch.within(BODY_SECONDS)
    with contextlib.suppress(OSError):
        while not handshake.complete:
            patience.limit(sock)
            handshake.receive(sock.recv(RECEIVE_SIZE))
    raise handshake.outcome
