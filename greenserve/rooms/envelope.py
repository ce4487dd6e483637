"""What processes say to each other over a bus: one payload is a version, a kind, a sender, and a body. No I/O here.

Kinds and versions that this process does not know are ignored: processes of two releases may share a bus while one
replaces the other.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

VERSION: Final = 1
ORIGIN_SIZE: Final = 8  # bytes
_HEAD: Final = 2 + ORIGIN_SIZE


class Kind(IntEnum):
    """What a payload is."""

    # A broadcast; the body is the message.
    TEXT = 1
    BINARY = 2
    # Presence in a room; see presence.py.
    JOIN = 3
    LEAVE = 4
    ROSTER = 5
    WHO = 6
    # On the control channel: the process lives; its members are asked for once more (the body names it); it ends.
    ALIVE = 7
    AGAIN = 8
    BYE = 9


@dataclass(frozen=True, slots=True)
class Envelope:
    """One payload. origin: ORIGIN_SIZE random bytes that a process has for its life."""

    kind: Kind
    origin: bytes
    body: bytes = b""

    @property
    def value(self) -> Any:
        """The body, where it is JSON (RFC 8259: NaN is not). Raises ValueError, also for what is nested too deeply."""
        try:
            return json.loads(self.body, parse_constant=_refuse)
        except RecursionError as error:
            raise ValueError(str(error)) from None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def encode(kind: Kind, origin: bytes, body: bytes = b"") -> bytes:
    """The payload."""
    return bytes((VERSION, kind)) + origin + body


def encode_value(kind: Kind, origin: bytes, value: Any) -> bytes:
    """The payload with a body of JSON."""
    return encode(kind, origin, json.dumps(value, separators=(",", ":")).encode())


def decode(payload: bytes) -> Envelope | None:
    """What a payload says; None when it is of another version, of a kind that is not known, or cut."""
    if len(payload) < _HEAD or payload[0] != VERSION:
        return None
    try:
        kind = Kind(payload[1])
    except ValueError:
        return None
    return Envelope(kind, payload[2:_HEAD], payload[_HEAD:])
