"""What processes send each other over a bus: a payload is a version, a kind, its sender, and a body. No I/O here.

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


class MessageKind(IntEnum):
    """What a payload is."""

    # A broadcast; the body is the message.
    TEXT = 1
    BINARY = 2
    # Presence in a room; see presence.py. The body of a request is the origin of the process that is asked.
    JOIN = 3
    LEAVE = 4
    ROSTER = 5
    ROSTER_REQUEST = 6
    # On the control channel: the process lives; it asks the process that the body names for all rosters; it ends.
    HEARTBEAT = 7
    RESEND = 8
    GOODBYE = 9


@dataclass(frozen=True, slots=True)
class Envelope:
    """One payload. origin: ORIGIN_SIZE random bytes that a process has for its life."""

    kind: MessageKind
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


def encode(kind: MessageKind, origin: bytes, body: bytes = b"") -> bytes:
    """The payload."""
    return bytes((VERSION, kind)) + origin + body


def encode_value(kind: MessageKind, origin: bytes, value: Any) -> bytes:
    """The payload with a body of JSON."""
    return encode(kind, origin, json.dumps(value, separators=(",", ":")).encode())


def decode(payload: bytes) -> Envelope | None:
    """The envelope of a payload; None when it is cut, or of an unknown version or kind."""
    if len(payload) < _HEAD or payload[0] != VERSION:
        return None
    try:
        return Envelope(MessageKind(payload[1]), payload[2:_HEAD], payload[_HEAD:])
    except ValueError:
        return None
