"""HTTP/1.1 for a server, as pure functions and state machines on bytes: no socket, no clock, no thread."""

from __future__ import annotations

from .fields import Fields
from .head import RequestHead
from .limits import Limits
from .request import CLOSED, NEED_DATA, EndOfMessage, Event, Inbound, Signal, State
from .response import CONTINUE, LAST_CHUNK, Framing, ResponseHead, chunk, error_response, response_head

__all__ = [
    "CLOSED",
    "CONTINUE",
    "LAST_CHUNK",
    "NEED_DATA",
    "EndOfMessage",
    "Event",
    "Fields",
    "Framing",
    "Inbound",
    "Limits",
    "RequestHead",
    "ResponseHead",
    "Signal",
    "State",
    "chunk",
    "error_response",
    "response_head",
]
