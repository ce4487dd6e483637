"""What a line of the access log looks like: combined, JSON, or the fields of a format (settings/log_format.py).

Whatever a client or an application has sent is escaped: no request can forge a line, or reach a terminal raw.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii
from typing import Any, Protocol, TypeAlias

from greenserve.http.head import RequestHead
from greenserve.settings.log_format import DEFAULT_FIELDS, Reference, parse_format


class Subject(Protocol):
    """What a line is about: a RequestCycle, or a Refusal."""

    connection: Any

    @property
    def request(self) -> RequestHead | None:
        """None if its head was wrong: then the request is not known."""

    @property
    def client_address(self) -> str:
        """The client's address, or ""."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request whose head is wrong, or has not come as a whole."""

    connection: Any

    @property
    def request(self) -> None:
        """It is not known."""

    @property
    def client_address(self) -> str:
        """That of the connection."""
        address: str = self.connection.peer_address
        return address


# status: three digits; sent: bytes of body; seconds: from the call of the application to the end.
Format: TypeAlias = Callable[[Subject, str, int, float], str]

_MEASURED = ("first_byte", "queue", "bytes_out", "request_id", "response.")


def make_format(style: str, fields: tuple[str, ...] = DEFAULT_FIELDS) -> tuple[Format, bool]:
    """What makes a line, and whether it needs a MeasuredCycle for that. style: "combined", "json", or a format in the %
    style; fields: those of JSON.
    """
    if style == "combined":
        return _combined, False
    if style == "json":
        return _json_of(fields), any(map(_is_measured, fields))
    parts = parse_format(style)
    return _text_of(parts), any(_is_measured(part.field) for part in parts if isinstance(part, Reference))


def _is_measured(field: str) -> bool:
    return field.startswith(_MEASURED)


def _combined(subject: Subject, status: str, sent: int, seconds: float) -> str:
    """The Apache combined format."""
    request = subject.request
    if request is None:
        line = referer = agent = "-"
    else:
        line = f"{request.method} {request.target} HTTP/{request.http_version}"
        referer = request.cgi.get("HTTP_REFERER") or "-"
        agent = request.cgi.get("HTTP_USER_AGENT") or "-"
    return (
        f'{subject.client_address or "-"} - - [{_clf_time(int(time.time()))}] "{_escape(line)}" {status} {sent or "-"} '
        f'"{_escape(referer)}" "{_escape(agent)}"\n'
    )


def _json_of(fields: tuple[str, ...]) -> Format:
    """One JSON object. All in ASCII: what begins a new line in some reader (NEL, U+2028) or commands a terminal (C1,
    DEL) is escaped.
    """
    names = [json.dumps(name).replace("%", "%%") for name in fields]
    literal = "{" + ", ".join(f"{name}: %s" for name in names) + "}\n"
    # json.dumps of a dict takes a third more.
    return _filled(literal, [(_getter(name), _as_json) for name in fields])


def _text_of(parts: tuple[str | Reference, ...]) -> Format:
    literal = "".join("%s" if isinstance(part, Reference) else part.replace("%", "%%") for part in parts) + "\n"
    return _filled(
        literal, [(_getter(part.field), _escaped_as(part.shape)) for part in parts if isinstance(part, Reference)]
    )


def _filled(literal: str, values: list[tuple[Callable[[Entry], Value], Callable[[Any], str]]]) -> Format:
    """Lines with a value in the place of each %s: how it is found, and how it is written."""

    def write(subject: Subject, status: str, sent: int, seconds: float) -> str:
        entry = Entry(subject, status, sent, seconds)
        return literal % tuple([write_value(get(entry)) for get, write_value in values])

    return write


# -- the values


class Entry:
    """One request that is logged: what the fields are read from. Times are in seconds."""

    __slots__ = ("request", "seconds", "sent", "status", "subject")

    def __init__(self, subject: Subject, status: str, sent: int, seconds: float) -> None:
        self.subject: Any = subject
        self.request = subject.request
        self.status = status
        self.sent = sent
        self.seconds = seconds

    def field(self, name: str) -> str | None:
        """A field of the request's head."""
        return self.request.get(name) if self.request is not None else None

    def measured(self, name: str) -> Any:
        """What only measured requests have, and those only that an application has seen; None for others."""
        return getattr(self.subject, name, None)

    def between(self, begin: str, end: str) -> float | None:
        """The time between two points that were measured."""
        first, last = self.measured(begin), self.measured(end)
        return None if first is None or last is None else round(max(0.0, last - first), 6)


Value: TypeAlias = str | int | float | None


def _getter(name: str) -> Callable[[Entry], Value]:
    family, _, rest = name.partition(".")
    if family == "request" and rest:
        return lambda entry: entry.field(rest)
    if family == "response" and rest:
        return lambda entry: _response_field(entry, rest)
    if family == "variable" and rest:
        return lambda entry: _variable(entry, rest)
    return _GETTERS[name]


def _time(entry: Entry) -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _target(entry: Entry) -> str | None:
    return entry.request.target if entry.request is not None else None


def _request_line(entry: Entry) -> str | None:
    head = entry.request
    return f"{head.method} {head.target} HTTP/{head.http_version}" if head is not None else None


def _first_byte(entry: Entry) -> float | None:
    return entry.between("started", "first_byte")


def _queue(entry: Entry) -> float | None:
    return entry.between("arrived", "started")


def _bytes_in(entry: Entry) -> int:
    """Of a body that was taken in, its spool knows; of another, what it still lacks."""
    request = entry.request
    if request is None:
        return 0
    body = entry.subject.body
    if body is None:
        return request.size
    taken: int = body.spool.size if body.spool is not None else request.content_length - body.unread
    return request.size + taken


def _bytes_out(entry: Entry) -> int:
    return len(entry.measured("response_head") or b"") + entry.sent


def _response_field(entry: Entry, name: str) -> str | None:
    """Read from the head as it was sent, since that is what counts. Repeated ones are joined (RFC 9110 §5.3)."""
    lines = (entry.measured("response_head") or b"").split(b"\r\n")[1:]
    pairs = [line.decode("latin-1").partition(":") for line in lines]
    return ", ".join(value.strip(" \t") for key, _, value in pairs if key.lower() == name) or None


def _variable(entry: Entry, name: str) -> str | None:
    extra = getattr(entry.subject.connection, "extra", None) or {}
    value = extra.get(name)
    return value if isinstance(value, str) else None


_GETTERS: dict[str, Callable[[Entry], Value]] = {
    "time": _time,
    "remote_addr": lambda entry: entry.subject.client_address,
    "peer_addr": lambda entry: entry.subject.connection.peer_address,
    "method": lambda entry: entry.request.method if entry.request is not None else None,
    "path": lambda entry: entry.request.path if entry.request is not None else None,
    "query": lambda entry: entry.request.query if entry.request is not None else None,
    "target": _target,
    "protocol": lambda entry: f"HTTP/{entry.request.http_version}" if entry.request is not None else None,
    "request_line": _request_line,
    "host": lambda entry: entry.field("host"),
    "status": lambda entry: int(entry.status),
    "bytes": lambda entry: entry.sent,
    "duration": lambda entry: round(entry.seconds, 6),
    "first_byte": _first_byte,
    "queue": _queue,
    "bytes_in": _bytes_in,
    "bytes_out": _bytes_out,
    "tls": lambda entry: _variable(entry, "SSL_PROTOCOL"),
    "request_id": lambda entry: entry.field("x-request-id") or _response_field(entry, "x-request-id"),
    "referer": lambda entry: entry.field("referer"),
    "user_agent": lambda entry: entry.field("user-agent"),
    "pid": lambda entry: os.getpid(),
}


# -- as JSON and as text


def _as_json(value: Value) -> str:
    if type(value) is str:
        return encode_basestring_ascii(value).replace("\x7f", "\\u007f")
    return "null" if value is None else repr(value)


def _escaped_as(shape: str) -> Callable[[Any], str]:
    write_value = _SHAPES[shape]
    return lambda value: _escape(write_value(value))


def _plain(value: Value) -> str:
    if isinstance(value, float):
        return f"{value:.6f}"
    return "-" if value is None or value == "" else str(value)


_SHAPES: dict[str, Callable[[Any], str]] = {
    "": _plain,
    "clf": lambda _: f"[{_clf_time(int(time.time()))}]",
    "dash": lambda value: str(value or "-"),
    "?": lambda value: f"?{value}" if value else "",
    "<>": lambda value: f"<{value}>",
    "s": lambda value: str(int(value)),
    "ms": lambda value: str(int(value * 1e3)),
    "us": lambda value: str(int(value * 1e6)),
}

_MONTHS = ("", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_clf_cache = (0, "")


def _clf_time(now: int) -> str:
    """The time of a combined line, made once a second. English months whatever the locale, which strftime would
    follow.
    """
    global _clf_cache  # noqa: PLW0603 - a cache of one
    second, text = _clf_cache
    if second != now:
        moment = time.localtime(now)
        zone = time.strftime("%z", moment)
        text = (
            f"{moment.tm_mday:02d}/{_MONTHS[moment.tm_mon]}/{moment.tm_year}:{time.strftime('%H:%M:%S', moment)} {zone}"
        )
        _clf_cache = (now, text)
    return text


_UNSAFE = re.compile(r"[^ !#-\[\]-~]")  # a quote, a backslash, what is not printable ASCII


def _escape(text: str) -> str:
    return _UNSAFE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    return f"\\{character}" if character in '"\\' else f"\\x{ord(character):02x}"
