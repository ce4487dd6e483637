"""How a response's body is framed: what tells the peer where it ends (RFC 9112 §6.3), chosen and enforced here.

One class for each way. A writer takes the body as the application gives it and returns the octets to send, so that no
more and no less leaves than the head has promised. Pure; a writer serves one response.
"""

from __future__ import annotations

from greenserve.errors import InvalidResponse


class BodyWriter:
    """There is no body: a response to HEAD, or 101, 204, 304. The other ways are its subclasses.

    is_whole: all that the head promises has been written. sent: octets of body, without framing.
    """

    __slots__ = ("_left", "is_whole", "sent")

    bodyless = True
    ends_by_close = False  # the connection's end is the body's, so that a peer takes a part for the whole

    def __init__(self, length: int | None = None) -> None:
        self._left = length or 0  # octets that must follow, where the head says how many
        self.is_whole = self.bodyless or length == 0
        self.sent = 0

    def write(self, data: bytes) -> bytes:
        """Frame a piece of the body, which is not empty."""
        return b""

    def end(self, trailers: bytes = b"") -> bytes:
        """Frame the end. trailers: lines for where there is room for them (RFC 9110 §6.5). Raises InvalidResponse when
        the body is not what the head has promised.
        """
        return b""


class LengthWriter(BodyWriter):
    """Content-Length says how many octets follow."""

    __slots__ = ()

    bodyless = False

    def write(self, data: bytes) -> bytes:
        """What follows would be read as the next response (RFC 9112 §6.3), so none of it leaves."""
        allowed = data[: max(0, self._left)]
        self.skip(len(data))
        self.sent += len(allowed)
        return allowed

    def skip(self, count: int) -> None:
        """So many have been given."""
        self._left -= count
        self.is_whole = self._left <= 0

    def end(self, trailers: bytes = b"") -> bytes:
        """Nothing follows."""
        if self._left > 0:
            raise InvalidResponse(f"the body is {self._left} bytes shorter than its Content-Length")
        if self._left < 0:
            raise InvalidResponse(f"the body is {-self._left} bytes longer than its Content-Length; they were not sent")
        return b""


class ChunkedWriter(BodyWriter):
    """Each piece says its own length, and an empty one ends the body (RFC 9112 §7.1)."""

    __slots__ = ()

    bodyless = False

    def write(self, data: bytes) -> bytes:
        """One chunk."""
        self.sent += len(data)
        return b"%x\r\n%b\r\n" % (len(data), data)

    def end(self, trailers: bytes = b"") -> bytes:
        """The last chunk and the trailer section."""
        return b"0\r\n%b\r\n" % trailers


class CloseWriter(BodyWriter):
    """HTTP/1.0 has no other way for a body of unknown length."""

    __slots__ = ()

    bodyless = False
    ends_by_close = True

    def write(self, data: bytes) -> bytes:
        """As it is."""
        self.sent += len(data)
        return data


def choose_framing(
    code: int, declared: int | None, body_length: int | None, to_head: bool, http_version: str
) -> tuple[type[BodyWriter], bytes, int | None]:
    """How to frame a body: by which writer, the header line that says so if the application did not send it, and the
    length that must follow.

    declared: what the application's Content-Length says. body_length: octets of the whole body, None when unknown.
    Raises InvalidResponse when these contradict each other, or the status.
    """
    if code in {101, 204, 205, 304}:
        if code != 205:
            return BodyWriter, b"", None  # a Content-Length where it is forbidden was dropped
        if declared or body_length:
            raise InvalidResponse("205 must not have a body")  # RFC 9110 §15.3.6
        line = b"Content-Length: 0\r\n" if declared is None else b""
        return (BodyWriter, line, None) if to_head else (LengthWriter, line, 0)
    if to_head:
        return BodyWriter, _line_to_head(declared, body_length, http_version), None
    if declared is not None:
        if body_length is not None and body_length != declared:
            raise InvalidResponse(f"Content-Length says {declared}, but the body has {body_length} bytes")
        return LengthWriter, b"", declared
    if body_length is not None:
        return LengthWriter, b"Content-Length: %d\r\n" % body_length, body_length
    if http_version == "1.0":
        return CloseWriter, b"", None
    return ChunkedWriter, b"Transfer-Encoding: chunked\r\n", None


def _line_to_head(declared: int | None, body_length: int | None, http_version: str) -> bytes:
    """What GET would say, as far as it is known (RFC 9110 §9.3.2); an empty body says nothing about that of GET."""
    if declared is not None or body_length == 0:
        return b""
    if body_length is not None:
        return b"Content-Length: %d\r\n" % body_length
    return b"Transfer-Encoding: chunked\r\n" if http_version == "1.1" else b""
