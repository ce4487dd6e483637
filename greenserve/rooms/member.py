"""A member of a room."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from greenserve.websocket.api import WebSocket


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """A member of a room.

    id: tells members apart, in all processes. info: what `join` was given; of a member in another process a copy, as
    JSON carries it. ws: the WebSocket; None in another process.
    """

    id: str
    info: Any
    ws: WebSocket | None = None

    @property
    def local(self) -> bool:
        """Whether the WebSocket is held by this process."""
        return self.ws is not None
