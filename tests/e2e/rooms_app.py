"""What the tests of rooms across processes serve: everybody who connects is in the room that the path names."""

from __future__ import annotations

from greenserve import rooms, websocket


@websocket.handler
def app(ws: websocket.WebSocket) -> None:
    room = rooms.get(ws.path)
    with room.joined(ws, ws.path):
        for message in ws:
            if message == "who":
                ws.send_json([room.local_size, len(room)])
            else:
                room.broadcast(message)
