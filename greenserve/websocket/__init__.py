"""WebSockets (RFC 6455, RFC 7692) for WSGI applications: `accept` one in a request, or make a `handler`; and `connect`
to other servers. `WebSocketWSGI` is Eventlet's decorator.
"""

from greenserve.websocket.accept import Policy, accept, handler, is_upgrade
from greenserve.websocket.compat import WebSocketWSGI
from greenserve.websocket.connect import connect
from greenserve.websocket.protocol.close import CloseCode
from greenserve.websocket.protocol.errors import (
    ConnectionClosed,
    HandshakeFailed,
    HandshakeRejected,
    WebSocketError,
)
from greenserve.websocket.session import WebSocket

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
