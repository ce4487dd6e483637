"""gevent-websocket, as its documentation says. python ws_gevent.py PORT"""

from gevent import monkey

monkey.patch_all()

import sys  # noqa: E402

from gevent.pywsgi import WSGIServer  # noqa: E402
from geventwebsocket.handler import WebSocketHandler  # noqa: E402
from loading import listener  # noqa: E402


def echo(environ, start_response):
    ws = environ["wsgi.websocket"]
    while True:
        message = ws.receive()
        if message is None:
            break
        ws.send(message)
    return []


WSGIServer(listener(int(sys.argv[1])), echo, log=None, handler_class=WebSocketHandler).serve_forever()
