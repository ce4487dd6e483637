"""WebSockets (RFC 6455, RFC 7692) for WSGI applications: `accept` one in a request, or make a `handler`; and `connect`
to other servers. `WebSocketWSGI` is Eventlet's decorator, for programs that look for it here.
"""

from typing import TYPE_CHECKING, Any

from greenserve.websocket.accept import Policy, accept, handler, is_upgrade
from greenserve.websocket.api import WebSocket
from greenserve.websocket.connect import connect
from greenserve.websocket.protocol.close import CloseCode
from greenserve.websocket.protocol.errors import (
    ConnectionClosed,
    HandshakeFailed,
    HandshakeRejected,
    WebSocketError,
)

__all__ = [
    "CloseCode",
    "ConnectionClosed",
    "HandshakeFailed",
    "HandshakeRejected",
    "Policy",
    "WebSocket",
    "WebSocketError",
    "WebSocketWSGI",
    "accept",
    "connect",
    "handler",
    "is_upgrade",
]

if TYPE_CHECKING:
    from greenserve.compat.websocket.eventlet import WebSocketWSGI
else:

    def __getattr__(name: str) -> Any:
        if name != "WebSocketWSGI":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from greenserve.compat.websocket.eventlet import WebSocketWSGI  # noqa: PLC0415 - it stands on this package

        return WebSocketWSGI
