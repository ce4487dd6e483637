"""eventlet.websocket, as its documentation says. python ws_eventlet.py PORT"""

import eventlet

eventlet.monkey_patch()

import sys  # noqa: E402

import eventlet.wsgi  # noqa: E402
from eventlet import websocket  # noqa: E402
from loading import listener  # noqa: E402


@websocket.WebSocketWSGI
def echo(ws):
    while True:
        message = ws.wait()
        if message is None:
            break
        ws.send(message)


eventlet.wsgi.server(listener(int(sys.argv[1]), create=eventlet.listen), echo, log_output=False, max_size=10_000)
