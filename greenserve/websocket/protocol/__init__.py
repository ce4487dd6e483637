"""WebSockets (RFC 6455, RFC 7692) as pure functions and one state machine on bytes: no socket, no clock, no thread.

- `handshake.py`  the opening handshake, both sides
- `state.py`      one connection's state: bytes in, events out; messages in, frames (`encode.py`) out
- `plain.py`      the short way of usual messages, in and out; the compiled codec has its functions
- `frames.py`, `mask.py`, `message.py`, `utf8.py`, `deflate.py`, `close.py`, `events.py`: what it is made of
"""

from __future__ import annotations

from .encode import encode_message
from .state import MORE, Ahead, Limits, Protocol, Role, State

__all__ = ["MORE", "Ahead", "Limits", "Protocol", "Role", "State", "encode_message"]
