"""What a connection reports. A text message is its own event, a `str`, and a binary one is `bytes`.

Messages are not wrapped: the reader of the event would unwrap it at once, and both cost time for each message.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ping:
    """The peer's Ping. The Pong that answers it is already in `data_to_send`."""

    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Pong:
    """The peer's Pong: an answer to a Ping of ours when the payload is the same (RFC 6455 §5.5.3)."""

    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Close:
    """The end: no event follows. 1005: the peer's Close had no code; 1006: it left without one (RFC 6455 §7.1.5)."""

    code: int
    reason: str = ""


Event = str | bytes | Ping | Pong | Close
