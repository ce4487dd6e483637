"""The smallest application: one function, as PEP 3333 asks for.

greenserve hello_wsgi:app
curl http://127.0.0.1:8000/
curl 'http://127.0.0.1:8000/?seconds=2'     # sleeps; start as many of these at once as you like
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from urllib.parse import parse_qs
from wsgiref.types import StartResponse, WSGIEnvironment


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    wanted = parse_qs(environ["QUERY_STRING"]).get("seconds", ["0"])[0]
    if not wanted.isdecimal() or int(wanted) > 10:
        return answer(start_response, "400 Bad Request", "seconds is a whole number from 0 to 10")
    # An ordinary, blocking call. The command has made it green: other requests go on meanwhile.
    time.sleep(int(wanted))
    return answer(start_response, "200 OK", f"Hello from {environ['SERVER_SOFTWARE']}")


def answer(start_response: StartResponse, status: str, text: str) -> list[bytes]:
    body = f"{text}\n".encode()
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [body]
