"""The WebSocket that an application holds: blocking calls, typed messages, iteration. The I/O is in connection.py."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

from greenserve.hub.core.originals import get_ident
from greenserve.websocket.connection import CLOSE_SECONDS, Connection
from greenserve.websocket.protocol.close import CloseCode, close_payload
from greenserve.websocket.protocol.errors import ConnectionClosed
from greenserve.websocket.protocol.frames import MAX_CONTROL
from greenserve.websocket.stages import Stage

# RFC 6455 §7.4.1: how a peer leaves in order; 1005 is a Close without a code.
_IN_ORDER = frozenset({CloseCode.NORMAL, CloseCode.GOING_AWAY, CloseCode.NO_STATUS, CloseCode.SERVICE_RESTART})


class WebSocket:
    """One open WebSocket. Any green thread or OS thread may send; one may receive while others send.

    path: path and query of the request. origin: the page's, or None. subprotocol: the agreed one, or None. Iterating
    gives the messages (str for text, bytes for binary) until it is closed in order, by either side.

    >>> @greenserve.websocket.handler
    ... def count(ws):
    ...     for number, message in enumerate(ws, 1):
    ...         ws.send_json({"messages": number, "path": ws.path})
    >>> with greenserve.Server(count, bind="127.0.0.1:0") as server:
    ...     with greenserve.websocket.connect(server.url.replace("http", "ws") + "/chat?room=1") as ws:
    ...         ws.send("one")
    ...         ws.receive_json(timeout=5)
    {'messages': 1, 'path': '/chat?room=1'}
    """

    __slots__ = ("__weakref__", "_connection", "origin", "path", "subprotocol")

    def __init__(self, connection: Connection, *, path: str, origin: str | None, subprotocol: str | None) -> None:
        self._connection = connection
        self.path = path
        self.origin = origin
        self.subprotocol = subprotocol

    def __repr__(self) -> str:
        return f"<WebSocket {self.path} ({self._connection.stage.name.lower()})>"

    @property
    def connection(self) -> Connection:
        """The I/O half, for rooms and the like."""
        return self._connection

    link = connection  # its first name

    @property
    def compressed(self) -> bool:
        """Whether permessage-deflate was agreed."""
        return self._connection.protocol.deflate is not None

    @property
    def closed(self) -> bool:
        """Whether either side has begun to close: nothing can be sent any more."""
        return self._connection.stage is not Stage.OPEN

    @property
    def close_code(self) -> int | None:
        """The code of the Close that ended it (1005: none given, 1006: gone without one); None while it is open."""
        closed = self._connection.protocol.closed
        return None if closed is None else int(closed.code)

    @property
    def close_reason(self) -> str:
        """The reason of that Close."""
        closed = self._connection.protocol.closed
        return "" if closed is None else closed.reason

    def receive(self, timeout: float | None = None) -> str | bytes:
        """Wait for the next message: str for text, bytes for binary.

        timeout: seconds; then TimeoutError, and the message is not lost. Raises ConnectionClosed (code, reason) when
        the peer has closed, or is gone, and all that it has sent was received.
        """
        return self._connection.received.receive(self._connection, timeout)

    def receive_json(self, timeout: float | None = None) -> Any:
        """The next message, parsed. Raises as `receive` does, and ValueError when it is not JSON."""
        return json.loads(self._connection.received.receive(self._connection, timeout))

    def send(self, message: str | bytes) -> None:
        """Send a text (str) or binary (bytes-like) message. Waits while the peer is more than a MiB behind.

        Raises ConnectionClosed, TypeError.
        """
        self._connection.send(message)

    def send_json(self, value: Any) -> None:
        """Send a value as JSON text."""
        self._connection.send(json.dumps(value, separators=(",", ":")))

    def ping(self, payload: bytes = b"") -> None:
        """Send a Ping (at most 125 bytes). The server does so by itself; see `ws_ping_interval`.

        Raises ConnectionClosed, ValueError.
        """
        if len(payload) > MAX_CONTROL:
            raise ValueError(f"the payload of a Ping is at most {MAX_CONTROL} bytes, not {len(payload)}")
        if self.closed:
            raise self._connection.error()
        self._in_hub(self._connection.ping, payload)

    def close(self, code: int = CloseCode.NORMAL, reason: str = "", timeout: float | None = 5.0) -> None:
        """Close in order: send our Close, and wait at most `timeout` seconds for the peer's. Harmless when closed.

        code: 1000-1003, 1007-1014 or 3000-4999; reason: cut to 123 bytes of UTF-8. Raises ValueError for other codes.
        Messages that come meanwhile, or were not received, are dropped. timeout 0 does not wait: the rest goes by
        itself.
        """
        close_payload(code, reason)  # the error is to be raised here, in whatever OS thread
        self._in_hub(self._connection.close, code, reason)
        if timeout != 0:
            self._connection.wait_closed(timeout)

    def _in_hub(self, call: Callable[..., object], *args: Any) -> None:
        if get_ident() == self._connection.hub.thread_id:
            call(*args)
        else:
            self._connection.hub.call_soon_threadsafe(call, *args)

    def __iter__(self) -> Iterator[str | bytes]:
        return self

    def __next__(self) -> str | bytes:
        try:
            return self._connection.received.receive(self._connection, None)
        except ConnectionClosed as closed:
            # Where we began to close, how the peer took it is nothing that a loop over its messages could repair.
            if closed.code in _IN_ORDER or self._connection.close_sent is not None:
                raise StopIteration from None
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close; with 1011 after an error of ours, with 1001 when we are killed.

        A client waits for the server's answer, because its program may end next; a server does not wait.
        """
        if error is None or isinstance(error, ConnectionClosed):
            code = CloseCode.NORMAL
        else:
            code = CloseCode.INTERNAL_ERROR if isinstance(error, Exception) else CloseCode.GOING_AWAY
        self.close(code, timeout=CLOSE_SECONDS if self._connection.client and error is None else 0)
