"""The JavaScript clients: `ws` and Socket.IO's."""

from __future__ import annotations

import json

import pytest

from .support import ended_well, node, started, websocket_url

WS = """
const WebSocket = require("ws");
const ws = new WebSocket(process.argv[1], {perMessageDeflate: {threshold: 0}});
const sent = ["hello", "x".repeat(100000), Buffer.from([0, 255]), "\\u00fc"];
const got = [];
ws.on("open", () => { ws.ping("p"); sent.forEach(each => ws.send(each)); });
ws.on("pong", data => got.push(["pong", data.toString()]));
ws.on("message", (data, binary) => {
  got.push([binary ? "binary" : "text", data.length]);
  if (got.length === 5) ws.close(4000, "bye");
});
ws.on("close", (code, reason) => {
  console.log(JSON.stringify({got, code, reason: reason.toString(), deflate: ws.extensions}));
});
ws.on("error", error => { console.error(error); process.exit(1); });
"""

SOCKET_IO = """
const { io } = require("socket.io-client");
const socket = io(process.argv[1], {transports: JSON.parse(process.argv[2]), reconnection: false});
const report = {};
socket.on("connect", async () => {
  report.sum = await socket.timeout(5000).emitWithAck("add", {a: 2, b: 3});
  socket.emit("message", "hello");
});
socket.on("message", async text => {
  report.echo = text;
  const engine = socket.io.engine;
  if (engine.transport.name !== JSON.parse(process.argv[2]).at(-1))
    await new Promise(resolve => engine.once("upgrade", resolve));
  report.transport = engine.transport.name;
  socket.emit("later", "work");
});
socket.on("done", text => { report.done = text; console.log(JSON.stringify(report)); socket.disconnect(); });
socket.on("connect_error", error => { console.error(error); process.exit(1); });
"""


@pytest.mark.parametrize("module", ["own_app", "simple_websocket_app"])
def test_ws_talks_to_us(module):
    with started(module) as server:
        told = json.loads(node(WS, websocket_url(server, "/echo")))
        assert sorted(map(tuple, told["got"])) == [
            ("binary", 2),
            ("pong", "p"),
            ("text", 2),
            ("text", 5),
            ("text", 100_000),
        ]
        assert told["code"] == 4000
        assert told["deflate"] == "permessage-deflate"
    ended_well(server)


@pytest.mark.parametrize("transports", [["websocket"], ["polling", "websocket"]], ids="+".join)
def test_socket_io_talks_to_flask_socketio(transports):
    with started("flask_socketio_app") as server:
        told = json.loads(node(SOCKET_IO, server.url, json.dumps(transports)))
        assert told == {"sum": 5, "echo": "hello", "transport": "websocket", "done": "work"}
    assert "Traceback" not in server.output
    assert server.returncode == 0, server.output
