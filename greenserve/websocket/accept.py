"""Accepting a WebSocket in a WSGI application."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from greenserve.errors import HubError
from greenserve.websocket import protocol as protocols
from greenserve.websocket.api import WebSocket
from greenserve.websocket.connection import Connection
from greenserve.websocket.memory import Memory
from greenserve.websocket.protocol.deflate import DeflateParameters
from greenserve.websocket.protocol.errors import ConnectionClosed, HandshakeRejected
from greenserve.websocket.protocol.handshake import (
    SAME_ORIGIN,
    accept_upgrade,
    check_origin,
    parse_origin,
    read_upgrade,
    select_subprotocol,
    wants_websocket,
)

logger = logging.getLogger("greenserve.websocket")

FROM_SETTINGS = -1  # None means no limit
SOCKET_KEY = "greenserve.socket"
F = TypeVar("F", bound=Callable[..., object])


@dataclass(frozen=True, slots=True)
class Policy:
    """What a server wants of every WebSocket; `accept` can override each."""

    origins: tuple[str, ...] = (SAME_ORIGIN,)
    ping_interval: float = 20.0  # seconds; proxies drop what is silent for 30 to 60
    ping_timeout: float = 20.0  # seconds
    write_timeout: float = 60.0  # seconds
    max_message: int | None = 1 << 20  # bytes, after inflation
    deflate: DeflateParameters | None = field(default_factory=DeflateParameters)
    memory: Memory = field(default_factory=Memory)  # what all of them together may hold


class Upgradable(Protocol):
    """The connection that a request came through."""

    owner: Any

    @property
    def request(self) -> Any:
        """The RequestHead."""

    @property
    def worker(self) -> Any:
        """The server: `hub`, `websocket_policy`."""

    def surrender(self) -> tuple[Any, bytes]:
        """Give up the socket and what has come early."""


def is_upgrade(environ: dict[str, Any]) -> bool:
    """Whether a request asks for a WebSocket. In HTTP/1.0 none can (RFC 9110 §7.8).

    >>> greenserve.websocket.is_upgrade({"REQUEST_METHOD": "GET"})
    False
    """
    if environ.get("SERVER_PROTOCOL") == "HTTP/1.0":
        return False
    return wants_websocket([("upgrade", environ.get("HTTP_UPGRADE", ""))])


def accept(
    environ: dict[str, Any],
    *,
    subprotocols: Sequence[str] = (),
    origins: Sequence[str] | None = None,
    headers: Iterable[tuple[str, str]] = (),
    max_message: int | None = FROM_SETTINGS,
    compression: bool = True,
    ping_interval: float | None = None,
    ping_timeout: float | None = None,
) -> WebSocket:
    """Answer a request's upgrade with 101 and return the open WebSocket.

    subprotocols: those that the application speaks, best first. origins: pages that may connect, as `--ws-origin` says
    when it is None. headers: further fields of the 101, e.g. a cookie. max_message: bytes, None for no limit. What is
    left out comes from the server's settings.

    Raises HandshakeRejected, a ProtocolError: let it pass and the server answers with its status (426, 403, 400); or
    catch it and answer otherwise. Raises HubError when the server is not greenserve.

    >>> def app(environ, start_response):
    ...     ws = greenserve.websocket.accept(environ, subprotocols=["chat"])
    ...     ws.send(f"you speak {ws.subprotocol}")
    ...     return []
    >>> with greenserve.Server(app, bind="127.0.0.1:0") as server:
    ...     url = server.url.replace("http", "ws")
    ...     with greenserve.websocket.connect(url, subprotocols=["chat"]) as ws:
    ...         ws.receive(timeout=5)
    'you speak chat'
    """
    http = _connection_of(environ)
    request, worker = http.request, http.worker
    policy: Policy = worker.websocket_policy
    upgrade = read_upgrade(request.method, request.http_version, request.fields.items)
    # The environ has both as the client sees them, also behind a proxy that is trusted.
    upgrade = dataclasses.replace(upgrade, host=environ.get("HTTP_HOST"))
    scheme = environ["wsgi.url_scheme"]
    allowed = policy.origins if origins is None else origins
    try:
        check_origin(upgrade, allowed, scheme)
    except HandshakeRejected as refusal:
        logger.warning("%s; %s", refusal, _origin_advice(upgrade.origin, scheme))
        raise
    agreement = accept_upgrade(
        upgrade,
        subprotocol=select_subprotocol(upgrade.subprotocols, subprotocols),
        deflate=policy.deflate if compression else None,
        headers=headers,
    )
    limit = policy.max_message if max_message == FROM_SETTINGS else max_message
    state = protocols.Protocol(
        protocols.Role.SERVER, limits=protocols.Limits(max_message=limit), deflate=agreement.deflate
    )
    transport, early = http.surrender()
    connection = http.owner = Connection(
        worker.hub,
        transport,
        state,
        ping_interval=policy.ping_interval if ping_interval is None else ping_interval,
        ping_timeout=policy.ping_timeout if ping_timeout is None else ping_timeout,
        write_timeout=policy.write_timeout,
        memory=policy.memory,
    )
    connection.start(agreement.response, early)
    return WebSocket(connection, path=request.target, origin=upgrade.origin, subprotocol=agreement.subprotocol)


def handler(function: Callable[[WebSocket], object] | None = None, **options: Any) -> Any:
    """Make a WSGI application of `function(ws)`: accepts, calls, closes.

    options: those of `accept`. Use it plain, or with options as here. When the function returns, the WebSocket closes
    with 1000; when it raises, with 1011, and the error is logged.

    >>> @greenserve.websocket.handler(max_message=100)
    ... def shout(ws):
    ...     for message in ws:
    ...         ws.send(message.upper())
    >>> with greenserve.Server(shout, bind="127.0.0.1:0") as server:
    ...     with greenserve.websocket.connect(server.url.replace("http", "ws")) as ws:
    ...         ws.send("hello")
    ...         ws.receive(timeout=5)
    'HELLO'
    """
    if function is None:
        return functools.partial(handler, **options)

    @functools.wraps(function)
    def application(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
        with accept(environ, **options) as ws:
            try:
                function(ws)
            except ConnectionClosed as closed:
                logger.debug("%s: %s", ws, closed)
        return []

    del application.__wrapped__  # its signature is WSGI's, and is asked for at loading
    return application


def _origin_advice(origin: str | None, scheme: str) -> str:
    """What to do about an origin that was refused. Nothing of it is repeated that could steer a terminal."""
    parsed = parse_origin(origin or "")
    if isinstance(parsed, str) or not f"{origin}".isascii():
        return "no page of that origin can be allowed"
    advice = f"to allow its pages, add --ws-origin {origin:.200}"
    if parsed[0] == "https" and scheme == "http":
        advice += (
            ", or, if a proxy ends TLS for this very host, let it send X-Forwarded-Proto, and name its address in "
            "--trusted-proxies"
        )
    return advice


def _connection_of(environ: dict[str, Any]) -> Upgradable:
    proxy = environ.get(SOCKET_KEY)
    if proxy is None:
        raise HubError(
            f"the environ has no {SOCKET_KEY!r}: WebSockets are accepted under greenserve's own server "
            "(run the application with `greenserve module:app`)"
        )
    connection: Upgradable = proxy.connection
    return connection
