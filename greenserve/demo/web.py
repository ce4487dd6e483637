"""The demo's small change of HTTP: parameters that are checked once, responses, and refusals in clear text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

Headers = list[tuple[str, str]]

NOT_CACHED = ("Cache-Control", "no-store")

_NUMBER = re.compile(r"\d{1,9}(\.\d{1,3})?", re.ASCII)  # no sign, exponent, nan or inf
_TOKEN = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)
_MAX_PARAMETERS = 16


class Refused(Exception):
    """The request cannot be served; `status` and the text are the answer."""

    def __init__(self, status: str, text: str, headers: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = list(headers)


class Body:
    """A response body that calls `on_close` exactly once, also when it was never iterated.

    A generator's own `finally` is not enough: a generator that was never started runs none of its code when closed.
    """

    def __init__(self, pieces: Iterable[bytes], on_close: Callable[[], None]) -> None:
        self._pieces = pieces
        self._on_close: Callable[[], None] | None = on_close

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._pieces)

    def close(self) -> None:
        """What PEP 3333 has the server call at the end of every response."""
        on_close, self._on_close = self._on_close, None
        if on_close is None:
            return
        try:
            close = getattr(self._pieces, "close", None)
            if close is not None:
                close()
        finally:
            on_close()


@dataclass(frozen=True, slots=True)
class Response:
    """A status such as `"200 OK"`, the headers, and the body's pieces."""

    status: str
    headers: Headers
    body: Iterable[bytes] = ()

    @classmethod
    def whole(
        cls, content: bytes, kind: str, *, status: str = "200 OK", headers: Iterable[tuple[str, str]] = ()
    ) -> Response:
        """A body that is known at once, with its length. kind: the media type."""
        length = ("Content-Length", str(len(content)))
        return cls(status, [("Content-Type", kind), length, *headers], [content])

    @classmethod
    def text(cls, text: str, *, status: str = "200 OK", headers: Iterable[tuple[str, str]] = (NOT_CACHED,)) -> Response:
        """A line of plain text."""
        return cls.whole(f"{text}\n".encode(), "text/plain; charset=utf-8", status=status, headers=headers)

    @classmethod
    def json(cls, value: Any) -> Response:
        """A JSON document."""
        return cls.whole(json_line(value), "application/json", headers=(NOT_CACHED,))

    @classmethod
    def stream(cls, pieces: Iterable[bytes], kind: str = "application/x-ndjson") -> Response:
        """A body in pieces, each of which should reach the client at once. kind: the media type."""
        # nginx gathers a proxied response into large buffers unless the response asks it not to.
        return cls("200 OK", [("Content-Type", kind), NOT_CACHED, ("X-Accel-Buffering", "no")], pieces)


class Request:
    """What the handlers ask of an environ. Parameters come from the query string; a wrong one is Refused with 400."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self.environ = environ
        query = environ.get("QUERY_STRING", "")
        try:
            self.parameters = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS))
        except ValueError:
            raise Refused("400 Bad Request", f"A query has at most {_MAX_PARAMETERS} parameters here.") from None

    @property
    def method(self) -> str:
        """The request's method, in its own case."""
        return str(self.environ["REQUEST_METHOD"])

    @property
    def path(self) -> str:
        """The path below the application's root; never empty."""
        return self.environ.get("PATH_INFO") or "/"

    def number(self, name: str, default: float, least: float, most: float, unit: str = "") -> float:
        """The parameter as a number between `least` and `most`, both included; `default` when it is absent."""
        value = self.parameters.get(name)
        if value is None:
            return default
        if not _NUMBER.fullmatch(value) or not least <= float(value) <= most:
            wanted = f"a number from {least:g} to {most:g} {unit}".rstrip()
            raise Refused("400 Bad Request", f"{name}={_quoted(value)} is not {wanted}.")
        return float(value)

    def integer(self, name: str, default: int, least: int, most: int) -> int:
        """Like `number`, for whole numbers."""
        value = self.parameters.get(name)
        if value is None:
            return default
        if not _NUMBER.fullmatch(value) or "." in value or not least <= int(value) <= most:
            raise Refused("400 Bad Request", f"{name}={_quoted(value)} is not a whole number from {least} to {most}.")
        return int(value)

    def token(self, name: str) -> str | None:
        """The parameter as an identifier of at most 64 letters, digits and dashes; None when it is absent."""
        value = self.parameters.get(name)
        if value is not None and not _TOKEN.fullmatch(value):
            raise Refused("400 Bad Request", f"{name}={_quoted(value)} is not up to 64 letters, digits and dashes.")
        return value


def json_line(value: Any) -> bytes:
    """One line of newline-delimited JSON."""
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _quoted(value: str) -> str:
    return repr(value if len(value) <= 40 else value[:40] + "…")
