"""The head of a response: status line and header section; body_writer.py frames what follows.

Pure functions on text and bytes. response_headers.py has checked what the application gave; here the server's own
fields and the framing are added to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from http import HTTPStatus
from typing import Final, TypeAlias

from greenserve.errors import InvalidResponse

from .body_writer import BodyWriter, ChunkedWriter, choose_framing
from .response_headers import DATE, SERVER, CheckedHeaders, Headers, HopByHop, field_lines, server_line

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


# The head of one response. Status line to blank line; how to send the body; the octets that must follow, None where the
# head does not say; whether the connection survives this response. A tuple: one is made for every response.
ResponseHead: TypeAlias = tuple[bytes, type[BodyWriter], int | None, bool]


class DefaultHeaders:
    """What the server adds to a response's head, unless the application has set that field: Server, Date, and others.

    server: the value of Server, None for no such field. date: that of Date, such as b"Sun, 06 Nov 1994 08:49:37 GMT",
    None where no clock is at hand. others: names and values. Immutable. Raises InvalidResponse for what none may send.
    """

    __slots__ = ("_date", "_server", "others", "usual")

    def __init__(
        self, server: str | None = "greenserve", date: bytes | None = None, others: Sequence[tuple[str, str]] = ()
    ) -> None:
        self._server = b"" if server is None else server_line(server)
        lines = field_lines(others)
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

    def lines_for(self, lines: bytes, given: int) -> bytes:
        """The lines that are lacking; lines, given: as in CheckedHeaders."""
        lacking = [] if given & SERVER else [self._server]
        if not given & DATE:
            lacking.append(self._date)
        lines = lines.lower()
        return b"".join(lacking + [line for name, line in self.others if name not in lines])


_NOTHING: Final = HopByHop()


def response_head(  # all of it decides
    section: CheckedHeaders,
    to_head: bool,
    http_version: str,
    keep_alive: bool,
    body_length: int | None,
    defaults: DefaultHeaders,
) -> ResponseHead:
    """Add the server's own headers, framing and Connection (RFC 9112 §6 and §9).

    to_head: the request was HEAD. keep_alive: of the request, and wanted by the server. body_length: bytes of the whole
    body, None when unknown. Raises InvalidResponse.
    """
    _, code, lines, declared, given, hop_by_hop = section
    if hop_by_hop is not None and hop_by_hop.trailers and http_version == "1.1":
        body_length = None  # chunks have room for trailers, and nothing else has
    framing, line, length = choose_framing(code, declared, body_length, to_head, http_version)
    if hop_by_hop is not None or not keep_alive or http_version == "1.0":
        hop_by_hop = hop_by_hop or _NOTHING
        if hop_by_hop.close or framing.ends_by_close or code == 101:  # after 101 another protocol is spoken
            keep_alive = False
        line += _lines_of_this_hop(code, hop_by_hop, framing, keep_alive, http_version)
    added = defaults.lines_for(lines, given) if given or defaults.others else defaults.usual
    return lines + added + line + b"\r\n", framing, length, keep_alive


def _lines_of_this_hop(
    code: int, fields: HopByHop, framing: type[BodyWriter], keep_alive: bool, http_version: str
) -> bytes:
    """Trailer and Connection, where something is to be said."""
    lines = b""
    if fields.trailers and framing is ChunkedWriter:
        lines = b"Trailer: %b\r\n" % ", ".join(fields.trailers).encode()
    options = [b"Upgrade"] if fields.upgrade else []
    if not keep_alive and code != 101:
        options.append(b"close")
    elif keep_alive and http_version == "1.0":
        options.append(b"keep-alive")
    return lines + b"Connection: %b\r\n" % b", ".join(options) if options else lines


def check_switch(section: CheckedHeaders, offered: tuple[str, ...]) -> None:
    """Raise InvalidResponse unless a 101 switches to what the request offered (RFC 9110 §7.8).

    offered: Fields.upgrade of the request, which is empty for HTTP/1.0.
    """
    if not offered:
        raise InvalidResponse("101 answers an HTTP/1.1 request that asks for an upgrade, and this one does not")
    _, _, _, _, _, hop_by_hop = section
    protocols = () if hop_by_hop is None else hop_by_hop.protocols
    if not set(protocols) <= set(offered):
        raise InvalidResponse(f"101 switches to {', '.join(protocols)}, but the client offered {offered}")


def early_hints(headers: Headers) -> bytes:
    """A whole 103 response (RFC 8297). Raises InvalidResponse, as `checked` does."""
    return b"HTTP/1.1 103 Early Hints\r\n%b\r\n" % b"".join(field_lines(headers))


def trailers(headers: Headers, names: tuple[str, ...]) -> bytes:
    """The lines of trailer fields, `names` of which were announced. Raises InvalidResponse, as `checked` does."""
    lines = field_lines(headers)
    for name, _ in headers:
        if name.lower() not in names:
            raise InvalidResponse(
                f'the trailer {name} was not announced: give start_response the header ("Trailer", "{name}")'
            )
    return b"".join(lines)


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
