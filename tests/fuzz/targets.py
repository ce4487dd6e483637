"""What is fuzzed: each target takes any bytes, and raises what is wrong with how the code deals with them.

An error that the code documents is no failure. Every other exception is, and so is an answer that breaks the law of its
target, which stands in its docstring.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from greenserve.errors import BadRequest, HeaderFieldsTooLarge
from greenserve.http.fields import check_host
from greenserve.http.forwarded import NAMES, UNKNOWN, ForwardedReader
from greenserve.http.limits import Limits
from greenserve.net.proxy_protocol import BadProxyHeader, ProxyHeader, read_header
from greenserve.websocket.protocol import Limits as MessageLimits
from greenserve.websocket.protocol import Protocol, Role
from greenserve.websocket.protocol.deflate import DeflateParameters
from greenserve.websocket.protocol.events import Close
from tests.http.peers import check_peers
from tests.http.support import Begun, Message, Refused, cgi_of, octets, play
from tests.websocket.protocol.wire import run

from .engine import Check
from .whole_connection import connection

SMALL = Limits(max_head=600, max_target=100, max_header_count=12, max_body=300)
CHUNKED_HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def head(data: bytes) -> None:
    """A request's head: the cuts of the network change nothing, and it is read as other parsers read it."""
    for limits in (Limits(), SMALL):
        whole = _seen([data], limits)
        assert _seen(octets(data), limits) == whole
        assert _seen([data[:7], data[7:20], data[20:]], limits) == whole
    check_peers(data)


def _seen(pieces: list[bytes], limits: Limits) -> list[object]:
    """What comes out. Of several faults at once it depends on the cuts which is found first, and gives the status."""
    outcomes = play([piece for piece in pieces if piece], eof=True, limits=limits)
    return ["refused" if isinstance(each, Refused) else each.outline() for each in outcomes]


def chunked(data: bytes) -> None:
    """A chunked body: as a head; and what is taken in is bounded."""
    head(CHUNKED_HEAD + data)
    for each in play([CHUNKED_HEAD + data], limits=SMALL):
        assert not isinstance(each, Message | Begun) or len(each.body) <= SMALL.max_body


def websocket(data: bytes) -> None:
    """Frames: the cuts of the network change nothing; nothing follows the end; what is answered is well formed.

    The first byte says which role we have, and whether compression was agreed on.
    """
    role = Role.CLIENT if data[:1] > b"\x7f" else Role.SERVER
    deflate = DeflateParameters(threshold=0) if data[:1] and data[0] & 1 else None
    results = []
    for pieces in ([data[1:]], octets(data[1:])):
        protocol = Protocol(role, limits=MessageLimits(max_message=3000, max_frame=2000), deflate=deflate)
        result = run(protocol, *pieces, b"")
        ends = [position for position, event in enumerate(result.events) if isinstance(event, Close)]
        assert ends in ([], [len(result.events) - 1])
        assert all(len(event) <= 3000 for event in result.events if isinstance(event, str | bytes))
        other = Protocol(Role.SERVER if role is Role.CLIENT else Role.CLIENT)
        answers = run(other, result.sent)
        assert answers.failure is None
        results.append((result.events, result.failure, answers.events))
    assert results[0] == results[1]


def proxy_header(data: bytes) -> None:
    """A PROXY header: what is decided is decided for good, whatever follows; its size is that of what was read."""
    decided: ProxyHeader | type[BadProxyHeader] | None = None
    for end in range(1, len(data) + 1):
        now: ProxyHeader | type[BadProxyHeader] | None
        try:
            now = read_header(data[:end])
        except BadProxyHeader:
            now = BadProxyHeader
        if decided is not None:
            assert now == decided
        elif isinstance(now, ProxyHeader):
            assert now.size == end
            if now.client not in (None, ("", "")):
                ipaddress.ip_address(now.client[0])
                assert 0 <= int(now.client[1]) < 65536
        decided = now
    if decided is None:
        assert len(data) < 4096


PROXIES = frozenset({"10.0.0.1", "10.0.0.2", "2001:db8::1"})


def forwarded(data: bytes) -> None:
    """Forwarded fields, a line each: what is taken from them is valid, and no client can change it by adding in front.

    The first byte of a line says which field it is.
    """
    lines = [("host", "server")]
    for line in data.split(b"\n"):
        value = line[1:].decode("latin-1").strip("\t ")
        if any((octet < " " and octet != "\t") or octet == "\x7f" for octet in value):
            return  # no field has that
        lines.append((NAMES[line[0] % len(NAMES)] if line else NAMES[0], value))
    reader = ForwardedReader(NAMES, PROXIES.__contains__)
    try:
        client, site = reader.read(cgi_of(*lines))
    except (BadRequest, HeaderFieldsTooLarge):
        return
    assert site.scheme in (None, "http", "https")
    assert site.port is None or 0 <= int(site.port) < 65536
    if site.host is not None:
        check_host(site.host)
    assert not site.prefix or (site.prefix.startswith("/") and not site.prefix.startswith(("//", "/\\")))
    assert not site.prefix.endswith("/")
    if client is None:
        return
    address, port = client
    assert address == UNKNOWN or str(ipaddress.ip_address(address)) == address
    assert port == "" or 0 <= int(port) < 65536
    if address not in PROXIES:
        where = [number for number, (name, _) in enumerate(lines) if name == "x-forwarded-for"]
        if any(lines[number][1].strip(", \t") for number in where):  # else the proxies do not use this field
            lines[where[0]] = "x-forwarded-for", f"198.51.100.7, {lines[where[0]][1]}"
        again, _ = reader.read(cgi_of(*lines))
        assert again is not None
        assert again[0] == address


@dataclass(frozen=True)
class Target:
    """One thing to be fuzzed. checking: gives what checks one input; tokens: the file of what means something to it;
    mutations: how many the suite makes.
    """

    checking: Callable[[], AbstractContextManager[Check]]
    tokens: str
    mutations: int


TARGETS = {
    "head": Target(lambda: nullcontext(head), "http", 1500),
    "chunked": Target(lambda: nullcontext(chunked), "http", 1500),
    "connection": Target(connection, "http", 400),
    "websocket": Target(lambda: nullcontext(websocket), "frames", 2000),
    "proxy_header": Target(lambda: nullcontext(proxy_header), "proxy_header", 2000),
    "forwarded": Target(lambda: nullcontext(forwarded), "forwarded", 3000),
}
