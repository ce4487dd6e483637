"""What the attackers and the healthy client ask for."""

from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

LARGE = b"m" * 2**20


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """`/`: a word. `/large`: a mebibyte. `/echo`: the length of the body, which is read."""
    path, answer = environ["PATH_INFO"], b"Hello, World!"
    if path == "/large":
        answer = LARGE
    elif path == "/echo":
        answer = str(len(environ["wsgi.input"].read())).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(answer)))])
    return [answer]
