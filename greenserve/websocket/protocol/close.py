"""Close frames (RFC 6455 §5.5.1, §7.4): which codes may be sent, and how code and reason are written and read."""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import Final

from greenserve.websocket.protocol.errors import InvalidPayload, ProtocolViolation
from greenserve.websocket.protocol.frames import MAX_CONTROL


class CloseCode(IntEnum):
    """The codes registered at IANA. NO_STATUS, ABNORMAL and TLS_HANDSHAKE only report; they are never sent."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS = 1005
    ABNORMAL = 1006
    INVALID_PAYLOAD = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    MANDATORY_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014
    TLS_HANDSHAKE = 1015


_UINT16: Final = Struct("!H")
_NEVER_SENT: Final = frozenset({CloseCode.NO_STATUS, CloseCode.ABNORMAL, CloseCode.TLS_HANDSHAKE})
_REGISTERED: Final = frozenset(int(code) for code in CloseCode) - _NEVER_SENT
# RFC 6455 §7.4.2: 3000-3999 are registered by libraries, 4000-4999 are the application's own.
_OPEN_RANGE: Final = range(3000, 5000)
MAX_REASON: Final = MAX_CONTROL - 2  # bytes


def is_valid_close_code(code: int) -> bool:
    """Whether `code` may stand in a Close frame."""
    return code in _REGISTERED or code in _OPEN_RANGE


def close_payload(code: int, reason: str = "") -> bytes:
    """The payload of a Close frame; empty for 1005 (no status). A reason over 123 bytes is cut between characters.

    Raises ValueError for a code that must not be sent.
    """
    if code == CloseCode.NO_STATUS and not reason:
        return b""
    if not is_valid_close_code(code):
        raise ValueError(f"the close code {code} must not be sent: use 1000-1014 (not 1004-1006) or 3000-4999")
    # Cutting rather than refusing: a reason is often the text of an exception, and a close must not fail on its length.
    text = reason.encode()[:MAX_REASON].decode(errors="ignore").encode()
    return _UINT16.pack(code) + text


def parse_close(payload: bytes) -> tuple[int, str]:
    """Code and reason of a received Close frame; (1005, "") when it is empty.

    Raises ProtocolViolation, InvalidPayload.
    """
    if not payload:
        return CloseCode.NO_STATUS, ""
    if len(payload) == 1:
        raise ProtocolViolation("a Close frame holds half a code")
    code: int
    (code,) = _UINT16.unpack_from(payload)
    if not is_valid_close_code(code):
        raise ProtocolViolation(f"the close code {code} must not be sent")
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError as error:
        raise InvalidPayload("a Close frame's reason is not valid UTF-8") from error
