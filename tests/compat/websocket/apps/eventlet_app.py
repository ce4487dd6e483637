"""As Eventlet's documentation teaches, with the import changed."""

from greenserve.websocket import WebSocketWSGI


@WebSocketWSGI
def echo(ws):
    while True:
        message = ws.wait()
        if message is None:
            break
        ws.send(message)


@WebSocketWSGI.configured(supported_protocols=["v1"], origin_checker=lambda host, origin: "evil" not in origin)
def guarded(ws):
    ws.send(f"{ws.path} {ws.protocol} {ws.version}")


def app(environ, start_response):
    if environ["PATH_INFO"] == "/guarded":
        return guarded(environ, start_response)
    if environ["PATH_INFO"] == "/echo":
        return echo(environ, start_response)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
