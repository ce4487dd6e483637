"""HTTP/1.1 for a server, as pure functions and state machines on bytes: no socket, no clock, no thread."""

from greenserve.http.error_page import error_response
from greenserve.http.fields import Fields
from greenserve.http.head import RequestHead
from greenserve.http.limits import Limits
from greenserve.http.parser import CLOSED, NEED_DATA, EndOfMessage, ParserState, RequestParser
from greenserve.http.response import CONTINUE, ResponseHead

__all__ = [
    "CLOSED",
    "CONTINUE",
    "NEED_DATA",
    "EndOfMessage",
    "Fields",
    "Inbound",
    "Limits",
    "ParserState",
    "RequestHead",
    "RequestParser",
    "ResponseHead",
    "error_response",
]

Inbound = RequestParser  # its former name
