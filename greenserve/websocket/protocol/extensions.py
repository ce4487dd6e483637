"""Sec-WebSocket-Extensions: its grammar (RFC 6455 §9.1), and the negotiation of permessage-deflate (RFC 7692 §7.1).

An offer that cannot be accepted as it stands is declined, never bent: the next one is tried, and without any the
connection goes on uncompressed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Final, NamedTuple

from greenserve.websocket.protocol.deflate import MAX_WINDOW_BITS, DeflateParameters

DEFLATE: Final = "permessage-deflate"
TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 §5.6.2

# extension-param = token [ "=" (token | quoted-string) ], and what separates it from the next.
_ITEM: Final = re.compile(
    rf"""[ \t]*(?P<name>{TOKEN.pattern})[ \t]*
         (?:=[ \t]*(?:(?P<token>{TOKEN.pattern})|"(?P<quoted>(?:[^"\\]|\\.)*)")[ \t]*)?
         (?P<separator>[;,]|$)""".replace("\n         ", "")
)
_EMPTY_ELEMENT: Final = re.compile(r"[ \t]*(?:,|$)")  # RFC 9110 §5.6.1.2: recipients ignore empty list elements

SERVER_NO_CONTEXT: Final = "server_no_context_takeover"
CLIENT_NO_CONTEXT: Final = "client_no_context_takeover"
SERVER_BITS: Final = "server_max_window_bits"
CLIENT_BITS: Final = "client_max_window_bits"
_WINDOW_BITS: Final = {str(bits): bits for bits in range(8, MAX_WINDOW_BITS + 1)}  # RFC 7692 §7.1.2: no leading zeros


class Extension(NamedTuple):
    """One element of the header: its name and its parameters in order, with None for a parameter without a value."""

    name: str
    parameters: tuple[tuple[str, str | None], ...]


def parse_extensions(values: Iterable[str]) -> list[Extension]:
    """The extensions that the values of all Sec-WebSocket-Extensions fields name. Raises ValueError."""
    found: list[Extension] = []
    for value in values:
        position = 0
        while position < len(value):
            empty = _EMPTY_ELEMENT.match(value, position)
            if empty:
                position = max(empty.end(), position + 1)
                continue
            extension, position = _parse_extension(value, position)
            found.append(extension)
    return found


def _parse_extension(value: str, position: int) -> tuple[Extension, int]:
    items: list[tuple[str, str | None]] = []
    separator = ";"
    while separator == ";":
        match = _ITEM.match(value, position)
        if match is None or (not items and match[0].count("=")):
            raise ValueError(f"Sec-WebSocket-Extensions is malformed near {value[position : position + 40]!r}")
        argument = match["token"]
        if match["quoted"] is not None:
            # RFC 6455 §9.1: what a quoted string stands for must itself be a token.
            argument = re.sub(r"\\(.)", r"\1", match["quoted"])
            if not TOKEN.fullmatch(argument):
                raise ValueError(f"Sec-WebSocket-Extensions has a value that is not a token: {argument[:40]!r}")
        items.append((match["name"], argument))
        position = match.end()
        separator = match["separator"]
    return Extension(items[0][0], tuple(items[1:])), position


class _Deflate(NamedTuple):
    """The parameters of one offer or answer. Bits: None when absent; CLIENT_BITS without a value counts as 15."""

    server_no_context: bool
    client_no_context: bool
    server_bits: int | None
    client_bits: int | None


def _read_deflate(extension: Extension, *, answer: bool) -> _Deflate | None:
    """None when a parameter is unknown, twice there, or has a value it may not have (RFC 7692 §7.1)."""
    given = dict(extension.parameters)
    if len(given) < len(extension.parameters) or not given.keys() <= _DEFLATE_PARAMETERS:
        return None
    for flag in (SERVER_NO_CONTEXT, CLIENT_NO_CONTEXT):
        if given.get(flag) is not None:
            return None
    bits: dict[str, int] = {}
    for name in (SERVER_BITS, CLIENT_BITS):
        if name not in given:
            continue
        value = given[name]
        if value is None and name == CLIENT_BITS and not answer:
            # §7.1.2.2: "whatever you say"; only in an offer.
            bits[name] = MAX_WINDOW_BITS
        elif value is None or value not in _WINDOW_BITS:
            return None
        else:
            bits[name] = _WINDOW_BITS[value]
    return _Deflate(
        SERVER_NO_CONTEXT in given, CLIENT_NO_CONTEXT in given, bits.get(SERVER_BITS), bits.get(CLIENT_BITS)
    )


_DEFLATE_PARAMETERS: Final = frozenset({SERVER_NO_CONTEXT, CLIENT_NO_CONTEXT, SERVER_BITS, CLIENT_BITS})


def accept_deflate(extensions: Iterable[Extension], wanted: DeflateParameters) -> tuple[DeflateParameters, str] | None:
    """As a server, take the first acceptable offer: what is agreed, and the answer's field value. None: decline."""
    for extension in extensions:
        offer = _read_deflate(extension, answer=False) if extension.name == DEFLATE else None
        if offer is not None:
            return _agree(offer, wanted)
    return None


def _agree(offer: _Deflate, wanted: DeflateParameters) -> tuple[DeflateParameters, str]:
    # §7.1.1 and §7.1.2.1 let a server name the first three unasked; client_max_window_bits only to a client that did.
    agreed = replace(
        wanted,
        server_no_context_takeover=wanted.server_no_context_takeover or offer.server_no_context,
        client_no_context_takeover=wanted.client_no_context_takeover or offer.client_no_context,
        server_max_window_bits=min(wanted.server_max_window_bits, offer.server_bits or MAX_WINDOW_BITS),
        client_max_window_bits=MAX_WINDOW_BITS
        if offer.client_bits is None
        else min(wanted.client_max_window_bits, offer.client_bits),
    )
    return agreed, _format(agreed, server_bits=offer.server_bits is not None)


def _format(parameters: DeflateParameters, *, server_bits: bool) -> str:
    parts = [DEFLATE]
    if parameters.server_no_context_takeover:
        parts.append(SERVER_NO_CONTEXT)
    if parameters.client_no_context_takeover:
        parts.append(CLIENT_NO_CONTEXT)
    if server_bits or parameters.server_max_window_bits < MAX_WINDOW_BITS:
        parts.append(f"{SERVER_BITS}={parameters.server_max_window_bits}")
    if parameters.client_max_window_bits < MAX_WINDOW_BITS:
        parts.append(f"{CLIENT_BITS}={parameters.client_max_window_bits}")
    return "; ".join(parts)


def offer_deflate(wanted: DeflateParameters) -> str:
    """As a client, the field value that offers `wanted`."""
    offer = _format(wanted, server_bits=False)
    # Without a value it tells the server that it may name one.
    return offer if wanted.client_max_window_bits < MAX_WINDOW_BITS else f"{offer}; {CLIENT_BITS}"


def check_answer(extensions: Iterable[Extension], wanted: DeflateParameters | None) -> DeflateParameters | None:
    """As a client that offered `wanted`, what the server agreed to; None for no compression.

    Raises ValueError when the answer is none that the offer allows.
    """
    agreed: DeflateParameters | None = None
    for extension in extensions:
        if extension.name != DEFLATE or wanted is None or agreed is not None:
            raise ValueError(f"the server accepted the extension {extension.name!r}, which was not offered to it")
        answer = _read_deflate(extension, answer=True)
        if answer is None:
            raise ValueError("the server's answer to permessage-deflate has an invalid parameter")
        agreed = _check_deflate(answer, wanted)
    return agreed


def _check_deflate(answer: _Deflate, wanted: DeflateParameters) -> DeflateParameters:
    server_bits = answer.server_bits or MAX_WINDOW_BITS
    client_bits = answer.client_bits or MAX_WINDOW_BITS
    if wanted.server_no_context_takeover and not answer.server_no_context:
        raise ValueError(f"the server accepted permessage-deflate without the {SERVER_NO_CONTEXT} asked for")
    if server_bits > wanted.server_max_window_bits:
        raise ValueError(f"the server accepted permessage-deflate with a larger {SERVER_BITS} than asked for")
    if answer.client_bits is not None and client_bits > wanted.client_max_window_bits:
        raise ValueError(f"the server accepted permessage-deflate with a larger {CLIENT_BITS} than offered")
    return replace(
        wanted,
        server_no_context_takeover=answer.server_no_context,
        client_no_context_takeover=wanted.client_no_context_takeover or answer.client_no_context,
        server_max_window_bits=server_bits,
        client_max_window_bits=min(client_bits, wanted.client_max_window_bits),
    )
