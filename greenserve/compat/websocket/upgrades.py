"""What a request that asks for an upgrade gets in addition: the keys of the libraries in this package."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from greenserve.compat.websocket.gevent_websocket import GeventWebSocket
from greenserve.compat.websocket.ws4py import running_websockets
from greenserve.websocket.accept import SOCKET_KEY, is_upgrade

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def upgradable(application: Application) -> Application:
    """`application` for requests that ask for an upgrade: with the libraries' keys, and ws4py's WebSocket run."""
    running = running_websockets(application)

    def upgrading(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if is_upgrade(environ):
            environ["wsgi.websocket"] = GeventWebSocket(environ, application)
            environ["wsgi.websocket_version"] = environ.get("HTTP_SEC_WEBSOCKET_VERSION")
            environ["ws4py.socket"] = environ[SOCKET_KEY]
            environ["eventlet.set_idle"] = lambda: None  # whether it may be closed, the connection knows by itself
        return running(environ, start_response)

    return upgrading
