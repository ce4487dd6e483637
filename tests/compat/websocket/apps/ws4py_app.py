"""As ws4py's documentation teaches."""

from ws4py.server.wsgiutils import WebSocketWSGIApplication
from ws4py.websocket import EchoWebSocket

websockets = WebSocketWSGIApplication(handler_cls=EchoWebSocket)


def app(environ, start_response):
    if environ["PATH_INFO"] == "/echo":
        return websockets(environ, start_response)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
