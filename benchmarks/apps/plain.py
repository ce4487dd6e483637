"""The WSGI applications under load: the same code for every server.

No framework, so that what is measured is the server. `time.sleep` is green where the server's
library has patched it, as its users would have it.
"""

import time
from collections.abc import Iterable, Iterator
from wsgiref.types import StartResponse, WSGIEnvironment

PLAIN = "text/plain; charset=utf-8"
HELLO = b"Hello, World!"
CHUNKS = 20
CHUNK = b"0123456789abcdef" * 4  # 64 bytes, as a small event or a log line
MEBIBYTE = b"m" * 2**20


def hello(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", PLAIN), ("Content-Length", str(len(HELLO)))])
    return [HELLO]


def sleeper(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Waits 50 ms, as for a database or another service."""
    time.sleep(0.05)
    start_response("200 OK", [("Content-Type", PLAIN), ("Content-Length", str(len(HELLO)))])
    return [HELLO]


def stream(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Twenty chunks of no declared length. With the query `pause`, it rests for 300 ms before the last one."""
    start_response("200 OK", [("Content-Type", PLAIN)])
    return chunks(pause=environ.get("QUERY_STRING") == "pause")


def chunks(*, pause: bool) -> Iterator[bytes]:
    for _ in range(CHUNKS - 1):
        yield CHUNK
    if pause:
        time.sleep(0.3)
    yield CHUNK


def mebibyte(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", PLAIN), ("Content-Length", str(len(MEBIBYTE)))])
    return [MEBIBYTE]


def upload(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Reads the whole body and answers how many bytes that were."""
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    answer = str(len(body)).encode("ascii")
    start_response("200 OK", [("Content-Type", PLAIN), ("Content-Length", str(len(answer)))])
    return [answer]
