"""Eventlet: `WebSocketWSGI`, its decorator, for code that changes one import."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from greenserve.websocket.accept import FROM_SETTINGS, accept, is_upgrade
from greenserve.websocket.api import WebSocket
from greenserve.websocket.protocol.close import CloseCode
from greenserve.websocket.protocol.errors import ConnectionClosed
from greenserve.websocket.protocol.handshake import ANY_ORIGIN

MAX_FRAME_LENGTH = 8 << 20  # Eventlet's default


class EventletWebSocket:
    """Eventlet's interface: `wait` gives None at the end."""

    def __init__(self, ws: WebSocket, environ: dict[str, Any]) -> None:
        self.environ = environ
        self.path = environ.get("PATH_INFO")
        self.origin = environ.get("HTTP_ORIGIN")
        self.protocol = ws.subprotocol
        self.version = int(environ.get("HTTP_SEC_WEBSOCKET_VERSION", "13"))
        self._ws = ws

    @property
    def websocket_closed(self) -> bool:
        """Whether it is closed or closing."""
        return self._ws.closed

    def wait(self) -> str | bytes | None:
        """The next message; None when the client has closed."""
        try:
            return self._ws.receive()
        except ConnectionClosed:
            return None

    def send(self, message: Any) -> None:
        """Send text for str, binary for bytes, and anything else as its text. Raises ConnectionClosed, an OSError."""
        self._ws.send(message if isinstance(message, str | bytes) else str(message))

    def close(self, close_data: tuple[int, str | bytes] | None = None) -> None:
        """Close it. close_data: (code, reason)."""
        code, reason = close_data or (CloseCode.NORMAL, "")
        self._ws.close(code, reason.decode(errors="replace") if isinstance(reason, bytes) else reason, timeout=0)

    def __iter__(self) -> Iterator[str | bytes]:
        while (message := self.wait()) is not None:
            yield message


class WebSocketWSGI:
    """Eventlet's decorator: a WSGI application of `handler(ws)`, where ws has wait, send and close.

    In place of `from eventlet.websocket import WebSocketWSGI`. max_frame_length: bytes of a message. An origin_checker
    (`configured`) decides instead of the server's --ws-origin.

    >>> @greenserve.websocket.WebSocketWSGI
    ... def echo(ws):
    ...     while (message := ws.wait()) is not None:
    ...         ws.send(message)
    >>> with greenserve.Server(echo, bind="127.0.0.1:0") as server:
    ...     with greenserve.websocket.connect(server.url.replace("http", "ws")) as ws:
    ...         ws.send("hello")
    ...         ws.receive(timeout=5)
    'hello'
    """

    def __init__(
        self, handler: Callable[[EventletWebSocket], object], max_frame_length: int = MAX_FRAME_LENGTH
    ) -> None:
        self.handler = handler
        self.max_frame_length: int | None = max_frame_length
        self.supported_protocols: Sequence[str] = ()
        self.origin_checker: Callable[[str | None, str], bool] | None = None

    @classmethod
    def configured(
        cls,
        handler: Callable[[EventletWebSocket], object] | None = None,
        supported_protocols: Sequence[str] | None = None,
        origin_checker: Callable[[str | None, str], bool] | None = None,
        support_legacy_versions: bool = False,  # drafts of 2010, which no client speaks any more
    ) -> Any:
        """The decorator with options."""

        def decorate(function: Callable[[EventletWebSocket], object]) -> WebSocketWSGI:
            application = cls(function)
            application.supported_protocols = supported_protocols or ()
            application.origin_checker = origin_checker
            return application

        return decorate if handler is None else decorate(handler)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        """The WSGI application."""
        origins = None
        if self.origin_checker is not None:
            if is_upgrade(environ) and not self.origin_checker(
                environ.get("HTTP_HOST"), environ.get("HTTP_ORIGIN", "")
            ):
                start_response("403 Forbidden", [("Content-Type", "text/plain")])
                return [b"this origin may not open a WebSocket here\n"]
            origins = (ANY_ORIGIN,)
        offered = [name.strip() for name in environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL", "").split(",")]
        limit = FROM_SETTINGS if self.max_frame_length is None else self.max_frame_length
        with accept(
            environ,
            # the client's order of preference, as Eventlet has it
            subprotocols=[name for name in offered if name in self.supported_protocols],
            origins=origins,
            max_message=limit,
        ) as ws:
            self.handler(EventletWebSocket(ws, environ))
        return []
