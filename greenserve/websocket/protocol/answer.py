"""A server's answer to our handshake, as HTTP/1.1: its head, and the beginning of a refusal's body. No I/O here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from greenserve.errors import ProtocolError
from greenserve.http.chunked import ChunkedBody, Part
from greenserve.http.limits import Limits
from greenserve.websocket.protocol.errors import HandshakeFailed

MAX_HEAD: Final = 65536  # bytes of the head, those of interim responses included; as of a request's
MAX_BODY: Final = 65536  # bytes of a refusal's body that are kept: an error page, not a download
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: [^\r\n]*)?")  # RFC 9112 §4
_LENGTH: Final = re.compile(r"[0-9]{1,18}")
_SWITCHING: Final = 101
_WITHOUT_BODY: Final = frozenset({204, 304})  # RFC 9112 §6.3


@dataclass(frozen=True, slots=True)
class Answer:
    """The head of a final response. headers: names in lower case."""

    status: int
    headers: tuple[tuple[str, str], ...]


def read_head(data: bytes) -> tuple[Answer, bytes] | None:
    """The final response's head in what has come, and what follows it; None while it is incomplete.

    Interim responses (100, 103: RFC 9110 §15.2) are passed over; 101 is final here. Raises HandshakeFailed.
    """
    rest = data
    while True:
        head, end, rest = rest.partition(b"\r\n\r\n")
        if len(data) - len(rest) > MAX_HEAD:
            raise HandshakeFailed(f"the head of the server's answer is longer than {MAX_HEAD} bytes", 0)
        if not end:
            return None
        answer = _parse(head)
        if answer.status == _SWITCHING or answer.status >= 200:
            return answer, rest


def _parse(head: bytes) -> Answer:
    first, *lines = head.split(b"\r\n")
    match = _STATUS_LINE.fullmatch(first)
    if match is None:
        raise HandshakeFailed(f"the server does not speak HTTP/1.1: it answered {first[:60]!r}", 0)
    status = int(match[1])
    headers = []
    for line in lines:
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or not name or name != name.strip():
            raise HandshakeFailed(f"the server's answer has a malformed header: {line[:60]!r}", status)
        headers.append((name.lower(), value.strip(" \t")))
    return Answer(status, tuple(headers))


class AnswerBody:
    """The first MAX_BODY bytes of a body, decoded: `data`. complete: there is nothing to wait for any more."""

    def __init__(self, answer: Answer) -> None:
        fields = dict(answer.headers)
        self.data = b""
        self._buffer = b""
        self._chunks = ChunkedBody(Limits()) if fields.get("transfer-encoding", "").lower() == "chunked" else None
        self._left = MAX_BODY
        length = fields.get("content-length", "")
        if self._chunks is None and _LENGTH.fullmatch(length):
            self._left = min(int(length), MAX_BODY)
        self.complete = not self._left or answer.status in _WITHOUT_BODY

    def feed(self, data: bytes) -> None:
        """Take what has come; b"" at the end."""
        if not data:
            self.complete = True
        if self._chunks is not None:
            data = self._decoded(self._chunks, data)
        self.data += data[: self._left]
        self._left -= min(len(data), self._left)
        self.complete = self.complete or not self._left

    def _decoded(self, chunks: ChunkedBody, data: bytes) -> bytes:
        buffer, pieces, at = self._buffer + data, [], 0
        try:
            while True:
                piece, after = chunks.decode(buffer, at)
                if after == at:
                    break
                pieces.append(piece)
                at = after
        except ProtocolError:  # what came before it is as good as any
            self.complete = True
        self._buffer = buffer[at:]
        self.complete = self.complete or chunks.part is Part.NOTHING
        return b"".join(pieces)
