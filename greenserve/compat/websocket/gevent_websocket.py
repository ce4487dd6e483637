"""gevent-websocket: `wsgi.websocket`. It answers the handshake at its first use, so that other ways remain open."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from greenserve.websocket.accept import accept
from greenserve.websocket.api import WebSocket
from greenserve.websocket.protocol.close import CloseCode
from greenserve.websocket.protocol.errors import ConnectionClosed
from greenserve.websocket.protocol.frames import Opcode


class GeventWebSocket:
    """gevent-websocket's interface: `receive` gives None at the end, whatever follows raises WebSocketError.

    That is the library's own exception where it is installed and imported, and always a ConnectionClosed.
    """

    OPCODE_TEXT = int(Opcode.TEXT)
    OPCODE_BINARY = int(Opcode.BINARY)
    OPCODE_CLOSE = int(Opcode.CLOSE)
    OPCODE_PING = int(Opcode.PING)

    def __init__(self, environ: dict[str, Any], application: object = None) -> None:
        self.environ = environ
        self._application = application
        self._ws: WebSocket | None = None
        self._ended = False

    @property
    def closed(self) -> bool:
        """Whether it is closed or closing."""
        return self._ended or (self._ws is not None and self._ws.closed)

    @property
    def path(self) -> str | None:
        """PATH_INFO."""
        return self.environ.get("PATH_INFO")

    @property
    def origin(self) -> str | None:
        """The page that opened it."""
        return self.environ.get("HTTP_ORIGIN")

    @property
    def protocol(self) -> str | None:
        """The subprotocols that the client offered."""
        return self.environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL")

    @property
    def version(self) -> str | None:
        """Of the WebSocket protocol: "13"."""
        return self.environ.get("HTTP_SEC_WEBSOCKET_VERSION")

    def receive(self) -> str | bytes | None:
        """The next message; None when the client has closed. Raises WebSocketError when that was known before."""
        ws = self._opened()
        if self._ended:
            raise _dead(ws)
        try:
            return ws.receive()
        except ConnectionClosed:
            self._ended = True
            return None

    def send(self, message: Any, binary: bool | None = None) -> None:
        """Send a message: text for str and None, binary for bytes, unless `binary` says otherwise."""
        ws = self._opened()
        if binary is None:
            binary = not isinstance(message, str)
        if binary and message is not None:
            message = message.encode() if isinstance(message, str) else bytes(message)
        else:
            message = message.decode() if isinstance(message, bytes | bytearray) else str(message or "")
        try:
            ws.send(message)
        except ConnectionClosed:
            raise _dead(ws) from None

    def send_frame(self, message: Any, opcode: int) -> None:
        """Send a frame of a kind: text, binary, a Ping, or a Close."""
        if opcode == self.OPCODE_PING:
            ws = self._opened()
            try:
                ws.ping(message.encode() if isinstance(message, str) else bytes(message or b""))
            except ConnectionClosed:
                raise _dead(ws) from None
        elif opcode == self.OPCODE_CLOSE:
            self.close(message=message)
        else:
            self.send(message, binary=opcode == self.OPCODE_BINARY)

    def close(self, code: int = CloseCode.NORMAL, message: str | bytes = b"") -> None:
        """Close it; harmless when it is closed."""
        reason = message.decode(errors="replace") if isinstance(message, bytes) else message
        self._opened().close(code, reason, timeout=0)
        self._ended = True

    def _opened(self) -> WebSocket:
        if self._ws is None:
            self._ws = accept(self.environ, subprotocols=self._subprotocols())
        return self._ws

    def _subprotocols(self) -> Sequence[str]:
        """gevent-websocket asks its `Resource` which one a path speaks."""
        ask = getattr(self._application, "app_protocol", None)
        name = ask(self.path) if ask is not None else None
        return (name,) if name else ()


def _dead(ws: WebSocket) -> ConnectionClosed:
    """What gevent-websocket raises, for code that catches that, and what we raise, in one."""
    theirs = sys.modules.get("geventwebsocket.exceptions")
    error = ws.connection.error()
    if theirs is None:
        return error
    kind = _kinds.get(theirs.WebSocketError)
    if kind is None:
        kind = _kinds[theirs.WebSocketError] = type("WebSocketError", (ConnectionClosed, theirs.WebSocketError), {})
    both: ConnectionClosed = kind(error.code, error.reason)
    return both


_kinds: dict[type, Any] = {}
