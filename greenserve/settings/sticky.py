"""What keeps the requests of a session in one worker: a query parameter, or a cookie."""

from __future__ import annotations

import re
from dataclasses import dataclass

from greenserve.errors import ConfigurationError

STICKY_FORM = "a query parameter such as sid (which is Socket.IO's), or cookie:NAME"
_COOKIE = "cookie:"
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")  # RFC 6265 §4.1.1: a token of RFC 9110 §5.6.2


@dataclass(frozen=True, slots=True)
class Sticky:
    """name: of the query parameter, or of the cookie, whose value is a session's."""

    name: str
    is_cookie: bool = False

    def __str__(self) -> str:
        return _COOKIE * self.is_cookie + self.name


def parse_sticky(value: object) -> Sticky:
    """Raises ConfigurationError."""
    if isinstance(value, Sticky):
        return value
    if not isinstance(value, str):
        raise ConfigurationError(f"it is of type {type(value).__name__}")
    text = value.strip()
    is_cookie = text.lower().startswith(_COOKIE)
    name = text[len(_COOKIE) :].strip() if is_cookie else text
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"it names no {'cookie' if is_cookie else 'query parameter'}")
    return Sticky(name, is_cookie)
