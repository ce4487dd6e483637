"""Error responses that the server makes by itself: in text, HTML or JSON (RFC 9457), whichever the client prefers.

Pure. `detail` may quote what a client has sent, so it is escaped for each type. An operator's own pages are fixed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from html import escape
from typing import Final

from greenserve.errors import InvalidResponse

from .accept import weights
from .head import RequestHead
from .response import DefaultHeaders, response_head, status_line
from .response_headers import checked

NO_DEFAULTS: Final = DefaultHeaders()
_COMMANDS: Final = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")  # to the terminal in which it may be read
NO_PAGES: Final[Mapping[int, bytes]] = {}


def error_response(
    status: int,
    detail: str,
    *,
    request: RequestHead | None = None,
    defaults: DefaultHeaders = NO_DEFAULTS,
    headers: Sequence[tuple[str, str]] = (),
    pages: Mapping[int, bytes] = NO_PAGES,
) -> bytes:
    """Return a whole response that ends the connection.

    detail: one sentence for the reader. request: None where its head is wrong or not complete: such a client gets
    text. headers: further ones that the status asks for. pages: an operator's own, in HTML, by status.

    The headers are checked like those of any response: raises InvalidResponse for a status or headers that none may
    have.
    """
    line = status_line(status)
    section = checked(line, list(headers))
    if status == 101:
        raise InvalidResponse("101 cannot report an error")
    has_type = any(name.lower() == "content-type" for name, _ in headers)
    accept = "text/plain" if request is None or has_type else request.get("accept")
    content_type, body = error_body(status, detail, accept, pages)
    if not has_type:
        vary = [] if request is None else [("Vary", "Accept")]
        section = checked(line, [("Content-Type", content_type), *vary, *headers])
    to_head = request is not None and request.method == "HEAD"
    head, framing, length, _ = response_head(section, to_head, "1.1", False, len(body), defaults)
    return head + framing(length).write(body)


def error_body(
    status: int, detail: str, accept: str | None, pages: Mapping[int, bytes] = NO_PAGES
) -> tuple[str, bytes]:
    """The Content-Type and the body of an error for a client with that Accept; for the rest see `error_response`."""
    page = pages.get(status)
    media_type = preferred(accept, html=page is not None)
    if page is None or media_type != "text/html":
        harmless = _COMMANDS.sub(lambda match: ascii(match[0])[1:-1], detail)
        page = _BODIES[media_type](status_line(status), harmless)
    return _CONTENT_TYPES[media_type], page


@lru_cache(maxsize=64)
def preferred(accept: str | None, *, html: bool = False) -> str:
    """Which of text/plain, text/html and application/problem+json an Accept prefers (RFC 9110 §12.5.1).

    Among equals what the client names wins over what a wildcard lets in, and then HTML over JSON over text. html: there
    is a page of the operator's, which a client gets that takes everything. One that takes none of them gets text.
    """
    given = weights(accept or "*/*")
    best, found = (0.0, True, 0), "text/plain"  # what has no weight is not wanted
    for rank, (media_type, names) in enumerate(_NAMES.items()):
        wild = given.get(names[0].partition("/")[0] + "/*", given.get("*/*", 0.0))
        named = [given[name] for name in names if name in given]
        by_wildcard = (wild, False, 1 if media_type == ("text/html" if html else "text/plain") else 0)
        offer = (max(named), True, -rank) if named else by_wildcard
        if offer > best:
            best, found = offer, media_type
    return found


_NAMES: Final = {
    "text/html": ("text/html", "application/xhtml+xml"),
    "application/problem+json": ("application/problem+json", "application/json"),
    "text/plain": ("text/plain",),
}


def _text(line: str, detail: str) -> bytes:
    return f"{line}\n\n{detail}\n".encode("utf-8", "replace")


def _html(line: str, detail: str) -> bytes:
    page = (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{escape(line)}</title>\n'
        f"<h1>{escape(line)}</h1>\n<p>{escape(detail)}</p></html>\n"
    )
    return page.encode("utf-8", "replace")


def _problem(line: str, detail: str) -> bytes:
    """RFC 9457 §4.2.1: about:blank, whose title is the status's phrase."""
    code, _, phrase = line.partition(" ")
    problem = {"type": "about:blank", "title": phrase, "status": int(code), "detail": detail}
    return json.dumps(problem).encode() + b"\n"


_BODIES: Final[dict[str, Callable[[str, str], bytes]]] = {
    "text/plain": _text,
    "text/html": _html,
    "application/problem+json": _problem,
}
_CONTENT_TYPES: Final = {
    "text/plain": "text/plain; charset=utf-8",
    "text/html": "text/html; charset=utf-8",
    "application/problem+json": "application/problem+json",
}
