"""A room that every client is in, and a request that broadcasts to it: /go?count=20&size=125&interval=0"""

import time
from urllib.parse import parse_qs

from greenserve import rooms, websocket

ROOM = rooms.get("everybody")


@websocket.handler
def stay(ws):
    with ROOM.joined(ws):
        for _ in ws:
            pass


def app(environ, start_response):
    if environ["PATH_INFO"] != "/go":
        return stay(environ, start_response)
    query = {name: float(values[0]) for name, values in parse_qs(environ["QUERY_STRING"]).items()}
    for _ in range(int(query["count"])):
        ROOM.broadcast(f"@{time.monotonic_ns()}@".ljust(int(query["size"]), "x"))
        time.sleep(query["interval"])
    start_response("200 OK", [("Content-Length", "0")])
    return []
