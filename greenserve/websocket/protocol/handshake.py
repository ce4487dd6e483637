"""The opening handshake (RFC 6455 §4), both sides: no socket, no clock.

A server, which has parsed the request already, calls `read_upgrade`, `check_origin`, `accept_upgrade`; header names are
lower-case `str`, values `str`, as `http` gives them. A client makes a `ClientHandshake`. wsproto negotiates extensions
on both sides, and reads the server's answer; it takes keys that are not base64 and fields that stand there twice, and
fails on what is not ASCII, so rules of our own stand in front of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import h11
from wsproto.connection import ConnectionType
from wsproto.events import AcceptConnection, RejectConnection, RejectData, Request
from wsproto.handshake import H11Handshake
from wsproto.utilities import RemoteProtocolError, generate_accept_token

from greenserve.http.grammar import FIELD_NAME as TOKEN
from greenserve.http.grammar import FIELD_VALUE
from greenserve.websocket.protocol.deflate import (
    MAX_WINDOW_BITS,
    DeflateParameters,
    PerMessageDeflate,
    accept_offers,
)
from greenserve.websocket.protocol.errors import HandshakeFailed, HandshakeRejected

Headers = Iterable[tuple[str, str]]

VERSION: Final = "13"
MAX_EXTENSIONS: Final = 1024  # characters of the field; browsers send 60, and parsing each costs half a microsecond
MAX_SUBPROTOCOLS: Final = 16384  # the same; some clients put a token of several KiB there
_KEY: Final = re.compile(r"[A-Za-z0-9+/]{21}[AQgw]==")  # 16 bytes in base64; the last digit carries two bits
# extension = token *( OWS ";" OWS token [ OWS "=" OWS ( token / quoted-string ) ] ); RFC 6455 §9.1: what is quoted must
# be a token as well, so no comma can stand there.
_QUOTED: Final = rf'"(?:\\?{TOKEN.pattern})++"'
_EXTENSION: Final = re.compile(
    rf"{TOKEN.pattern}(?:[ \t]*+;[ \t]*+{TOKEN.pattern}(?:[ \t]*+=[ \t]*+(?:{TOKEN.pattern}|{_QUOTED}))?+)*+"
)
# RFC 6454 §6.2, and RFC 3986 §3.2.2 for the host
_ORIGIN: Final = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<host>\[[0-9A-Fa-f:.]+\]|[^\x00-\x20\x7f/?#@:\[\]]+)(?::(?P<port>[0-9]{0,5}))?"
)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
# A server's defaults keep no context; a client has few connections, so it leaves that choice to the server.
CLIENT_DEFLATE: Final = DeflateParameters(
    server_no_context_takeover=False,
    client_no_context_takeover=False,
    server_max_window_bits=MAX_WINDOW_BITS,
)

MAX_HEAD: Final = 65536  # bytes of a server's answer, its interim responses included; as of a request's head
MAX_BODY: Final = 65536  # bytes of a refusal's body that are kept: an error page, not a download
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

ANY_ORIGIN: Final = "*"
SAME_ORIGIN: Final = "same-origin"


@dataclass(frozen=True, slots=True)
class UpgradeRequest:
    """A valid request to open a WebSocket. `subprotocols` and `extensions` are in the client's order of preference."""

    key: str
    host: str | None
    origin: str | None
    subprotocols: tuple[str, ...]
    extensions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Agreement:
    """What both sides agreed on. On a server `response` holds the bytes of the 101; on a client it is empty."""

    subprotocol: str | None
    deflate: DeflateParameters | None
    response: bytes = b""


def wants_websocket(headers: Headers) -> bool:
    """Whether a request asks for a WebSocket at all: its Upgrade field names it."""
    return "websocket" in _tokens(headers, "upgrade")


def read_upgrade(method: str, http_version: str, headers: Sequence[tuple[str, str]]) -> UpgradeRequest:
    """Check a request against RFC 6455 §4.2.1. http_version: "1.1". Raises HandshakeRejected: 400, 405 or 426."""
    if not wants_websocket(headers):
        raise HandshakeRejected(
            426,
            "this is a WebSocket: the request needs the header Upgrade: websocket",
            [("Upgrade", "websocket"), ("Connection", "Upgrade")],
        )
    if method != "GET":
        raise HandshakeRejected(405, f"a WebSocket is opened with GET, not {method}", [("Allow", "GET")])
    if http_version != "1.1":
        raise HandshakeRejected(400, f"a WebSocket is opened with HTTP/1.1, not HTTP/{http_version}")
    if _values(headers, "transfer-encoding") or any(size.strip("0") for size in _values(headers, "content-length")):
        # RFC 9110 §7.8: the protocol changes behind the request. A body that is still to come would pass for frames.
        raise HandshakeRejected(400, "a WebSocket is opened by a request without a body")
    if "upgrade" not in _tokens(headers, "connection"):
        raise HandshakeRejected(400, "Connection: Upgrade is missing; a proxy in between may have removed it")
    if _values(headers, "sec-websocket-version") != [VERSION]:
        raise HandshakeRejected(
            426,
            f"only version {VERSION} of the WebSocket protocol is supported",
            [("Sec-WebSocket-Version", VERSION), ("Upgrade", "websocket"), ("Connection", "Upgrade")],
        )
    keys = _values(headers, "sec-websocket-key")
    if len(keys) != 1 or not _KEY.fullmatch(keys[0]):
        raise HandshakeRejected(400, "Sec-WebSocket-Key must be present once, with 16 bytes in base64")
    origins = _values(headers, "origin")
    if len(origins) > 1:
        raise HandshakeRejected(400, "there is more than one Origin")
    hosts = _values(headers, "host")
    subprotocols = _offers(headers, "sec-websocket-protocol", MAX_SUBPROTOCOLS, TOKEN)
    if len(set(subprotocols)) < len(subprotocols):
        raise HandshakeRejected(400, "sec-websocket-protocol names a subprotocol twice")
    return UpgradeRequest(
        key=keys[0],
        host=hosts[0] if len(hosts) == 1 else None,
        origin=origins[0] if origins else None,
        subprotocols=subprotocols,
        extensions=_offers(headers, "sec-websocket-extensions", MAX_EXTENSIONS, _EXTENSION),
    )


def _offers(headers: Headers, name: str, limit: int, form: re.Pattern[str]) -> tuple[str, ...]:
    values = _values(headers, name)
    if sum(map(len, values)) > limit:
        raise HandshakeRejected(400, f"{name} is longer than {limit} characters")
    offers = tuple(element for value in values for element in _elements(value))
    for offer in offers:
        if not form.fullmatch(offer):
            raise HandshakeRejected(400, f"{name} is malformed near {offer!a:.60}")
    return offers


def check_origin(request: UpgradeRequest, allowed: Sequence[str], scheme: str) -> None:
    """Refuse a page of a foreign site (RFC 6455 §10.2). Raises HandshakeRejected, 403.

    allowed: origins such as "https://example.com" or "null"; "same-origin" for that of the request itself: scheme, host
    and port (RFC 6454 §5); "*" for all. scheme: "https" or "http", in which the client sees the server. Browsers send
    their cookies to any site that a page opens a WebSocket to, so without this check every site could act as its
    visitor; and without the scheme, an attacker who can change an unencrypted page of a site could act as that of the
    encrypted one. A request without Origin comes from no browser and passes.
    """
    if request.origin is None or ANY_ORIGIN in allowed:
        return
    origin = parse_origin(request.origin)
    own = f"{scheme}://{request.host}"
    names = [own if entry == SAME_ORIGIN else entry for entry in allowed if entry != SAME_ORIGIN or request.host]
    if origin in map(parse_origin, names):
        return
    raise HandshakeRejected(403, f"the origin {request.origin!a:.200} may not open a WebSocket on {own!a:.200}")


def parse_origin(origin: str) -> tuple[str, str, int | None] | str:
    """Scheme, host and port of an origin, comparable (RFC 6454 §4); what is not one ("null") stays as it is."""
    match = _ORIGIN.fullmatch(origin)
    if match is None:
        return origin
    scheme = match["scheme"].lower()
    return scheme, match["host"].lower(), int(match["port"]) if match["port"] else _DEFAULT_PORTS.get(scheme)


def select_subprotocol(offered: Sequence[str], supported: Sequence[str]) -> str | None:
    """The first of `supported` (the server's order of preference) that the client offers; None when there is none."""
    return next((name for name in supported if name in offered), None)


def accept_upgrade(
    request: UpgradeRequest,
    *,
    subprotocol: str | None = None,
    deflate: DeflateParameters | None = None,
    headers: Headers = (),
) -> Agreement:
    """Accept: what is agreed, and the 101 response (RFC 6455 §4.2.2).

    subprotocol: one that the client offered. deflate: the compression wanted; None declines all. headers: further
    fields (cookies) of the response. Raises ValueError for a subprotocol not offered and for an invalid header.
    """
    if subprotocol is not None and subprotocol not in request.subprotocols:
        raise ValueError(f"the client did not offer the subprotocol {subprotocol!r}; it offered {request.subprotocols}")
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {generate_accept_token(request.key.encode()).decode()}",
    ]
    if subprotocol is not None:
        lines.append(f"Sec-WebSocket-Protocol: {str.__str__(subprotocol)}")  # it may be the member of an Enum
    agreed, answer = accept_offers(request.extensions, deflate) if deflate is not None else (None, "")
    if answer:
        lines.append(f"Sec-WebSocket-Extensions: {answer}")
    for name, value in headers:
        if not TOKEN.fullmatch(name) or not FIELD_VALUE.fullmatch(value):
            raise ValueError(f"the header {name!r} has an invalid name or value")
        lines.append(f"{str.__str__(name)}: {str.__str__(value)}")  # the text, whatever a subclass of str looks like
    return Agreement(subprotocol, agreed, "\r\n".join([*lines, "", ""]).encode("latin-1"))


class ClientHandshake:
    """A client's handshake (RFC 6455 §4.1): send `request`, give `receive` what the server says until there is an
    `outcome`; on to `complete`, when that is a HandshakeFailed, for the refusal's body.

    host: for the Host field, with the port unless it is the default. target: path and query, encoded. deflate: the
    compression offered, None for none. Raises ValueError for what cannot stand in a request.
    """

    def __init__(
        self,
        host: str,
        target: str,
        *,
        origin: str | None = None,
        subprotocols: Sequence[str] = (),
        deflate: DeflateParameters | None = CLIENT_DEFLATE,
        headers: Headers = (),
    ) -> None:
        if not all(map(TOKEN.fullmatch, subprotocols)) or len(set(subprotocols)) < len(subprotocols):
            raise ValueError(f"the subprotocols must be different tokens, not {subprotocols!r}")
        self.outcome: Agreement | HandshakeFailed | None = None
        self.early = b""  # what came right behind the answer
        self.complete = False
        self._deflate = None if deflate is None else PerMessageDeflate(deflate)
        self._wsproto = H11Handshake(ConnectionType.CLIENT)
        self._head_left = MAX_HEAD
        fields = headers if origin is None else [("Origin", origin), *headers]
        try:
            self.request = self._wsproto.send(
                Request(
                    host=host,
                    target=target,
                    subprotocols=list(subprotocols),
                    extensions=[] if self._deflate is None else [self._deflate],
                    extra_headers=[(name.encode("ascii"), value.encode("latin-1")) for name, value in fields],
                )
            )
        except (h11.LocalProtocolError, UnicodeError) as error:
            raise ValueError(
                f"no request can be made for {target!r} on {host!r} with these headers: {error}"
            ) from error

    def receive(self, data: bytes) -> None:
        """Take what the server sends, b"" at its end. Raises HandshakeFailed when that is not an answer at all."""
        self.early += data
        while self.outcome is None:
            # wsproto is given whole heads alone: what comes behind a 101 it would keep, and a head has our own bound.
            head, end, rest = self.early.partition(b"\r\n\r\n")
            if len(head) > self._head_left:
                raise HandshakeFailed(f"the head of the server's answer is longer than {MAX_HEAD} bytes", 0)
            if not end:
                if not data:
                    raise HandshakeFailed("the server closed the connection instead of answering the handshake", 0)
                return
            self._head_left -= len(head)
            self.early = rest
            self._receive_head(head + end)
        if isinstance(self.outcome, HandshakeFailed) and (self.early or not data):
            self._receive_body(self.outcome, self.early)
            self.early = b""

    def _receive_head(self, head: bytes) -> None:
        lines = [line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:-2]]
        headers = [(name.lower(), value.strip(" \t")) for name, _, value in lines]
        status = int(head[9:12]) if head[9:12].isdigit() else 0
        try:
            for name in ("sec-websocket-accept", "sec-websocket-protocol", "sec-websocket-extensions"):
                if len(_values(headers, name)) > 1:
                    raise ValueError(f"{name} is there twice")
            self._wsproto.receive_data(head)
        except (RemoteProtocolError, ValueError) as error:
            h11s = (
                error.__context__
            )  # it says more than "bad HTTP message"; but any error that is being handled may stand here
            reason = h11s if isinstance(h11s, h11.RemoteProtocolError) else error
            raise HandshakeFailed(
                f"the server's answer opens no WebSocket: {reason!s:.200}", status, headers
            ) from error
        for event in self._wsproto.events():
            if isinstance(event, AcceptConnection):
                deflate = None if self._deflate is None else self._deflate.agreed
                self.outcome = Agreement(event.subprotocol, deflate)
            elif isinstance(event, RejectConnection) and event.has_body:  # the others are interim: RFC 9110 §15.2
                self.outcome = _refusal(event.status_code, headers)
            elif isinstance(event, RejectData):
                self.complete = True

    def _receive_body(self, refusal: HandshakeFailed, data: bytes) -> None:
        try:
            self._wsproto.receive_data(data)
        except RemoteProtocolError:  # what came before it is as good as any
            self.complete = True
        for event in self._wsproto.events():
            if isinstance(event, RejectData):
                refusal.body = (refusal.body + event.data)[:MAX_BODY]
                self.complete = self.complete or event.body_finished or len(refusal.body) == MAX_BODY


def _refusal(status: int, headers: Sequence[tuple[str, str]]) -> HandshakeFailed:
    detail = f"the server refused the WebSocket with status {status}"
    if status in _REDIRECTS:
        detail = (
            f"the server redirects ({status}) to {dict(headers).get('location', 'nowhere')!a:.500}: redirects are not "
            "followed, since they could lead a program's credentials elsewhere; connect to that URL if you trust it"
        )
    return HandshakeFailed(detail, status, headers)


def _values(headers: Headers, name: str) -> list[str]:
    return [value.strip(" \t") for field, value in headers if field == name]


def _elements(value: str) -> list[str]:
    return [element for part in value.split(",") if (element := part.strip(" \t"))]


def _tokens(headers: Headers, name: str) -> set[str]:
    return {element.lower() for value in _values(headers, name) for element in _elements(value)}
