"""What a line of the access log may hold: the fields by name, and formats in the % style of Apache and of gunicorn.

Only what may be written is known here; server/access_format.py makes the lines.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from greenserve.errors import ConfigurationError

# Each field, and what it holds. Those that end in a dot are completed by a name.
FIELDS = {
    "time": "when the request was answered: RFC 3339, UTC",
    "remote_addr": "the client's address, as a trusted proxy has named it, or else the connection's",
    "peer_addr": "the connection's address: that of the proxy, if there is one in front",
    "method": "GET, POST and so on",
    "path": "of the request target, not decoded",
    "query": "of the request target, without the question mark",
    "target": "the request target as it was received",
    "protocol": "HTTP/1.1 or HTTP/1.0",
    "request_line": "method, target and protocol",
    "host": "the field Host",
    "status": "the status code; 499 when the client left before there was one",
    "bytes": "of the response's body",
    "duration": "seconds from the call of the application to the last byte that the client took",
    "first_byte": "seconds from the call of the application to the first byte of the response",
    "queue": "seconds from the arrival of the request to the call of the application",
    "bytes_in": "of the request's head and of what was read of its body",
    "bytes_out": "of the response's head and body",
    "tls": "the version of TLS, such as TLSv1.3",
    "request_id": "X-Request-Id, of the request or else of the response",
    "referer": "the field Referer",
    "user_agent": "the field User-Agent",
    "pid": "the process",
    "request.": "a field of the request's head, as request.accept-language",
    "response.": "a field of the response's head, as response.content-type",
    "variable.": "a variable of the connection, as variable.SSL_CIPHER",
}
DEFAULT = "default"
DEFAULT_FIELDS = (
    *("time", "remote_addr", "method", "path", "query", "protocol", "host", "status", "bytes", "duration"),
    *("referer", "user_agent"),
)
WORDS = ("combined", "json")
_FAMILIES = tuple(name for name in FIELDS if name.endswith("."))


@dataclass(frozen=True, slots=True)
class Reference:
    """The value of a field in a format. shape: how it is written where Apache or gunicorn has a way of its own."""

    field: str
    shape: str = ""


def parse_field(name: str) -> str:
    """A field's name, in the case in which it is looked up. Raises ConfigurationError."""
    family = next((family for family in _FAMILIES if name.lower().startswith(family)), None)
    if family is None:
        if name.lower() not in FIELDS:
            raise ConfigurationError(f"{name!r} is not a field; known are {', '.join(FIELDS)}")
        return name.lower()
    rest = name[len(family) :]
    if re.fullmatch(r"[\w!#$%&'*+.^`|~-]+", rest, re.ASCII) is None:
        raise ConfigurationError(f"{name!r} names no field behind {family!r}")
    return family + (rest if family == "variable." else rest.lower())


def parse_fields(names: list[str]) -> tuple[str, ...]:
    """The fields of a JSON line, in order; `default` stands for what is there by default."""
    fields = [each for name in names for each in (DEFAULT_FIELDS if name == DEFAULT else [parse_field(name)])]
    if not fields:
        raise ConfigurationError("it names no field")
    twice = {field for field in fields if fields.count(field) > 1}
    if twice:
        raise ConfigurationError(f"it names {', '.join(sorted(twice))} twice")
    return tuple(fields)


def parse_format(text: str) -> tuple[str | Reference, ...]:
    """The parts of a format: text that stands for itself, and references. Raises ConfigurationError."""
    if not text.isprintable():
        raise ConfigurationError("it holds a control character")
    parts: list[str | Reference] = []
    at = 0
    while (found := text.find("%", at)) >= 0:
        match = _DIRECTIVE.match(text, found)
        if match is None:
            raise ConfigurationError(f"{text[found : found + 20]!r} is not a directive; %% stands for a percent sign")
        parts += [text[at:found], _part(match)]
        at = match.end()
    return tuple(filter(None, [*parts, text[at:]]))


# %h %>s %{Referer}i %{ms}T as Apache has it; %(h)s %({referer}i)s as gunicorn has it; %% for a percent sign.
_DIRECTIVE = re.compile(r"%(?:(%)|\((?:\{([^{}]*)\})?([A-Za-z])\)s|[<>]?(?:\{([^{}]*)\})?([A-Za-z]))")

_COMMON: dict[str, str | Reference] = {
    "h": Reference("remote_addr"),
    "l": "-",
    "u": "-",
    "t": Reference("time", "clf"),
    "r": Reference("request_line"),
    "s": Reference("status"),
    "m": Reference("method"),
    "U": Reference("path"),
    "H": Reference("protocol"),
    "b": Reference("bytes", "dash"),
    "B": Reference("bytes"),
    "T": Reference("duration", "s"),
    "D": Reference("duration", "us"),
}
_APACHE: dict[str, str | Reference] = {
    **_COMMON,
    "a": Reference("remote_addr"),
    "q": Reference("query", "?"),
    "I": Reference("bytes_in"),
    "O": Reference("bytes_out"),
    "P": Reference("pid"),
    "v": Reference("host"),
    "V": Reference("host"),
}
_GUNICORN: dict[str, str | Reference] = {
    **_COMMON,
    "a": Reference("user_agent"),
    "f": Reference("referer"),
    "q": Reference("query"),
    "M": Reference("duration", "ms"),
    "L": Reference("duration"),
    "p": Reference("pid", "<>"),
}
_WITH_NAME: dict[tuple[str, str], Reference] = {
    ("c", "a"): Reference("peer_addr"),
    ("s", "T"): Reference("duration", "s"),
    ("ms", "T"): Reference("duration", "ms"),
    ("us", "T"): Reference("duration", "us"),
}


def _part(match: re.Match[str]) -> str | Reference:
    percent, *gunicorn, name, letter = match.groups()
    if percent:
        return percent
    letters = _APACHE
    if letter is None:
        (name, letter), letters = gunicorn, _GUNICORN
    part = letters.get(letter) if name is None else _named(name, letter)
    if part is None:
        raise ConfigurationError(
            f"{match[0]!r} is not a directive that is known here; any field is written %{{NAME}}x, such as %{{queue}}x"
        )
    return part


def _named(name: str, letter: str) -> Reference | None:
    """What stands for %{name}letter."""
    if letter in "io":
        return Reference(parse_field(("request." if letter == "i" else "response.") + name))
    if letter == "x":
        return Reference(parse_field(f"variable.{name}" if name.startswith("SSL_") else name))
    return _WITH_NAME.get((name, letter))
