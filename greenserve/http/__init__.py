"""HTTP/1.1 for a server, as pure functions and state machines on bytes: no socket, no clock, no thread."""

from __future__ import annotations

from .body_writer import BodyWriter, ChunkedWriter, CloseWriter, LengthWriter
from .fields import Fields
from .head import RequestHead
from .limits import Limits
from .parser import CLOSED, NEED_DATA, EndOfMessage, Event, ParserState, RequestParser, Signal
from .response import CONTINUE, ResponseHead, error_response, response_head

__all__ = [
    "CLOSED",
    "CONTINUE",
    "NEED_DATA",
    "BodyWriter",
    "ChunkedWriter",
    "CloseWriter",
    "EndOfMessage",
    "Event",
    "Fields",
    "LengthWriter",
    "Limits",
    "ParserState",
    "RequestHead",
    "RequestParser",
    "ResponseHead",
    "Signal",
    "error_response",
    "response_head",
]
