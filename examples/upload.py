"""An upload of any size in little memory: the body is read in pieces and goes to a temporary file.

greenserve upload:app --max-body 2G
curl -T film.mp4 http://127.0.0.1:8000/film.mp4                                 # with a length
some-program | curl -T - http://127.0.0.1:8000/log                              # chunked: the end is not known before

The server reads the socket when the application reads `wsgi.input`, not before: a slow application slows the sender
down instead of filling memory, and a client that asks first (`Expect: 100-continue`, as curl does) is told to go on
when the application begins to read; if it refuses instead, nothing is sent in vain.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable
from typing import IO, Any
from wsgiref.types import StartResponse, WSGIEnvironment

PIECE = 64 * 1024


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    if environ["REQUEST_METHOD"] not in ("PUT", "POST"):
        return answer(start_response, "405 Method Not Allowed", {"error": "PUT a file here"}, ("Allow", "PUT, POST"))
    with tempfile.TemporaryFile() as file:
        size, digest = store(environ["wsgi.input"], file)
        # Here the file would move to its place; this example lets it go.
    return answer(start_response, "201 Created", {"name": environ["PATH_INFO"], "size": size, "sha256": digest})


def store(body: Any, file: IO[bytes]) -> tuple[int, str]:
    """Copy the body into the file. Its size and its SHA-256.

    greenserve ends `wsgi.input` where the body ends, also a chunked one (it sets `wsgi.input_terminated`): the loop
    needs no Content-Length.
    """
    size, digest = 0, hashlib.sha256()
    while piece := body.read(PIECE):
        file.write(piece)
        digest.update(piece)
        size += len(piece)
    return size, digest.hexdigest()


def answer(start_response: StartResponse, status: str, value: Any, *headers: tuple[str, str]) -> list[bytes]:
    body = json.dumps(value).encode() + b"\n"
    length = ("Content-Length", str(len(body)))
    start_response(status, [("Content-Type", "application/json"), length, *headers])
    return [body]
