"""What an application gives to start_response, checked: status and headers become lines that are ready to be sent.

Strategy. Nearly all of it is plain, and `plain_response` proves that in one pass, compiled where this installation has
the codec. Of what is not provably plain the rules below it judge one by one, and say what is wrong. Nothing is kept
from one response to the next: to look it up would cost as much as to check it again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, TypeAlias

from greenserve import codec
from greenserve.errors import InvalidResponse

from .grammar import DIGITS, FIELD_NAME, FIELD_VALUE, STATUS
from .trailers import announced

Headers = list[tuple[str, str]]

# PEP 3333 forbids an application the fields of one hop (RFC 9110 §7.6.1); Connection and Upgrade are looked at closer.
_ONE_HOP: Final = frozenset(("keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailers"))
_SPECIAL: Final = _ONE_HOP | {
    "connection",
    "content-length",
    "date",
    "server",
    "trailer",
    "transfer-encoding",
    "upgrade",
}

# Upgrade may stand where the protocol changes, and where 426 says to which it would have to (RFC 9110 §7.8, §15.5.22).
_UPGRADING: Final = frozenset((101, 426))

# What a name is to `plain_response`; the first two are the bits of CheckedHeaders, too.
SERVER: Final = 1
DATE: Final = 2
_LENGTH: Final = 3
_ORDINARY: Final = 4
_NOT_PLAIN: Final = 5
_KINDS: Final = dict.fromkeys(_SPECIAL, _NOT_PLAIN) | {"server": SERVER, "date": DATE, "content-length": _LENGTH}

_LENGTH_DIGITS: Final = 18  # of Content-Length: any number of so many fits into 64 bits

# An application has few names, and all of its responses have them.
_NAME_SIZE: Final = 64
_NAME_COUNT: Final = 256


@dataclass(slots=True)
class HopByHop:
    """What the fields of one hop mean, those of them that an application may set.

    close: Connection asks for it. upgrade: Connection names Upgrade. protocols: what Upgrade names, in lower case.
    trailers: what Trailer announces, in lower case.
    """

    close: bool = False
    upgrade: bool = False
    protocols: tuple[str, ...] = ()
    trailers: tuple[str, ...] = ()


# The status and the headers of an application, which passed every check: ready to be framed. Status, such as "200 OK";
# code; status line and header lines, each with its CRLF; what Content-Length says; the bits SERVER and DATE, where the
# application has set these; the fields of one hop, None for what is plain. A tuple: one is made for every response.
CheckedHeaders: TypeAlias = tuple[str, int, bytes, int | None, int, HopByHop | None]


def checked(status: str, headers: Headers) -> CheckedHeaders:
    """Check what an application gave to start_response. Raises InvalidResponse, where the mistake is made, for what
    PEP 3333, RFC 9110 or RFC 9112 forbid.
    """
    return plain_response(status, headers) or _check(status, headers)


# -- what is plain

_CODES: Final = {f"{status.value} {status.phrase}": status.value for status in HTTPStatus if status.value >= 200}
_names: dict[str, int] = {}


def plain_response_in_python(status: Any, headers: Any) -> CheckedHeaders | None:
    """CheckedHeaders for what is plain; None for anything else, right or wrong.

    Plain is a list of pairs of str, not of subclasses, in printable ASCII: a final status; tokens as names, none of
    which belongs to one hop; at most one Date; at most one Content-Length, of 18 digits at most, and none with 204.
    """
    if type(status) is not str or type(headers) is not list:
        return None
    code = _CODES.get(status) or _final_code(status)
    length, given, text = None, 0, "HTTP/1.1 " + status
    for pair in headers:
        if type(pair) is not tuple or len(pair) != 2:
            return None
        name, value = pair
        if type(name) is not str or type(value) is not str or not value.isprintable():
            return None
        kind = _names.get(name) or _kind(name)
        if kind != _ORDINARY:
            if kind == _LENGTH and length is None and value.isdecimal() and len(value) <= _LENGTH_DIGITS:
                length = int(value)
            elif kind == SERVER or (kind == DATE and not given & DATE):
                given |= kind
            else:
                return None
        text += f"\r\n{name}: {value}"
    if not code or not text.isascii() or (code == 204 and length is not None):
        return None
    return status, code, f"{text}\r\n".encode("ascii"), length, given, None


def _final_code(status: str) -> int:
    """The status code; 0 for what is not a plain status."""
    match = STATUS.fullmatch(status)
    return 0 if match is None or status < "2" or not status.isprintable() else int(match[1])


def _kind(name: str) -> int:
    """What a name is that was not met before, or that there was no room for."""
    kind = _NOT_PLAIN if FIELD_NAME.fullmatch(name) is None else _KINDS.get(name.lower(), _ORDINARY)
    if len(name) <= _NAME_SIZE and len(_names) < _NAME_COUNT:
        _names[name] = kind
    return kind


plain_response = plain_response_in_python if codec.compiled is None else codec.compiled.plain_response


# -- what is not


@dataclass(slots=True)
class _Found:
    """What the fields mean that frame or route the response, while they are gone through."""

    code: int
    length: int | None = None
    given: int = 0
    hop_by_hop: HopByHop = field(default_factory=HopByHop)


def _check(status: str, headers: Headers) -> CheckedHeaders:
    if not isinstance(status, str):
        raise InvalidResponse(f"the status must be a str, not {type(status).__name__}")
    # A subclass of str may have its own idea of what it looks like (a member of an Enum, __format__) and of its case:
    # from here on the text itself counts.
    status = str.__str__(status)
    found = _Found(_check_status(status))
    lines = [f"HTTP/1.1 {status}\r\n".encode("latin-1")]
    try:
        for header in headers:
            line, special, value = _check_header(header)
            if not special or _admit(found, special, value):
                lines.append(line)
    except TypeError:
        raise _not_pairs() from None
    hop = found.hop_by_hop
    if found.code == 101 and not (hop.upgrade and hop.protocols):
        raise InvalidResponse('101 needs the headers "Connection: Upgrade" and "Upgrade"')
    return status, found.code, b"".join(lines), found.length, found.given, hop


def field_lines(headers: Iterable[tuple[str, str]]) -> list[bytes]:
    """The lines of fields that frame and route nothing. Raises InvalidResponse, as `checked` does."""
    lines = []
    for header in headers:
        try:
            line, special, _ = _check_header(header)
        except TypeError:
            raise _not_pairs() from None
        if special:
            raise InvalidResponse(f"the header {special} belongs into the head of the response, and nowhere else")
        lines.append(line)
    return lines


def server_line(value: str) -> bytes:
    """The line that names the server. Raises InvalidResponse."""
    return _check_header(("Server", value))[0]


def _not_pairs() -> InvalidResponse:
    return InvalidResponse("the headers must be a list of (name, value) tuples, each a str")


def _check_status(status: str) -> int:
    """Return the status code (RFC 9112 §4)."""
    match = STATUS.fullmatch(status)
    if match is None:
        raise InvalidResponse(f'the status must be like "200 OK", not {status[:100]!r}')
    code = int(match[1])
    if code < 200 and code != 101:
        raise InvalidResponse(f"{status[:100]} is not a final response: the server sends interim responses itself")
    return code


def _check_header(header: Any) -> tuple[bytes, str, str]:
    """Return the header's line, its name in lower case if it needs a closer look, and its value.

    Raises TypeError for what is not a pair of str.
    """
    if not isinstance(header, tuple) or len(header) != 2 or not all(isinstance(text, str) for text in header):
        raise TypeError(header)
    name, value = str.__str__(header[0]), str.__str__(header[1])
    if FIELD_NAME.fullmatch(name) is None:
        raise InvalidResponse(f"the header name {name[:100]!r} is not a token")
    if FIELD_VALUE.fullmatch(value) is None:
        flaw = "holds a control character" if all(c <= "\xff" for c in value) else "is not latin-1"
        raise InvalidResponse(f"the value of the header {name} {flaw}: {value[:100]!r}")
    lowered = name.lower()
    return f"{name}: {value}\r\n".encode("latin-1"), lowered if lowered in _SPECIAL else "", value


def _admit(found: _Found, name: str, value: str) -> bool:
    """Take in what a header that frames or routes the response means; return whether to send it as it is."""
    if name == "content-length":
        return _admit_length(found, value)
    if name == "date":
        if found.given & DATE:
            raise InvalidResponse("the header Date is repeated")
        found.given |= DATE
    elif name == "server":
        found.given |= SERVER
    elif name == "connection":
        _admit_connection(found, value)
        return False
    elif name == "upgrade":
        if found.code not in _UPGRADING:
            raise InvalidResponse("the header Upgrade is for the statuses 101 and 426 only")
        found.hop_by_hop.protocols += tuple(filter(None, [each.strip(" \t") for each in value.lower().split(",")]))
    elif name == "trailer":
        found.hop_by_hop.trailers += announced(value)
        return False
    elif name == "transfer-encoding":
        raise InvalidResponse(
            "the application must not set Transfer-Encoding: leave it out, and the server sends a body of unknown "
            "length in chunks"
        )
    else:  # one of _ONE_HOP
        raise InvalidResponse(f"the hop-by-hop header {name} is the server's: the application must leave it out")
    return True


def _admit_length(found: _Found, value: str) -> bool:
    value = value.strip(" \t")
    if DIGITS.fullmatch(value) is None or len(value) > _LENGTH_DIGITS:
        raise InvalidResponse(f"Content-Length must be a number of bytes, not {value[:100]!r}")
    length, earlier = int(value), found.length
    if earlier is not None and earlier != length:
        raise InvalidResponse(f"Content-Length is given twice, as {earlier} and as {length}")
    found.length = length
    # RFC 9110 §8.6: never with 1xx and 204. Frameworks set it to 0 there, so it is dropped, not refused.
    return earlier is None and found.code not in {101, 204}


def _admit_connection(found: _Found, value: str) -> None:
    """PEP 3333 forbids Connection; frameworks set it nevertheless, and mean something that can be done."""
    for option in value.lower().split(","):
        option = option.strip(" \t")
        if option == "close":
            found.hop_by_hop.close = True
        elif option == "upgrade" and found.code in _UPGRADING:
            found.hop_by_hop.upgrade = True
        elif option not in {"", "keep-alive"}:
            raise InvalidResponse(f'the application may set Connection to "close" only, not to {value[:100]!r}')
