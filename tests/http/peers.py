"""h11 and httptools (llhttp, Node's parser) read what we accept: the same methods, targets, fields, bodies and ends.

A peer may refuse what we accept, and then for one of the reasons in REFUSALS; what it accepts it must read as we do,
but for TUNNELS. So no difference lets two servers disagree on where a request ends.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import h11
import httptools

from .support import Message, play

REFUSALS = {
    # llhttp's words -> why we accept it
    "Invalid method encountered": "RFC 9110 §9.1: the methods are open-ended; llhttp has a list of its own",
    "Expected space after method": "the same",
    "Expected HTTP/": "llhttp knows ICE's and RTSP's requests too, which have other methods",
    "Invalid HTTP version": "RFC 9110 §2.5: a higher minor version is served as the highest that is known",
    "Invalid header value char": "RFC 9110 §5.5: control characters other than CR, LF and NUL may be kept",
    "Invalid character in chunk size": "RFC 9112 §7.1.1: space around an extension's ';' and '=' must be skipped",
    "Invalid character in chunk extensions": "the same",
    "Content-Length can't be present with Transfer-Encoding": "in a trailer, which we keep apart from the fields",
    "Invalid `Transfer-Encoding` header value": "the same",
    # h11's
    "too many Transfer-Encoding headers": "the same: h11 takes a trailer's fields for the message's",
    "conflicting Content-Length headers": "the same",
    "bad Content-Length": "the same",
    "multiple Transfer-Encodings not supported": "the same",
    "Only Transfer-Encoding: chunked is supported": "the same",
}

TUNNELS = (
    "llhttp leaves what follows CONNECT, or a request to upgrade, to another protocol; we decide that by the answer"
)

SPACED_EXTENSION = re.compile(rb"(?<=\n)([0-9A-Fa-f]+)[ \t]+;")  # h11 does not skip that space: RFC 9110 §5.6.3


@dataclass
class Read:
    """A request as a parser reads it: field names in lower case, and what no parser keeps left out."""

    method: str
    target: str = ""
    fields: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    version: str = "1.1"
    whole: bool = False

    def plain(self) -> tuple[Any, ...]:
        """To be compared. We replace Host by the authority of a target (RFC 9112 §3.2.2), h11 writes a coding small."""
        origin = self.target.startswith(("/", "*"))
        fields = [(name, value) for name, value in _small(self.fields) if name != "host" or origin]
        version = "1.0" if self.version == "1.0" else "1.1"  # RFC 9110 §2.5
        return self.method, self.target, version, fields, self.body, _small(self.trailers)


def _small(fields: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value.lower() if name == "transfer-encoding" else value) for name, value in fields]


class _Listener:
    """What httptools calls."""

    def __init__(self) -> None:
        self.requests: list[Read] = []
        self._in_trailer = False
        self.parser = httptools.HttpRequestParser(self)

    def on_message_begin(self) -> None:
        self.requests.append(Read(""))
        self._in_trailer = False

    def on_url(self, url: bytes) -> None:
        self.requests[-1].target += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        request = self.requests[-1]
        entry = name.decode("latin-1").lower(), value.decode("latin-1").strip("\t ")
        (request.trailers if self._in_trailer else request.fields).append(entry)

    def on_headers_complete(self) -> None:
        self.requests[-1].method = self.parser.get_method().decode()
        self.requests[-1].version = self.parser.get_http_version()
        self._in_trailer = True

    def on_body(self, body: bytes) -> None:
        self.requests[-1].body += body

    def on_message_complete(self) -> None:
        self.requests[-1].whole = True


def httptools_reads(data: bytes) -> tuple[list[Read], str]:
    """The whole requests that httptools finds, and why it went no further: its error, TUNNELS, or ""."""
    listener, why = _Listener(), ""
    try:
        listener.parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        why = TUNNELS
    except httptools.HttpParserError as error:
        why = str(error)
    return [request for request in listener.requests if request.whole], why


def h11_reads(data: bytes) -> tuple[list[Read], str]:
    """The same, by h11."""
    found = []
    while data := data.lstrip(b"\r\n"):  # h11 refuses the blank lines that RFC 9112 §2.2 asks to skip
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        connection.receive_data(data)
        request = Read("")
        try:
            while not isinstance(event := connection.next_event(), h11.EndOfMessage):
                if isinstance(event, h11.Request):
                    request.method, request.target = event.method.decode(), event.target.decode()
                    request.fields, request.version = _decoded(event.headers), event.http_version.decode()
                elif isinstance(event, h11.Data):
                    request.body += event.data
                else:
                    return found, ""
        except h11.RemoteProtocolError as error:
            return found, str(error)
        request.trailers = _decoded(event.headers)
        found.append(request)
        data = connection.trailing_data[0]
    return found, ""


def _decoded(headers: h11.Headers) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


def we_read(data: bytes) -> list[Read]:
    """The whole requests that we find."""
    return [
        Read(head.method, head.target, list(head.fields.items), each.body, list(each.trailers), head.http_version)
        for each in play([data])
        if isinstance(each, Message) and (head := each.head)
    ]


def check_peers(data: bytes) -> None:
    """Whatever we accept of `data`, the peers read in the same way, or refuse for a known reason."""
    mine = we_read(data)
    for peer, given in ((httptools_reads, data), (h11_reads, SPACED_EXTENSION.sub(rb"\1;", data))):
        theirs, why = peer(given)
        for number, request in enumerate(mine):
            if number == len(theirs):
                assert why == TUNNELS or any(why.startswith(known) for known in REFUSALS), (peer.__name__, why, request)
                break
            if why == TUNNELS and number == len(theirs) - 1:  # it may have a body that llhttp does not look at
                assert theirs[number].plain()[:4] == request.plain()[:4]
                break
            assert theirs[number].plain() == request.plain(), peer.__name__
