"""The smallest chat in a Flask application: a view that takes a WebSocket.

pip install flask
greenserve flask_chat:app
Open http://127.0.0.1:8000/ in two windows. See chat.py for names and presence.
"""

from __future__ import annotations

from flask import Flask, request

from greenserve import rooms, websocket

app = Flask(__name__)

PAGE = """<!doctype html>
<meta charset="utf-8">
<title>Chat</title>
<ol id="said"></ol>
<form id="form"><input id="text" autofocus autocomplete="off"> <button>Send</button></form>
<script>
  const socket = new WebSocket(`${location.protocol.replace("http", "ws")}//${location.host}/socket/lobby`);
  const at = (id) => document.getElementById(id);
  socket.onmessage = ({ data }) => {
    at("said").append(Object.assign(document.createElement("li"), { textContent: data }));
  };
  at("form").onsubmit = (event) => {
    event.preventDefault();
    socket.send(at("text").value);
    at("text").value = "";
  };
</script>
"""


@app.get("/")
def index() -> str:
    return PAGE


@app.get("/socket/<name>", websocket=True)  # Flask keeps the routes of WebSockets apart
def socket(name: str) -> str:
    try:
        with websocket.accept(request.environ) as ws, rooms.get(name).joined(ws):
            for message in ws:
                rooms.get(name).broadcast(message)
    except websocket.ConnectionClosed:
        pass
    return ""  # it goes nowhere: the connection was the WebSocket's


@app.errorhandler(websocket.HandshakeRejected)
def refused(error: websocket.HandshakeRejected) -> tuple[bytes, str, list[tuple[str, str]]]:
    # A page of another site, say. Without this Flask would answer 500, as it does to every error of a view.
    return error.body, error.status_line, error.response_headers
