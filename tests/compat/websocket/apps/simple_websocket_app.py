"""As simple-websocket's documentation teaches, for any WSGI server that it knows."""

import simple_websocket


def app(environ, start_response):
    if environ["PATH_INFO"] == "/echo":
        ws = simple_websocket.Server.accept(environ, ping_interval=25)
        try:
            while True:
                data = ws.receive()
                ws.send(data)
        except simple_websocket.ConnectionClosed:
            pass
        raise StopIteration  # what it does under Gunicorn
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
