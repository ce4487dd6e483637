"""The opening handshake (RFC 6455 §4), both sides, on requests and responses whose HTTP has been parsed already.

Pure functions: no socket, no clock. A server calls `read_upgrade`, `check_origin`, `accept_upgrade`; a client calls
`upgrade_request` and `check_acceptance`. Header names are lower-case `str`, values `str`, as `http` gives them.
"""

from __future__ import annotations

import os
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha1
from typing import Final

from greenserve.websocket.protocol.deflate import MAX_WINDOW_BITS, DeflateParameters
from greenserve.websocket.protocol.errors import HandshakeFailed, HandshakeRejected
from greenserve.websocket.protocol.extensions import (
    TOKEN,
    Extension,
    accept_deflate,
    check_answer,
    offer_deflate,
    parse_extensions,
)

Headers = Iterable[tuple[str, str]]

VERSION: Final = "13"
MAX_EXTENSIONS: Final = 1024  # characters of the field; browsers send 60, and parsing each costs half a microsecond
MAX_SUBPROTOCOLS: Final = 16384  # the same; some clients put a token of several KiB there
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3
_KEY: Final = re.compile(r"[A-Za-z0-9+/]{21}[AQgw]==")  # 16 bytes in base64; the last digit carries two bits
_NOT_IN_A_VALUE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# RFC 6454 §6.2, and RFC 3986 §3.2.2 for the host
_ORIGIN: Final = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<host>\[[0-9A-Fa-f:.]+\]|[^\x00-\x20\x7f/?#@:\[\]]+)(?::(?P<port>[0-9]{0,5}))?"
)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_FORWARDED: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
# A server's defaults keep no context; a client has few connections, so it leaves that choice to the server.
CLIENT_DEFLATE: Final = DeflateParameters(
    server_no_context_takeover=False,
    client_no_context_takeover=False,
    server_max_window_bits=MAX_WINDOW_BITS,
)

ANY_ORIGIN: Final = "*"
SAME_ORIGIN: Final = "same-origin"


@dataclass(frozen=True, slots=True)
class UpgradeRequest:
    """A valid request to open a WebSocket. `subprotocols` and `extensions` are in the client's order of preference."""

    key: str
    host: str | None
    origin: str | None
    subprotocols: tuple[str, ...]
    extensions: tuple[Extension, ...]


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
    return UpgradeRequest(
        key=keys[0],
        host=hosts[0] if len(hosts) == 1 else None,
        origin=origins[0] if origins else None,
        subprotocols=_offered_subprotocols(headers),
        extensions=_offered_extensions(headers),
    )


def _offered_subprotocols(headers: Headers) -> tuple[str, ...]:
    offered = [
        name for value in _bounded(headers, "sec-websocket-protocol", MAX_SUBPROTOCOLS) for name in _elements(value)
    ]
    if len(set(offered)) < len(offered) or not all(TOKEN.fullmatch(name) for name in offered):
        raise HandshakeRejected(400, "Sec-WebSocket-Protocol must list different tokens")
    return tuple(offered)


def _offered_extensions(headers: Headers) -> tuple[Extension, ...]:
    try:
        return tuple(parse_extensions(_bounded(headers, "sec-websocket-extensions", MAX_EXTENSIONS)))
    except ValueError as error:
        raise HandshakeRejected(400, str(error)) from error


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
    """Scheme, host and port of an origin, comparable (RFC 6454 §4); what is none ("null") stays as it is."""
    match = _ORIGIN.fullmatch(origin)
    if match is None:
        return origin
    scheme = match["scheme"].lower()
    return scheme, match["host"].lower(), int(match["port"]) if match["port"] else _DEFAULT_PORTS.get(scheme)


def external_scheme(scheme: str, forwarded: str) -> str:
    """The scheme in which the client sees the server. scheme: the connection's; forwarded: X-Forwarded-Proto, or "".

    Behind a proxy that ends TLS we see http where the page says https. Any client may send that field, but for a page
    in a browser, and these alone are what an Origin tells about.
    """
    nearest = forwarded.partition(",")[0].strip().lower()  # the first proxy's word: the client has spoken to that one
    return _FORWARDED.get(nearest, scheme)


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
        f"Sec-WebSocket-Accept: {accept_key(request.key)}",
    ]
    if subprotocol is not None:
        lines.append(f"Sec-WebSocket-Protocol: {str.__str__(subprotocol)}")  # it may be the member of an Enum
    agreed = accept_deflate(request.extensions, deflate) if deflate is not None else None
    if agreed is not None:
        lines.append(f"Sec-WebSocket-Extensions: {agreed[1]}")
    return Agreement(subprotocol, agreed[0] if agreed else None, _head(lines, headers))


def accept_key(key: str) -> str:
    """The Sec-WebSocket-Accept that answers a Sec-WebSocket-Key."""
    return b64encode(sha1(key.encode("ascii") + _GUID, usedforsecurity=False).digest()).decode("ascii")


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """An upgrade request of ours: its bytes, and what the answer will be checked against."""

    data: bytes
    key: str
    subprotocols: tuple[str, ...]
    deflate: DeflateParameters | None


def new_key() -> str:
    """A fresh Sec-WebSocket-Key: 16 random bytes in base64."""
    return b64encode(os.urandom(16)).decode("ascii")


def upgrade_request(
    host: str,
    target: str,
    *,
    key: str,
    origin: str | None = None,
    subprotocols: Sequence[str] = (),
    deflate: DeflateParameters | None = CLIENT_DEFLATE,
    headers: Headers = (),
) -> ClientRequest:
    """A client's request (RFC 6455 §4.1).

    host: for the Host field, with the port unless it is the default. target: path and query, encoded. key: `new_key()`.
    deflate: the compression offered, None for none. Raises ValueError for what cannot stand in a request.
    """
    if not target.startswith("/") or not target.isascii() or re.search(r"[\x00-\x20\x7f]", target):
        raise ValueError(f"the request target must be an encoded path, not {target!r}")
    if len(b64decode(key)) != 16:
        raise ValueError("the key must be 16 bytes in base64")
    if not all(TOKEN.fullmatch(name) for name in subprotocols) or len(set(subprotocols)) < len(subprotocols):
        raise ValueError(f"the subprotocols must be different tokens, not {subprotocols!r}")
    fields = [
        ("Host", host),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", key),
        ("Sec-WebSocket-Version", VERSION),
    ]
    if origin is not None:
        fields.append(("Origin", origin))
    if subprotocols:
        fields.append(("Sec-WebSocket-Protocol", ", ".join(subprotocols)))
    if deflate is not None:
        fields.append(("Sec-WebSocket-Extensions", offer_deflate(deflate)))
    data = _head([f"GET {target} HTTP/1.1"], [*fields, *headers])
    return ClientRequest(data, key, tuple(subprotocols), deflate)


def check_acceptance(
    request: ClientRequest, status: int, headers: Sequence[tuple[str, str]], body: bytes = b""
) -> Agreement:
    """Check a server's response to `request` (RFC 6455 §4.1). Raises HandshakeFailed, which names what is wrong."""
    if status != 101:
        raise HandshakeFailed(f"the server refused the WebSocket with status {status}", status, headers, body)
    if "websocket" not in _tokens(headers, "upgrade") or "upgrade" not in _tokens(headers, "connection"):
        raise HandshakeFailed("the server's 101 lacks Upgrade: websocket or Connection: Upgrade", status, headers)
    if _values(headers, "sec-websocket-accept") != [accept_key(request.key)]:
        raise HandshakeFailed("the server's Sec-WebSocket-Accept does not match the key it was sent", status, headers)
    chosen = _values(headers, "sec-websocket-protocol")
    if chosen and (len(chosen) > 1 or chosen[0] not in request.subprotocols):
        raise HandshakeFailed(f"the server chose the subprotocol {chosen}, which was not offered", status, headers)
    try:
        extensions = parse_extensions(_values(headers, "sec-websocket-extensions"))
        deflate = check_answer(extensions, request.deflate)
    except ValueError as error:
        raise HandshakeFailed(str(error), status, headers) from error
    return Agreement(chosen[0] if chosen else None, deflate)


def _bounded(headers: Headers, name: str, limit: int) -> list[str]:
    values = _values(headers, name)
    if sum(map(len, values)) > limit:
        raise HandshakeRejected(400, f"{name} is longer than {limit} characters")
    return values


def _values(headers: Headers, name: str) -> list[str]:
    return [value.strip(" \t") for field, value in headers if field == name]


def _elements(value: str) -> list[str]:
    return [element for part in value.split(",") if (element := part.strip(" \t"))]


def _tokens(headers: Headers, name: str) -> set[str]:
    return {element.lower() for value in _values(headers, name) for element in _elements(value)}


def _head(lines: list[str], headers: Headers) -> bytes:
    for name, value in headers:
        if not TOKEN.fullmatch(name) or _NOT_IN_A_VALUE.search(value):
            raise ValueError(f"the header {name!r} has an invalid name or value")
        lines.append(f"{str.__str__(name)}: {str.__str__(value)}")  # the text, whatever a subclass of str looks like
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
