"""What WebSocket libraries for WSGI look for in the environ, so that applications written for them run unchanged.

Those that take the socket (simple-websocket, Flask-Sock, python-engineio, eventlet.websocket) find a stand-in for it in
every request; server/hijack.py has that. Here is what only upgrades get: `wsgi.websocket`, as gevent-websocket gives
it, which answers the handshake at its first use, so that the other ways remain open; and ws4py's socket, whose
application leaves a WebSocket behind for the server to run. `WebSocketWSGI` is Eventlet's decorator, for code that
changes one import.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from greenserve.websocket.accept import FROM_SETTINGS, SOCKET_KEY, accept, is_upgrade
from greenserve.websocket.protocol.close import CloseCode
from greenserve.websocket.protocol.errors import ConnectionClosed
from greenserve.websocket.protocol.frames import Opcode
from greenserve.websocket.protocol.handshake import ANY_ORIGIN
from greenserve.websocket.session import WebSocket

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

WS4PY = "ws4py.websocket"
MAX_FRAME_LENGTH = 8 << 20  # Eventlet's default


def upgradable(application: Application) -> Application:
    """`application` for requests that ask for an upgrade: with the keys, and ws4py's WebSocket run at its end."""

    def upgrading(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if is_upgrade(environ):
            environ["wsgi.websocket"] = GeventWebSocket(environ, application)
            environ["wsgi.websocket_version"] = environ.get("HTTP_SEC_WEBSOCKET_VERSION")
            environ["ws4py.socket"] = environ[SOCKET_KEY]
            environ["eventlet.set_idle"] = _nothing  # whether it may be closed, the connection knows by itself
        writes: list[Callable[[bytes], None]] = []

        def remember(*arguments: Any, **keywords: Any) -> Callable[[bytes], None]:
            write: Callable[[bytes], None] = start_response(*arguments, **keywords)
            writes.append(write)
            return write

        result = application(environ, remember)
        websocket = environ.pop(WS4PY, None)
        if websocket is None or not writes:
            return result
        close = getattr(result, "close", None)
        if close is not None:
            close()
        writes[-1](b"")  # the 101 leaves now
        websocket.run()
        return []

    return upgrading


def _nothing() -> None:
    """Do it."""


class GeventWebSocket:
    """gevent-websocket's interface: `receive` gives None at the end, whatever follows raises WebSocketError.

    That is the library's own exception where it is installed and imported, and always a ConnectionClosed.
    """

    OPCODE_TEXT = int(Opcode.TEXT)
    OPCODE_BINARY = int(Opcode.BINARY)
    OPCODE_CLOSE = int(Opcode.CLOSE)
    OPCODE_PING = int(Opcode.PING)

    def __init__(self, environ: Environ, application: object = None) -> None:
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
    error = ws.link.error()
    if theirs is None:
        return error
    kind = _kinds.get(theirs.WebSocketError)
    if kind is None:
        kind = _kinds[theirs.WebSocketError] = type("WebSocketError", (ConnectionClosed, theirs.WebSocketError), {})
    both: ConnectionClosed = kind(error.code, error.reason)
    return both


_kinds: dict[type, Any] = {}


class EventletWebSocket:
    """Eventlet's interface: `wait` gives None at the end."""

    def __init__(self, ws: WebSocket, environ: Environ) -> None:
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

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> list[bytes]:
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


def engineio_warning() -> str | None:
    """What to tell a user whose python-engineio has chosen green threads that do not run here; None: nothing.

    It takes the first of eventlet, gevent and threading that is installed, whatever the server.
    """
    for mode in ("eventlet", "gevent"):
        if f"engineio.async_drivers.{mode}" in sys.modules:
            return (
                f"python-engineio (Socket.IO) has chosen async_mode={mode!r}, because {mode} is installed; its green "
                "threads never run under greenserve: pass async_mode='threading' to Server or SocketIO"
            )
    return None
