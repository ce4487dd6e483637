"""Server-Sent Events from a generator, and the page that shows them.

greenserve streaming:app
Open http://127.0.0.1:8000/ in a browser, or: curl -N http://127.0.0.1:8000/events

Every listener has a generator of its own, in a green thread of its own, that waits between two events. When the
listener goes away the server closes the generator: the `finally` below runs. When the server is told to stop it sets
`environ["greenserve.stopping"]`, and the feeds end, since it would wait for them otherwise.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from wsgiref.types import StartResponse, WSGIEnvironment

INTERVAL = 0.5  # seconds

PAGE = b"""<!doctype html>
<meta charset="utf-8">
<title>Server-Sent Events</title>
<h1>Server-Sent Events</h1>
<p>The server's time: <output id="time">waiting</output>, listeners: <output id="listeners">?</output></p>
<script>
  const events = new EventSource("events");
  events.addEventListener("tick", (event) => {
    const tick = event.data.split(" ");
    document.getElementById("time").textContent = tick[0];
    document.getElementById("listeners").textContent = tick[1];
  });
</script>
"""


class Listeners:
    count = 0


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    match environ["PATH_INFO"]:
        case "/":
            start_response("200 OK", [("Content-Type", "text/html"), ("Content-Length", str(len(PAGE)))])
            return [PAGE]
        case "/events":
            headers = [("Content-Type", "text/event-stream"), ("Cache-Control", "no-store")]
            # nginx would gather the events into a buffer; this asks it not to.
            start_response("200 OK", [*headers, ("X-Accel-Buffering", "no")])
            # A browser that lost the connection comes back with the last id that it saw.
            last = environ.get("HTTP_LAST_EVENT_ID", "")
            # Another server has no such key: there it is an event that never comes.
            stopping = environ.get("greenserve.stopping") or threading.Event()
            return events(int(last) if last.isdecimal() and len(last) < 20 else 0, stopping)
        case _:
            start_response("404 Not Found", [("Content-Type", "text/plain"), ("Content-Length", "10")])
            return [b"not found\n"]


def events(last: int, stopping: threading.Event) -> Iterator[bytes]:
    """One event after the other, until the server stops. last: the number of the event that a returning listener saw
    last.
    """
    Listeners.count += 1
    try:
        while not stopping.is_set():
            last += 1
            now = datetime.now(UTC).strftime("%H:%M:%S.%f")[:-3]
            yield f"event: tick\nid: {last}\ndata: {now} {Listeners.count}\n\n".encode()
            stopping.wait(INTERVAL)
    finally:
        Listeners.count -= 1
