"""The same with greenserve's own interface."""

from greenserve.websocket import handler, is_upgrade


@handler
def echo(ws):
    for message in ws:
        ws.send(message)


def app(environ, start_response):
    if is_upgrade(environ):
        return echo(environ, start_response)
    start_response("200 OK", [("Content-Type", "text/html")])
    return [b"<!doctype html><title>echo</title>"]
