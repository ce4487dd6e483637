"""HTTP by callback: a function of a request becomes a WSGI application (`Server.on_request`)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias
from urllib.parse import parse_qs
from wsgiref.headers import Headers

from greenserve.http.response import status_line
from greenserve.wsgi.environ import Environ

TEXT = "text/plain; charset=utf-8"
BINARY = "application/octet-stream"


class Request:
    """What a client asks for. environ: all that PEP 3333 says of it."""

    def __init__(self, environ: Environ) -> None:
        self.environ = environ

    @property
    def method(self) -> str:
        """GET, POST and so on."""
        return str(self.environ["REQUEST_METHOD"])

    @cached_property
    def path(self) -> str:
        """The path, percent-decoded, without the query. What is not UTF-8 has replacement characters."""
        path: str = self.environ["SCRIPT_NAME"] + self.environ["PATH_INFO"]
        return path.encode("latin-1").decode("utf-8", "replace")

    @cached_property
    def query(self) -> dict[str, list[str]]:
        """The query's names, and all values of each."""
        return parse_qs(self.environ["QUERY_STRING"], keep_blank_values=True)

    @cached_property
    def headers(self) -> Headers:
        """The header fields; `request.headers["user-agent"]` is None when there is no such field."""
        fields = [
            (key.removeprefix("HTTP_").replace("_", "-").title(), value)
            for key, value in self.environ.items()
            if key.startswith("HTTP_") or key in ("CONTENT_TYPE", "CONTENT_LENGTH")
        ]
        return Headers(fields)

    @cached_property
    def body(self) -> bytes:
        """All of the body. It is read from the client now; a large one is better read from
        `environ["wsgi.input"]`, piece by piece.
        """
        data: bytes = self.environ["wsgi.input"].read()
        return data

    def json(self) -> Any:
        """The body as JSON. Raises ValueError when it is none."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Response:
    """What a client is answered.

    body: str is sent as UTF-8; an iterable of bytes is sent piece by piece. headers: pairs, or a mapping; a
    Content-Type is added when there is none.

    >>> greenserve.Response("not here", 404).start[0]
    '404 Not Found'
    """

    body: str | bytes | Iterable[bytes] = b""
    status: int = 200
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = ()

    @property
    def start(self) -> tuple[str, list[tuple[str, str]]]:
        """The status line and the header fields, as `start_response` takes them."""
        fields = list(self.headers.items() if isinstance(self.headers, Mapping) else self.headers)
        if self.body != b"" and not any(name.lower() == "content-type" for name, _ in fields):
            fields.append(("Content-Type", TEXT if isinstance(self.body, str) else BINARY))
        return status_line(self.status), fields

    @property
    def pieces(self) -> Iterable[bytes]:
        """The body, as a WSGI application returns it."""
        if isinstance(self.body, str):
            return [self.body.encode()]
        return [self.body] if isinstance(self.body, bytes) else self.body


Answer: TypeAlias = Response | str | bytes | Iterable[bytes] | None
HandleRequest: TypeAlias = Callable[[Request], Answer]
HandleError: TypeAlias = Callable[[Request, Exception], Answer]


def application_of(
    handle: HandleRequest, handle_error: HandleError | None
) -> Callable[[Environ, Callable[..., Any]], Iterable[bytes]]:
    """A WSGI application that answers what `handle(request)` returns, or else `handle_error(request, error)`."""

    def application(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ)
        try:
            response = _response_of(handle(request))
        except Exception as error:
            if handle_error is None:
                raise
            response = _response_of(handle_error(request, error))
        start_response(*response.start)
        return response.pieces

    return application


def _response_of(answer: Answer) -> Response:
    if isinstance(answer, Response):
        return answer
    if answer is None:
        return Response(status=204)
    # What iterates, but not over the pieces of a body, is a mistake that is better named here.
    if hasattr(answer, "__iter__") and not isinstance(answer, Mapping | bytearray | memoryview):
        return Response(answer)
    raise TypeError(f"a request is answered by a Response, str, bytes, an iterable of bytes, or None; not {answer!r}")
