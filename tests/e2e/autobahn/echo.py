"""The application that the Autobahn suite talks to."""

from __future__ import annotations

from greenserve import websocket


@websocket.handler
def app(ws: websocket.WebSocket) -> None:
    for message in ws:
        ws.send(message)
