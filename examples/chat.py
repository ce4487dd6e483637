"""A chat over WebSockets: rooms and their members. The page is below.

greenserve chat:app
Open http://127.0.0.1:8000/ in two windows, or http://127.0.0.1:8000/?room=kitchen for another room.

Two processes share the rooms when both are started with the same `--rooms unix:/run/user/1000/chat.sock` (or
`--rooms redis://localhost:6379/0`); nothing below knows of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from urllib.parse import parse_qs
from wsgiref.types import StartResponse, WSGIEnvironment

from greenserve import rooms, websocket

PAGE = b"""<!doctype html>
<meta charset="utf-8">
<title>Chat</title>
<h1>Chat</h1>
<p>Here now: <output id="members">none</output></p>
<ol id="said"></ol>
<form id="form"><input id="text" maxlength="500" autofocus autocomplete="off"> <button>Send</button></form>
<script>
  const query = new URLSearchParams(location.search);
  query.set("name", query.get("name") ?? prompt("Your name?") ?? "Guest");
  const socket = new WebSocket(`${location.protocol.replace("http", "ws")}//${location.host}/socket?${query}`);
  const at = (id) => document.getElementById(id);
  socket.onmessage = ({ data }) => {
    const { members, name, text } = JSON.parse(data);
    if (members) at("members").textContent = members.join(", ");
    else at("said").append(Object.assign(document.createElement("li"), { textContent: `${name}: ${text}` }));
  };
  socket.onclose = () => { at("members").textContent = "the connection is lost"; };
  at("form").onsubmit = (event) => {
    event.preventDefault();
    socket.send(at("text").value);
    at("text").value = "";
  };
</script>
"""


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    match environ["PATH_INFO"]:
        case "/":
            start_response("200 OK", [("Content-Type", "text/html"), ("Content-Length", str(len(PAGE)))])
            return [PAGE]
        case "/socket":
            return chat(environ, start_response)
        case _:
            start_response("404 Not Found", [("Content-Type", "text/plain"), ("Content-Length", "10")])
            return [b"not found\n"]


def chat(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """One person's visit: a green thread that waits for what that person says."""
    query = parse_qs(environ["QUERY_STRING"])
    name = query.get("name", ["Guest"])[0][:40]
    room = rooms.get("chat/" + query.get("room", ["lobby"])[0][:40])
    try:
        with websocket.accept(environ, max_message=4096) as ws, room.joined(ws, name):
            for message in ws:
                if isinstance(message, str):
                    room.broadcast(json.dumps({"name": name, "text": message[:500]}))
    except websocket.ConnectionClosed:  # the window is gone
        pass
    return []


@rooms.on_join
@rooms.on_leave
def tell_who_is_here(room: rooms.Room, _: rooms.Member) -> None:
    """Called in every process that has members in the room; so each tells its own."""
    room.broadcast(json.dumps({"members": [member.info for member in room.members]}), local=True)
