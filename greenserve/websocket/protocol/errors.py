"""What goes wrong on a WebSocket: whose fault, and the close code (RFC 6455 §7.4) or HTTP status that says so."""

from __future__ import annotations

from collections.abc import Sequence

from greenserve.errors import GreenserveError, ProtocolError
from greenserve.http.response import status_line


class WebSocketError(GreenserveError):
    """The root of what is raised about WebSockets."""


class ProtocolViolation(WebSocketError):
    """The peer broke the protocol: the connection is failed (RFC 6455 §7.1.7) with the close code `code`, here 1002.

    `reason` is the sentence sent in the Close frame, at most 123 bytes.
    """

    code = 1002

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason} (close code {self.code})")
        self.reason = reason


class InvalidPayload(ProtocolViolation):
    """1007: a text message that is not UTF-8, or a compressed one that does not inflate."""

    code = 1007


class MessageTooBig(ProtocolViolation):
    """1009: a frame or a message (after inflation) is larger than the limits allow."""

    code = 1009


class ConnectionClosed(WebSocketError, ConnectionError):
    """The WebSocket is closed or closing, so nothing can be sent. A ConnectionError, so applications handle it as one.

    `code` and `reason` are those of the Close frame that ended it; 1005 when it had none, 1006 when the peer was gone
    without one (RFC 6455 §7.1.5).
    """

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"the WebSocket is closed (code {code}{', ' + reason if reason else ''})")
        self.code = code
        self.reason = reason


class HandshakeRejected(ProtocolError):
    """The upgrade is refused with an ordinary HTTP response. Let it pass, and the server answers; or answer with
    `start_response(error.status_line, error.response_headers)` and `[error.body]`.

    headers: those that the status needs, beyond what every response has.
    """

    def __init__(self, status: int, detail: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.body = f"{detail}\n".encode("utf-8", "replace")
        self.headers = tuple(headers)

    @property
    def response_headers(self) -> list[tuple[str, str]]:
        """Headers as PEP 3333 wants them for start_response: of one hop are none among them."""
        kept = [header for header in self.headers if header[0] != "Connection"]
        return [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(self.body))), *kept]

    @property
    def status_line(self) -> str:
        """Status and phrase as PEP 3333 wants them for start_response, "403 Forbidden"."""
        return status_line(self.status)


class HandshakeFailed(WebSocketError):
    """The server did not accept our upgrade request as RFC 6455 §4.1 demands.

    status: the HTTP status that it sent, 0 when it sent none. headers: its header fields, (name in lower case, value).
    body: what it said, at most 64 KiB.
    """

    def __init__(self, detail: str, status: int, headers: Sequence[tuple[str, str]] = (), body: bytes = b"") -> None:
        super().__init__(detail)
        self.status = status
        self.headers = tuple(headers)
        self.body = body
