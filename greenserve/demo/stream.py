"""A response in pieces: a generator that yields, sleeps, and yields again."""

from __future__ import annotations

import time
from collections.abc import Iterator

from greenserve.demo.web import Request, Response, json_line

MAX_PIECES = 100
MAX_INTERVAL = 5.0  # seconds

WORDS = (
    "A generator yields a line,",
    "and the server sends it at once.",
    "Then it sleeps,",
    "in plain time.sleep,",
    "and no other request waits for it:",
    "its green thread has stepped aside",
    "for every other request.",
    "When its time has come",
    "it goes on where it left off.",
    "This was the last piece.",
)


def stream(request: Request) -> Response:
    """Send lines of JSON, one every `interval` seconds, each as soon as it exists."""
    pieces = request.integer("pieces", len(WORDS), 1, MAX_PIECES)
    interval = request.number("interval", 0.3, 0.0, MAX_INTERVAL, "seconds")
    return Response.stream(lines(pieces, interval))


def lines(pieces: int, interval: float) -> Iterator[bytes]:
    """The body of `stream`: an ordinary generator."""
    begin = time.monotonic()
    for number in range(pieces):
        if number:
            time.sleep(interval)
        elapsed = time.monotonic() - begin
        yield json_line(
            {"number": number + 1, "of": pieces, "sent": round(elapsed, 3), "text": WORDS[number % len(WORDS)]}
        )
