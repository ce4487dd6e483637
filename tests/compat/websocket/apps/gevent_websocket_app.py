"""As gevent-websocket's documentation teaches: the server answers the handshake, the environ has the WebSocket."""


def app(environ, start_response):
    ws = environ.get("wsgi.websocket")
    if ws is None:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"hello"]
    if environ["PATH_INFO"] == "/echo":
        while not ws.closed:
            message = ws.receive()
            if message is None:
                break
            ws.send(message)
    elif environ["PATH_INFO"] == "/about":
        ws.send(f"{ws.path} {ws.origin} {ws.protocol} {ws.version} {environ['wsgi.websocket_version']}")
        ws.close(4000, b"told")
    elif environ["PATH_INFO"] == "/dead":
        assert ws.receive() is None
        try:
            ws.send("x")
        except OSError as error:  # WebSocketError is one
            print(f"dead: {type(error).__name__}", flush=True)
    elif environ["PATH_INFO"] == "/untouched":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"not a WebSocket after all"]
    return []
