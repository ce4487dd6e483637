"""What the soak serves: an echo, a room, and the server's own state."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from greenserve import current_hub, rooms, websocket

open_now: set[int] = set()


def _echo(ws: websocket.WebSocket) -> None:
    open_now.add(id(ws))
    try:
        for message in ws:
            ws.send(message)
    finally:
        open_now.discard(id(ws))


def _talk(ws: websocket.WebSocket) -> None:
    open_now.add(id(ws))
    try:
        room = rooms.get(ws.path)
        with room.joined(ws):
            for message in ws:
                room.broadcast(message)
    finally:
        open_now.discard(id(ws))


def state() -> dict[str, int]:
    """Open WebSockets, green threads with something to do, and PSS in KiB."""
    busy = sum(1 for carrier in current_hub().carriers if carrier.job is not None)
    pss = re.search(r"^Pss:\s+(\d+)", Path("/proc/self/smaps_rollup").read_text(encoding="ascii"), re.MULTILINE)
    return {"websockets": len(open_now), "threads": busy, "pss": int(pss[1]) if pss else 0}


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """/state is JSON; of WebSockets, /echo answers, and any other path is a room."""
    path = environ["PATH_INFO"]
    if path == "/state":
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(state()).encode()]
    with websocket.accept(environ, max_message=4 << 20) as ws:
        try:
            (_echo if path == "/echo" else _talk)(ws)
        except websocket.ConnectionClosed:
            pass
    return []
