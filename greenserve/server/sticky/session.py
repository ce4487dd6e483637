"""Which session a request belongs to, and which one an answer begins. No I/O.

An answer begins a session by `Set-Cookie`, or, where a query parameter names sessions, by a body whose first bytes hold
`"NAME":"VALUE"`: Engine.IO's open packet is `0{"sid":"...","upgrades":[...]}`, and most APIs that hand out a session
answer in JSON. Engine.IO's JSONP has the same with a backslash before each quote.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote_plus

from greenserve.http.head import RequestHead
from greenserve.settings.sticky import Sticky

LOOKED_AT = 1024  # bytes of a body: Engine.IO's open packet has some 100


class Rule:
    """How the setting names sessions."""

    __slots__ = ("_in_body", "_in_cookies", "_in_query", "is_cookie")

    def __init__(self, sticky: Sticky) -> None:
        name = re.escape(sticky.name)
        self.is_cookie = sticky.is_cookie
        self._in_cookies = re.compile(rf"(?:^|;)[ \t]*{name}=([^;]*)")
        self._in_query = re.compile(rf"(?:^|&){name}=([^&]+)")
        self._in_body = re.compile(rb'\\?"%b\\?"\s*:\s*\\?"([^"\\]+)\\?"' % name.encode())

    def of_request(self, head: RequestHead) -> str | None:
        """The session that a request names; None: it names none."""
        if self.is_cookie:
            cookies = head.get("cookie")
            return None if cookies is None else self._of_cookies(cookies)
        match = self._in_query.search(head.query)
        return None if match is None else unquote_plus(match[1])

    def of_headers(self, headers: Iterable[tuple[str, str]]) -> str | None:
        """The session that an answer's header begins. The last field counts, as it does for the client."""
        if not self.is_cookie:
            return None
        lines = [value.partition(";")[0] for name, value in headers if name.lower() == "set-cookie"]
        return next(filter(None, map(self._of_cookies, reversed(lines))), None)

    def of_body(self, beginning: bytes) -> str | None:
        """The session that an answer's first bytes begin."""
        match = self._in_body.search(beginning[:LOOKED_AT])
        return None if match is None else match[1].decode("latin-1")

    def _of_cookies(self, line: str) -> str | None:
        match = self._in_cookies.search(line)
        return None if match is None else match[1].strip() or None


class Beginning:
    """The first bytes of a body that comes in pieces."""

    __slots__ = ("_bytes", "_rule")

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._bytes = b""

    @property
    def is_known(self) -> bool:
        """Whether there is no need for more."""
        return len(self._bytes) >= LOOKED_AT

    def add(self, piece: bytes) -> str | None:
        """The next piece. Returns the session as soon as it is there."""
        self._bytes += piece[: LOOKED_AT - len(self._bytes)]
        session = self._rule.of_body(self._bytes)
        if session is not None:
            self._bytes = b" " * LOOKED_AT
        return session
