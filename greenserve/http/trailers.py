"""The trailer section: fields behind a chunked body, which may not change how the message is read (RFC 9110 §6.5).

Pure functions. What a client sends stays apart from the header section, and is filtered here. What an application sends
must have been announced by `Trailer`: http/response_headers.py checks the rest.
"""

from __future__ import annotations

from typing import Final

from greenserve.errors import InvalidResponse

from .fields import Items
from .grammar import METHOD as TOKEN

# RFC 9110 §6.5.1: what a recipient must know before the content. It names the kinds; RFC 7230 §4.1.2 named the fields.
FORBIDDEN: Final = frozenset(
    (
        # framing, routing, one hop alone
        *("connection", "content-length", "host", "keep-alive", "proxy-connection", "te", "trailer"),
        *("transfer-encoding", "upgrade", "via", "forwarded"),
        *("x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix", "x-forwarded-proto"),
        # request modifiers
        *("cache-control", "expect", "if-match", "if-modified-since", "if-none-match", "if-range"),
        *("if-unmodified-since", "max-forwards", "pragma", "range"),
        # authentication and state
        *("authentication-info", "authorization", "cookie", "origin", "proxy-authenticate"),
        *("proxy-authentication-info", "proxy-authorization", "set-cookie", "www-authenticate"),
        # response controls
        *("age", "date", "expires", "location", "retry-after", "vary", "warning"),
        # the format of the content
        *("content-encoding", "content-range", "content-type"),
    )
)


def permitted(items: Items) -> Items:
    """Of a client's trailer fields those that an application may be shown: it could take one for a header field."""
    return tuple(item for item in items if item[0] not in FORBIDDEN)


def announced(value: str) -> tuple[str, ...]:
    """The names, in lower case, that a response's `Trailer` announces (RFC 9110 §6.6.2). Raises InvalidResponse."""
    names = tuple(filter(None, [name.strip(" \t") for name in value.lower().split(",")]))
    for name in names:
        if TOKEN.fullmatch(name) is None:
            raise InvalidResponse(f"Trailer announces {name[:100]!r}, which is not a field name")
        if name in FORBIDDEN:
            raise InvalidResponse(f"Trailer announces {name}, which RFC 9110 (6.5.1) allows in the header section only")
    return names
