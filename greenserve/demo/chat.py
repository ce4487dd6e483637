"""A chat over WebSockets: rooms and their members. Over all workers, and with `--rooms` all servers, with no code
for it here.
"""

from __future__ import annotations

import json
import re
from time import monotonic
from typing import Any

from greenserve import rooms, websocket
from greenserve.demo.activity import Quota
from greenserve.demo.web import Refused, Request, Response

PREFIX = "demo/chat/"  # other parts of a program may have rooms too
ROOMS = ("lobby", "kitchen", "garden")
MAX_NAME = 24  # characters
MAX_TEXT = 500  # characters
MAX_MESSAGE = 4096  # bytes on the wire: the longest text, with room for escapes
BURST = 8  # messages that a member may send at once,
PACE = 1.0  # and afterwards one in so many seconds

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")

visitors = Quota(200)


def chat(request: Request) -> Response:
    """Take the WebSocket, and talk until it closes."""
    name = request.parameters.get("room", ROOMS[0])
    if name not in ROOMS:
        raise Refused("404 Not Found", f"There are these rooms: {', '.join(ROOMS)}.")
    nickname = cleaned(request.parameters.get("name", ""))[:MAX_NAME] or "Guest"
    if not visitors.take():
        raise Refused("503 Service Unavailable", f"{visitors.most} people are here already.", [("Retry-After", "5")])
    try:
        with websocket.accept(request.environ, max_message=MAX_MESSAGE) as ws:
            talk(ws, rooms.get(PREFIX + name), nickname)
    except websocket.ConnectionClosed:
        pass
    finally:
        visitors.free()
    return Response.text("")  # it goes nowhere: the connection was the WebSocket's


def talk(ws: websocket.WebSocket, room: rooms.Room, name: str) -> None:
    """One visit to a room: the code that the page shows."""
    allowance = Allowance()
    with room.joined(ws, {"name": name}) as member:
        ws.send_json({"you": member.id})
        for message in ws:
            text = cleaned(message)[:MAX_TEXT] if isinstance(message, str) else ""
            if not text:
                continue
            if not allowance.take():
                ws.send_json({"refused": "Not so fast, please."})
                continue
            room.broadcast(as_json({"id": member.id, "name": name, "text": text}))


@rooms.on_join
@rooms.on_leave
def tell_who_is_here(room: rooms.Room, _: rooms.Member) -> None:
    """Called when a member joins or leaves, in any process: each process tells the members that it serves."""
    if room.name.startswith(PREFIX):
        members = [{"id": member.id, **member.info} for member in room.members]
        room.broadcast(as_json({"members": members}), local=True)


class Allowance:
    """How often a member may speak: BURST times at once, then once in PACE seconds."""

    def __init__(self) -> None:
        self._left = float(BURST)
        self._since = monotonic()

    def take(self) -> bool:
        """Whether it is allowed now."""
        now = monotonic()
        self._left = min(float(BURST), self._left + (now - self._since) / PACE)
        self._since = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def cleaned(text: str) -> str:
    """Without line ends, control characters, and characters that change the direction of the text around them."""
    return _UNPRINTABLE.sub(" ", text).strip()


def as_json(value: Any) -> str:
    """The form in which the page reads a message."""
    return json.dumps(value, separators=(",", ":"))
