"""The page: files inside the package, read once, and served with a validator so that reloads cost nothing."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from importlib import resources
from typing import Any

from greenserve.demo.web import Refused, Request, Response

# Everything comes from this server: no script, style, font or connection from elsewhere. 'self' includes ws: to the
# same host (CSP level 3).
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


def asset(name: str, kind: str) -> Callable[[Request], Response]:
    """A handler that serves the file `name` of `page/`, or 304 to a client that has it (RFC 9110 §13.1.2).

    kind: the media type.
    """
    content = resources.files("greenserve.demo").joinpath("page", name).read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    # no-cache means: keep it, but ask each time. A page of a new version never meets a script of the old one.
    headers = [("ETag", tag), ("Cache-Control", "no-cache")]

    def serve(request: Request) -> Response:
        if _matches(request.environ.get("HTTP_IF_NONE_MATCH", ""), tag):
            return Response("304 Not Modified", headers)
        return Response.whole(content, kind, headers=headers)

    return serve


def _matches(condition: str, tag: str) -> bool:
    # The comparison is the weak one (RFC 9110 §8.8.3.2): a W/ before the tag does not matter.
    tags = [candidate.strip().removeprefix("W/") for candidate in condition.split(",")]
    return tag in tags or condition.strip() == "*"


def source(functions: dict[str, Callable[..., Any]]) -> Callable[[Request], Response]:
    """A handler that shows the code of the given functions, so that the page quotes what really runs."""

    def serve(request: Request) -> Response:
        name = request.parameters.get("of", "")
        if name not in functions:
            raise Refused("404 Not Found", f"Code can be seen of: {', '.join(sorted(functions))}.")
        return Response.text(inspect.getsource(functions[name]).rstrip())

    return serve
