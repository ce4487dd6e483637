"""One header section: its fields, and what they say about framing and the connection."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Final

from greenserve.errors import (
    BadRequest,
    ContentTooLarge,
    ExpectationFailed,
    HeaderFieldsTooLarge,
    NotImplementedByServer,
)

from .grammar import CONTROLS, DIGITS, HOST, PLAIN_FIELD_LINES

Items = tuple[tuple[str, str], ...]

# 2**63 - 1 has 19 digits: no body comes near, and every file offset fits.
_LENGTH_DIGITS: Final = 19

# RFC 9110 §5.6.1: read a reasonable number of members, empty ones too, but not so many that they are an attack.
_MEMBER_COUNT: Final = 128

# Fields that the server itself acts on. In any other field a stray control character is the application's to judge.
_ACTED_ON: Final = frozenset(
    ("connection", "content-length", "expect", "host", "te", "trailer", "transfer-encoding", "upgrade")
)


class Fields:
    """One header section; immutable.

    items: (name, value) in the order received, names in lower case, values latin-1 with outer whitespace stripped.
    host: the value of Host, valid by RFC 9110 §7.2; "" when it was sent empty, None when it was not sent.
    content_length: bytes, None when the field is absent. chunked: the one transfer coding is chunked.
    close, keep_alive: the Connection options of that name (RFC 9112 §9.3).
    expect_continue: the peer waits for 100 (RFC 9110 §10.1.1).
    upgrade: the offered protocols in lower case, best first; empty unless Connection names upgrade (RFC 9110 §7.8).
    plain: no control character and no transfer coding anywhere.
    """

    __slots__ = (
        "_joined",
        "chunked",
        "close",
        "content_length",
        "expect_continue",
        "host",
        "items",
        "keep_alive",
        "plain",
        "upgrade",
    )

    def __init__(self, items: Items, *, plain: bool = True) -> None:
        values = dict(items)
        if len(values) != len(items):
            values = _join(items)
        self.items = items
        self._joined = values
        self.plain = plain
        self.close = self.keep_alive = self.expect_continue = self.chunked = False
        self.content_length: int | None = None
        self.upgrade: tuple[str, ...] = ()
        self.host = values.get("host")
        if self.host:
            check_host(self.host)
        if "connection" in values:
            options = _list(values["connection"])
            self.close = "close" in options
            self.keep_alive = "keep-alive" in options
            if "upgrade" in options:
                self.upgrade = _list(values.get("upgrade", ""))
        if "content-length" in values:
            self.content_length = _content_length(values["content-length"])
        if "expect" in values:
            self.expect_continue = _expect_continue(values["expect"])
        if "transfer-encoding" in values:
            self.chunked = _chunked(values)
            self.plain = False

    def get(self, name: str, default: str | None = None) -> str | None:
        """Return the value of the field `name` (in lower case), repeated ones joined with ", " (RFC 9110 §5.3)."""
        return self._joined.get(name, default)

    def __repr__(self) -> str:
        return f"<Fields {self.items!r}>"


def fields_of(block: bytes) -> Fields | None:
    """Return the section that the header lines `block` (each with its CRLF) make; None when the bytes are not plain.

    Raises BadRequest, ContentTooLarge, ExpectationFailed or NotImplementedByServer for what no server may accept.
    """
    return None if PLAIN_FIELD_LINES.fullmatch(block) is None else Fields(split_lines(block))


def odd_fields_of(block: bytes) -> Fields:
    """The same for lines that match FIELD_LINES but are not plain: some value holds a control character."""
    items = split_lines(block)
    plain = PLAIN_FIELD_LINES.fullmatch(block) is not None
    if not plain:
        for name, value in items:
            if name in _ACTED_ON and CONTROLS.search(value):
                raise BadRequest(f"the field {name} holds a control character")
    return Fields(items, plain=plain)


def split_lines(block: bytes) -> Items:
    """Cut lines that are known to be well formed into (lower-case name, stripped value)."""
    lines = block.decode("latin-1").split("\r\n")
    lines.pop()  # what follows the last CRLF
    cut = [line.partition(":") for line in lines]
    return tuple([(name.lower(), value.strip(" \t")) for name, _, value in cut])


def with_host(fields: Fields, authority: str) -> Fields:
    """The section with Host replaced by the authority of an absolute-form target (RFC 9112 §3.2.2)."""
    items = tuple(item for item in fields.items if item[0] != "host")
    return Fields((("host", authority), *items), plain=fields.plain)


def as_http_1_0(fields: Fields) -> Fields:
    """The section as HTTP/1.0 means it: neither 100-continue (RFC 9110 §10.1.1) nor Upgrade (§7.8) exist there."""
    if not fields.expect_continue and not fields.upgrade:
        return fields
    fields = Fields(fields.items, plain=fields.plain)
    fields.expect_continue = False
    fields.upgrade = ()
    return fields


@lru_cache(maxsize=256)
def check_host(value: str) -> None:
    """Raise BadRequest unless `value` is a host, not empty, with or without a port (RFC 9110 §7.2)."""
    match = HOST.fullmatch(value)
    if match is None:
        raise BadRequest(f"not a host with an optional port: {value[:100]!r}")
    if match[1] is not None:
        try:
            ipaddress.IPv6Address(match[1])
        except ValueError:
            raise BadRequest(f"not an IPv6 address: {value[:100]!r}") from None


def _join(items: Items) -> dict[str, str]:
    """Join repeated fields. Those that frame or route the message have no meaning as a list, so they are refused."""
    values: dict[str, str] = {}
    for name, value in items:
        if name not in values:
            values[name] = value
        elif name in {"host", "content-length"}:
            # Identical repeated lengths could be merged (RFC 9110 §8.6); no client sends them, smugglers do.
            raise BadRequest(f"the field {name} is repeated")
        else:
            values[name] = f"{values[name]}, {value}"
    return values


@lru_cache(maxsize=64)
def _list(value: str) -> tuple[str, ...]:
    """The members of a #rule list in lower case, empty ones left out (RFC 9110 §5.6.1)."""
    return tuple(filter(None, _members(value)))


def _members(value: str) -> list[str]:
    if value.count(",") >= _MEMBER_COUNT:
        raise HeaderFieldsTooLarge(f"a field lists more than {_MEMBER_COUNT} members: {value[:100]!r}")
    return [member.strip(" \t") for member in value.lower().split(",")]


def _content_length(value: str) -> int:
    """RFC 9110 §8.6. A list of identical numbers is refused like any other list: see _join."""
    if DIGITS.fullmatch(value) is None:
        raise BadRequest(f"Content-Length is not a number: {value[:100]!r}")
    if len(value) > _LENGTH_DIGITS:
        raise ContentTooLarge("Content-Length is larger than any body can be")
    return int(value)


def _expect_continue(value: str) -> bool:
    members = _list(value)
    if any(member != "100-continue" for member in members):
        raise ExpectationFailed(f"the only expectation known is 100-continue, not {value[:100]!r}")
    return bool(members)


def _chunked(values: dict[str, str]) -> bool:
    """RFC 9112 §6.1 and §6.3: chunked, once and last, or the length of the body cannot be told."""
    if "content-length" in values:
        raise BadRequest("Transfer-Encoding and Content-Length together are ambiguous")
    value = values["transfer-encoding"]
    codings = _members(value)
    if codings[-1] != "chunked" or codings.count("chunked") != 1:
        raise BadRequest(f"the final transfer coding must be chunked, once: {value[:100]!r}")
    if len(codings) > 1:
        raise NotImplementedByServer(f"the only transfer coding known is chunked, not {value[:100]!r}")
    return True
