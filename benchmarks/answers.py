"""What each request must be answered with, told apart from any server. No I/O in this file."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from urllib.parse import parse_qs

from benchmarks.apps import shop
from benchmarks.traffic import Request

HELLO = b"Hello, World!"


@dataclass(frozen=True, slots=True)
class Answer:
    """body: the bytes, or the object that they are the JSON of. fields: as (name, value), those that are compared."""

    body: bytes | dict[str, object]
    status: int = 200
    fields: tuple[tuple[str, str], ...] = ()

    def has_body(self, received: bytes) -> bool:
        """Whether this is the body that was received; JSON may be spaced in any way."""
        if isinstance(self.body, bytes):
            return received == self.body
        try:
            found: object = json.loads(received)
        except ValueError:
            return False
        return found == self.body

    def size(self) -> int:
        """Bytes of body and fields, without those that a server adds."""
        body = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode("utf-8")
        return len(body) + sum(len(f"{name}: {value}\r\n") for name, value in self.fields)


def hello(_request: Request) -> Answer:
    """The same for every request."""
    return Answer(HELLO)


def page(request: Request) -> Answer:
    """What the shop's application says when it is called without a server."""
    path, _, query = request.target.partition("?")
    environ = {
        "REQUEST_METHOD": request.method,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "CONTENT_LENGTH": str(len(request.body)),
        "wsgi.input": io.BytesIO(request.body),
        "HTTP_COOKIE": request.field("Cookie"),
        "HTTP_X_REQUEST_ID": request.field("X-Request-Id"),
    }
    said: list[tuple[str, list[tuple[str, str]]]] = []
    body = b"".join(shop.page(environ, lambda status, headers: said.append((status, headers))))
    (status, headers), *_ = said
    return Answer(body, int(status[:3]), tuple(headers))


def reviews(request: Request) -> Answer:
    """What the applications with a framework say to the user who has logged in."""
    path, _, query = request.target.partition("?")
    return Answer({"product": int(path.split("/")[2]), "page": int(parse_qs(query)["page"][0]), "user": "ada"})
