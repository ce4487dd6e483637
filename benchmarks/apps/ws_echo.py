"""Echo over WebSockets with greenserve's own interface."""

from greenserve.websocket import handler


@handler
def echo(ws):
    for message in ws:
        ws.send(message)
