"""The head of a response: status line and header section; body_writer.py frames what follows.

Pure functions on text and bytes. What an application sends again and again is checked once: a section that passed is
kept, bounded, with the heads made of it; only the date is new each second.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final

from greenserve.errors import InvalidResponse

from .body_writer import BodyWriter, ChunkedWriter, choose_framing
from .grammar import DIGITS, FIELD_NAME, FIELD_VALUE, STATUS
from .trailers import announced

Headers = list[tuple[str, str]]

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

# The worst case is 512 sections of 2 KiB, with 8 heads each.
_KEPT_SIZE: Final = 2048
_KEPT_COUNT: Final = 512
_MADE_COUNT: Final = 8

# A section that is new as a whole (another length, another cookie) still repeats most of its lines.
_LINE_SIZE: Final = 256
_LINE_COUNT: Final = 1024

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


class ResponseHead:
    """The head of one response; immutable and shared.

    data: status line to blank line. framing: how to send the body. length: octets that must follow, None where the head
    does not say. keep_alive: whether the connection survives this response.
    """

    __slots__ = ("data", "framing", "keep_alive", "length")

    def __init__(self, data: bytes, framing: type[BodyWriter], length: int | None, *, keep_alive: bool) -> None:
        self.data = data
        self.framing = framing
        self.length = length
        self.keep_alive = keep_alive

    def body_writer(self) -> BodyWriter:
        """What frames the body of one such response."""
        return self.framing(self.length)

    def __repr__(self) -> str:
        return f"<ResponseHead {self.data[:60]!r} {self.framing.__name__} keep_alive={self.keep_alive}>"


_MadeKey = tuple[bool, str, bool, int | None]


class DefaultHeaders:
    """What the server adds to a response's head, unless the application has set that field: Server, Date, and others.

    server: the value of Server, None for no such field. date: that of Date, such as b"Sun, 06 Nov 1994 08:49:37 GMT",
    None where no clock is at hand. others: names and values. Immutable; a new one each second is what renews the heads
    that are kept. Raises InvalidResponse for what none may send.
    """

    __slots__ = ("_date", "_server", "others", "usual")

    def __init__(
        self, server: str | None = "greenserve", date: bytes | None = None, others: Sequence[tuple[str, str]] = ()
    ) -> None:
        self._server = b"" if server is None else _check_header(("Server", server))[0]
        lines = _lines_beside_the_head(list(others))
        self.others = [(b"\r\n%b:" % line.partition(b":")[0].lower(), line) for line in lines]
        self._set_date(date)

    def _set_date(self, date: bytes | None) -> None:
        self._date = b"" if date is None else b"Date: %b\r\n" % date
        self.usual = self._server + self._date  # for a section that has neither: nearly all are like this

    def at(self, date: bytes | None) -> DefaultHeaders:
        """The same with another date; None for no such field."""
        later = copy(self)
        later._set_date(date)
        return later

    def lines_for(self, section: CheckedHeaders) -> bytes:
        """The lines that the section lacks."""
        given = section.lines.lower()
        lines = [] if section.served else [self._server]
        if not section.dated:
            lines.append(self._date)
        return b"".join(lines + [line for name, line in self.others if name not in given])


class CheckedHeaders:
    """A status and the headers of an application that passed every check, ready to be framed."""

    __slots__ = (
        "close",
        "code",
        "dated",
        "length",
        "lines",
        "made",
        "protocols",
        "served",
        "status",
        "trailers",
        "upgrade",
    )

    def __init__(self, code: int, status: str) -> None:
        self.code = code
        self.status = status  # "200 OK"
        self.lines = b""  # status line and header lines, each with its CRLF
        self.length: int | None = None  # what Content-Length says
        self.dated = False  # the application set Date
        self.served = False  # the application set Server
        self.close = False  # the application asks for Connection: close
        self.upgrade = False  # the application said Connection: upgrade
        self.protocols: tuple[str, ...] = ()  # what Upgrade names, in lower case
        self.trailers: tuple[str, ...] = ()  # what Trailer announces, in lower case
        self.made: dict[_MadeKey, tuple[DefaultHeaders, ResponseHead]] = {}  # the last head made, and what was added

    def head(  # all of it decides, and it is called once a request
        self, to_head: bool, http_version: str, keep_alive: bool, body_length: int | None, defaults: DefaultHeaders
    ) -> ResponseHead:
        """The head to send. to_head: the request was HEAD. keep_alive: of the request, and wanted by the server.

        body_length: bytes of the whole body, None when unknown. defaults: the same object while the second lasts is
        what makes repeated heads cheap. Raises InvalidResponse.
        """
        key = (to_head, http_version, keep_alive, body_length)
        made = self.made.get(key)
        if made is not None and made[0] is defaults:
            return made[1]
        head = _frame(self, key, defaults)
        if len(self.made) >= _MADE_COUNT:
            self.made.clear()
        self.made[key] = (defaults, head)
        return head


_kept: dict[tuple[str, tuple[tuple[str, str], ...]], CheckedHeaders] = {}
_known_lines: dict[tuple[str, str], tuple[bytes, str, tuple[str, str]]] = {}


def checked(status: str, headers: Headers) -> CheckedHeaders:
    """Check what an application gave to start_response. Raises InvalidResponse, where the mistake is made, for what
    PEP 3333, RFC 9110 or RFC 9112 forbid.
    """
    try:
        section = _kept.get((status, tuple(headers)))
    except TypeError:  # something in it cannot be hashed, so it is not text
        section = None
    return section if section is not None else _check(status, headers)


def check_switch(section: CheckedHeaders, offered: tuple[str, ...]) -> None:
    """Raise InvalidResponse unless a 101 switches to what the request offered (RFC 9110 §7.8).

    offered: Fields.upgrade of the request, which is empty for HTTP/1.0.
    """
    if not offered:
        raise InvalidResponse("101 answers an HTTP/1.1 request that asks for an upgrade, and this one does not")
    if not set(section.protocols) <= set(offered):
        raise InvalidResponse(f"101 switches to {', '.join(section.protocols)}, but the client offered {offered}")


def early_hints(headers: Headers) -> bytes:
    """A whole 103 response (RFC 8297). Raises InvalidResponse, as `checked` does."""
    return b"HTTP/1.1 103 Early Hints\r\n%b\r\n" % b"".join(_lines_beside_the_head(headers))


def trailers(headers: Headers, names: tuple[str, ...]) -> bytes:
    """The lines of trailer fields, `names` of which were announced. Raises InvalidResponse, as `checked` does."""
    lines = _lines_beside_the_head(headers)
    for name, _ in headers:
        if name.lower() not in names:
            raise InvalidResponse(
                f'the trailer {name} was not announced: give start_response the header ("Trailer", "{name}")'
            )
    return b"".join(lines)


def _lines_beside_the_head(headers: Headers) -> list[bytes]:
    """The lines of fields that frame and route nothing."""
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


def _not_pairs() -> InvalidResponse:
    return InvalidResponse("the headers must be a list of (name, value) tuples, each a str")


def _frame(section: CheckedHeaders, key: _MadeKey, defaults: DefaultHeaders) -> ResponseHead:
    """Add the server's own headers, framing and Connection (RFC 9112 §6 and §9)."""
    to_head, http_version, keep_alive, body_length = key
    if section.trailers and http_version == "1.1":
        body_length = None  # chunks have room for trailers, and nothing else has
    framing, line, length = choose_framing(
        section.code, section.length, body_length, to_head=to_head, http_version=http_version
    )
    keep_alive = keep_alive and not section.close and not framing.ends_by_close
    if section.trailers and framing is ChunkedWriter:
        line += b"Trailer: %b\r\n" % ", ".join(section.trailers).encode()
    if section.code == 101:
        keep_alive = False  # the connection may live on, but with another protocol
        line += b"Connection: Upgrade\r\n"
    elif section.upgrade or not keep_alive or http_version == "1.0":
        line += _connection_line(section, keep_alive=keep_alive, http_version=http_version)
    added = defaults.lines_for(section) if section.served or section.dated or defaults.others else defaults.usual
    return ResponseHead(b"%b%b%b\r\n" % (section.lines, added, line), framing, length, keep_alive=keep_alive)


def _connection_line(section: CheckedHeaders, *, keep_alive: bool, http_version: str) -> bytes:
    options = []
    if section.upgrade:
        options.append(b"Upgrade")
    if not keep_alive:
        options.append(b"close")
    elif http_version == "1.0":
        options.append(b"keep-alive")
    return b"Connection: %b\r\n" % b", ".join(options)


def _check(status: str, headers: Headers) -> CheckedHeaders:
    """Check status and headers, and keep the section if it is small enough to be worth it."""
    if not isinstance(status, str):
        raise InvalidResponse(f"the status must be a str, not {type(status).__name__}")
    # A subclass of str may have its own idea of what it looks like (a member of an Enum, __format__) and of its case:
    # from here on the text itself counts.
    status = str.__str__(status)
    code, status_line = _check_status(status)
    section = CheckedHeaders(code, status)
    lines = [status_line]
    exact = []
    try:
        for header in headers:
            line, special, pair = _known_lines.get(header) or _check_header(header)
            exact.append(pair)
            if not special or _admit(section, special, pair[1]):
                lines.append(line)
    except TypeError:
        raise _not_pairs() from None
    if code == 101 and not (section.upgrade and section.protocols):
        raise InvalidResponse('101 needs the headers "Connection: Upgrade" and "Upgrade"')
    section.lines = b"".join(lines)
    if len(section.lines) <= _KEPT_SIZE:
        if len(_kept) >= _KEPT_COUNT:
            _kept.clear()
        _kept[status, tuple(exact)] = section
    return section


@lru_cache(maxsize=64)
def _check_status(status: str) -> tuple[int, bytes]:
    """Return the status code and the status line (RFC 9112 §4)."""
    match = STATUS.fullmatch(status)
    if match is None:
        raise InvalidResponse(f'the status must be like "200 OK", not {status[:100]!r}')
    code = int(match[1])
    if code < 200 and code != 101:
        raise InvalidResponse(f"{status[:100]} is not a final response: the server sends interim responses itself")
    return code, f"HTTP/1.1 {status}\r\n".encode("latin-1")


def _check_header(header: Any) -> tuple[bytes, str, tuple[str, str]]:
    """Return the header's line, its name in lower case if it needs a closer look, and name and value as they are.

    Raises TypeError for what is not a pair of str.
    """
    if not isinstance(header, tuple) or len(header) != 2 or not all(isinstance(text, str) for text in header):
        raise TypeError(header)
    name, value = pair = str.__str__(header[0]), str.__str__(header[1])
    if FIELD_NAME.fullmatch(name) is None:
        raise InvalidResponse(f"the header name {name[:100]!r} is not a token")
    if FIELD_VALUE.fullmatch(value) is None:
        flaw = "holds a control character" if all(c <= "\xff" for c in value) else "is not latin-1"
        raise InvalidResponse(f"the value of the header {name} {flaw}: {value[:100]!r}")
    lowered = name.lower()
    checked_line = f"{name}: {value}\r\n".encode("latin-1"), lowered if lowered in _SPECIAL else "", pair
    if len(value) <= _LINE_SIZE and lowered != "content-length":  # nearly every length is another one
        if len(_known_lines) >= _LINE_COUNT:
            _known_lines.clear()
        _known_lines[pair] = checked_line
    return checked_line


def _admit(section: CheckedHeaders, name: str, value: str) -> bool:
    """Take in what a header that frames or routes the response means; return whether to send it as it is."""
    if name == "content-length":
        return _admit_length(section, value)
    if name == "date":
        if section.dated:
            raise InvalidResponse("the header Date is repeated")
        section.dated = True
    elif name == "server":
        section.served = True
    elif name == "connection":
        _admit_connection(section, value)
        return False
    elif name == "upgrade":
        if section.code not in _UPGRADING:
            raise InvalidResponse("the header Upgrade is for the statuses 101 and 426 only")
        section.protocols += tuple(filter(None, [each.strip(" \t") for each in value.lower().split(",")]))
    elif name == "trailer":
        section.trailers += announced(value)
        return False
    elif name == "transfer-encoding":
        raise InvalidResponse(
            "the application must not set Transfer-Encoding: leave it out, and the server sends a body of unknown "
            "length in chunks"
        )
    else:  # one of _ONE_HOP
        raise InvalidResponse(f"the hop-by-hop header {name} is the server's: the application must leave it out")
    return True


def _admit_length(section: CheckedHeaders, value: str) -> bool:
    value = value.strip(" \t")
    if DIGITS.fullmatch(value) is None:
        raise InvalidResponse(f"Content-Length must be a number of bytes, not {value[:100]!r}")
    length, earlier = int(value), section.length
    if earlier is not None and earlier != length:
        raise InvalidResponse(f"Content-Length is given twice, as {earlier} and as {length}")
    section.length = length
    # RFC 9110 §8.6: never with 1xx and 204. Frameworks set it to 0 there, so it is dropped, not refused.
    return earlier is None and section.code not in {101, 204}


def _admit_connection(section: CheckedHeaders, value: str) -> None:
    """PEP 3333 forbids Connection; frameworks set it nevertheless, and mean something that can be done."""
    for option in value.lower().split(","):
        option = option.strip(" \t")
        if option == "close":
            section.close = True
        elif option == "upgrade" and section.code in _UPGRADING:
            section.upgrade = True
        elif option not in {"", "keep-alive"}:
            raise InvalidResponse(f'the application may set Connection to "close" only, not to {value[:100]!r}')


def status_line(status: int) -> str:
    """Status and reason as start_response takes them: "404 Not Found". An unregistered one is "Unknown"."""
    reason = _REASONS.get(status)
    if reason is None:
        try:
            reason = HTTPStatus(status).phrase
        except ValueError:
            reason = "Unknown"
    return f"{status} {reason}"


# RFC 9110 §15 renamed these; older Pythons have the older names.
_REASONS: Final = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}
