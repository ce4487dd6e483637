"""Between a connection and the application, for one request: calls the application as PEP 3333 says.

No socket here. Invariant: the head leaves with the first piece of the body, in one send; before that everything can
still be replaced (start_response with exc_info, an error page), afterwards nothing. `ResponseState` says where the
response is; how its body is framed, and that it is what the head promises, is the body writer's (http/body_writer.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Iterable
from enum import Enum
from types import TracebackType
from typing import Any, Protocol, TypeAlias

from greenserve.errors import InvalidResponse
from greenserve.http.body_writer import BodyWriter, LengthWriter
from greenserve.http.forwarded import NAMES as FORWARDED
from greenserve.http.head import RequestHead
from greenserve.http.plain_head import key_of
from greenserve.http.response import ResponseHead, check_switch, early_hints, response_head, trailers
from greenserve.http.response_headers import CheckedHeaders, checked
from greenserve.wsgi.file_wrapper import FileWrapper, file_part

ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None]
Application: TypeAlias = Callable[[dict[str, Any], Callable[..., Callable[[bytes], None]]], Iterable[bytes]]

_NO_PIECES = frozenset({str, bytes, bytearray, memoryview, dict})  # they iterate, but not over bytes

COPY_LIMIT = 65536  # bytes: head and body are joined up to here; a larger body is sent by itself, uncopied

# A request with one of these has come by way of a proxy.
_OF_PROXIES = frozenset(map(key_of, ("via", "x-real-ip", *FORWARDED)))

LARGE_PIECE = 8192  # bytes: pieces of this size on average leave in one call, uncopied; smaller ones are joined


class ResponseState(Enum):
    """Where a response is."""

    NOTHING = "nothing"  # start_response has not been called
    HEAD_KNOWN = "head known"  # called, nothing sent
    BODY = "body"  # the head has been sent
    DONE = "done"


# Looking a member up in its Enum costs as much as a comparison of two; these are compared for every request.
_NOTHING, _HEAD_KNOWN, _BODY, _DONE = ResponseState


class Body(Protocol):
    """A request's body."""

    def settle(self) -> bool:
        """The response begins. Returns whether what the application leaves of the body can be skipped, so that the
        connection can be kept.
        """


class Gateway:
    """Takes one request to the application, and its response back.

    connection: has `worker.default_headers`, the same object while the second lasts; `worker.early_hints`, the setting;
    and a `stream` with `send`, `finish`, `finish_large`, `finish_file` and `give_way` (server/stream.py), which raise
    ClientDisconnected.
    body: None if the request has none. keep_alive: whether another request may follow; cleared when the response
    makes that impossible.
    """

    __slots__ = (
        "_checked",
        "_trailers",
        "_writer",
        "body",
        "connection",
        "keep_alive",
        "request",
        "sent",
        "state",
        "status",
    )

    _checked: CheckedHeaders  # what start_response was given
    status: str

    def __init__(self, connection: Any, request: RequestHead) -> None:
        self.connection = connection
        self.request = request
        self.keep_alive = request.keep_alive
        self.body: Body | None = None
        self.state = _NOTHING
        self.sent = 0  # bytes of body
        self._trailers = b""  # lines
        self._writer: BodyWriter | None = None  # None, too, for a body that is sent in one piece with the head

    def run(self, application: Application, environ: dict[str, Any]) -> None:
        """Call the application and send what it answers. Raises what it raises, InvalidResponse, ClientDisconnected.

        The iterable's close() is called whatever happens (PEP 3333).
        """
        environ["wsgi.early_hints"] = self.early_hints
        environ["greenserve.send_trailers"] = self.send_trailers
        result = application(environ, self.start_response)
        kind = type(result)
        if kind is list or kind is tuple:
            self._send_whole(result)  # type: ignore[arg-type]  # a list or a tuple, as just asked
            return
        try:
            part = file_part(result) if self.state is _HEAD_KNOWN and not self._announced else None
            if part is not None:
                self._send_file(*part)
            elif kind is FileWrapper and self.state is _HEAD_KNOWN:  # of a range, no more than it has (PEP 3333)
                _, _, _, length, _, _ = self._checked
                self._send_pieces(result.blocks(length))  # type: ignore[attr-defined]  # as just asked
            elif kind in _NO_PIECES or not (hasattr(kind, "__iter__") or hasattr(kind, "__getitem__")):
                raise _not_iterable(result)
            else:
                self._send_pieces(result)
            self._finish()
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        """PEP 3333's start_response. Raises InvalidResponse for what cannot be sent, at once, where the mistake is."""
        if exc_info is not None:
            try:
                if self.state is _BODY or self.state is _DONE:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # PEP 3333: no cycle through the traceback's frames
        elif self.state is not _NOTHING:
            raise InvalidResponse("start_response was called a second time without exc_info (PEP 3333)")
        self._checked = section = checked(status, headers)
        self.status = section[0]  # the text alone, whatever a subclass of str makes of it
        self.state = _HEAD_KNOWN
        return self.write

    def early_hints(self, headers: list[tuple[str, str]]) -> None:
        """Send a 103 with these headers at once (RFC 8297), such as `("Link", "</style.css>; rel=preload; as=style")`.

        As often as wanted before the response's own head leaves. An HTTP/1.0 client knows no interim response, and gets
        none; nor does a client that the server's early_hints leaves out. Raises InvalidResponse, ClientDisconnected.
        """
        response = early_hints(headers)
        if self.state is _BODY or self.state is _DONE:
            raise InvalidResponse("early hints come too late: the head of the response has been sent")
        if self.request.http_version == "1.1" and self._takes_hints():
            self.connection.stream.send(response)

    def _takes_hints(self) -> bool:
        """nginx before 1.29 takes a 103 for the final response, and its client waits in vain for the rest. Where it is
        not told to name the client, it speaks HTTP/1.0 by default.
        """
        policy = self.connection.worker.early_hints
        return policy == "always" or (policy == "direct" and _OF_PROXIES.isdisjoint(self.request.cgi))

    def send_trailers(self, headers: list[tuple[str, str]]) -> None:
        """Send these behind the body (RFC 9110 §6.5), together with what earlier calls gave.

        Each name must have been announced: start_response was given `("Trailer", "Server-Timing, Content-Digest")`.
        Only a chunked body has room for them: where the application sets Content-Length, and to HTTP/1.0, they are
        left out, as any recipient may leave them out. Raises InvalidResponse.
        """
        if self.state is _NOTHING:
            raise InvalidResponse("trailers come behind the body: call start_response first")
        if self.state is _DONE:
            raise InvalidResponse("the response is over: its trailers come too late")
        self._trailers += trailers(headers, self._announced)

    @property
    def _announced(self) -> tuple[str, ...]:
        """The names of the trailer fields that start_response was given."""
        _, _, _, _, _, hop_by_hop = self._checked
        return () if hop_by_hop is None else hop_by_hop.trailers

    @property
    def is_whole(self) -> bool:
        """Whether all of the response that its head promises has been given to the connection."""
        return self.state is _DONE or (self._writer is not None and self._writer.is_whole)

    @property
    def ends_by_close(self) -> bool:
        """Whether the end of the connection is what ends the body, so that a client takes a part for the whole."""
        return self._writer is not None and self._writer.ends_by_close

    def write(self, data: bytes) -> None:
        """PEP 3333's write callable: sends at once."""
        if not isinstance(data, bytes):
            raise _not_bytes(data)
        if self.state is _HEAD_KNOWN:
            self._send_head(self._make_head(None), data)
        elif self.state is _DONE:
            raise InvalidResponse("the response is over: write() was called too late")
        elif data:
            self._send_body(data)
        else:
            self.connection.stream.give_way()

    def _send_whole(self, pieces: list[bytes] | tuple[bytes, ...]) -> None:
        """A body that is there as a whole: its length is known, and head and body leave together."""
        if len(pieces) == 1:
            body = pieces[0]
            if not isinstance(body, bytes):
                raise _not_bytes(body)
        elif self._send_large(pieces):
            return
        else:
            body = b"".join(pieces)
        size = len(body)
        if self.state is _HEAD_KNOWN:
            data, _, promised, _ = head = self._make_head(size)
            if promised == size:  # so its framing is Content-Length: most responses are like this
                self.state = _BODY
                self.sent = size
                if size <= COPY_LIMIT:
                    self.connection.stream.finish(data + body)
                else:
                    self.connection.stream.finish_large(data, body)
                self.state = _DONE
                return
            self._send_head(head, body)
        elif self.state is _NOTHING:
            raise _no_start_response()
        elif body:
            self._send_body(body)
        self._finish()

    def _send_large(self, pieces: list[bytes] | tuple[bytes, ...]) -> bool:
        """If all pieces of a body are so large that a copy would cost more than a vector, send them as they are."""
        size = _size_of(pieces)
        if size <= max(COPY_LIMIT, LARGE_PIECE * len(pieces)) or self.state is not _HEAD_KNOWN:
            return False
        data, _, promised, _ = self._make_head(size)
        if promised != size:  # a response to HEAD, chunks, or a wrong length
            return False
        self.state = _BODY
        self.sent = size
        self.connection.stream.finish_large(data, *pieces)
        self.state = _DONE
        return True

    def _send_pieces(self, pieces: Iterable[bytes]) -> None:
        """A body that comes piece by piece; each is sent before the next one is asked for (PEP 3333)."""
        for piece in pieces:
            if not isinstance(piece, bytes):
                raise _not_bytes(piece)
            if not piece:  # PEP 3333: "not ready yet"
                self.connection.stream.give_way()
            elif self.state is _BODY:
                if self._writer is not None and self._writer.bodyless:
                    return  # nothing of it may be sent, so it need not be made
                self._send_body(piece)
            elif self.state is _HEAD_KNOWN:
                self._send_head(self._make_head(None), piece)
            else:
                raise _no_start_response()

    def _make_head(self, length: int | None) -> ResponseHead:
        """The head to send; `length`: of the whole body, where that is known."""
        request = self.request
        if self.body is not None and not self.body.settle():
            self.keep_alive = False
        section = self._checked
        _, code, _, declared, _, _ = section
        if code == 101:
            check_switch(section, request.upgrade)
        if declared is not None:
            length = declared  # what was promised counts, and the body writer holds the application to it
        head = response_head(
            section,
            request.method == "HEAD",
            request.http_version,
            self.keep_alive,
            length,
            self.connection.worker.default_headers,
        )
        _, _, _, self.keep_alive = head
        return head

    def _send_head(self, head: ResponseHead, body: bytes) -> None:
        """Send the head together with the first piece of the body."""
        connection = self.connection
        self.state = _BODY
        data, framing, promised, _ = head
        self._writer = writer = framing(promised)
        framed = writer.write(body) if body else b""
        self.sent = writer.sent
        if framed and writer.is_whole:
            if len(framed) <= COPY_LIMIT:
                connection.stream.finish(data + framed)
            else:
                connection.stream.finish_large(data, framed)
        elif len(framed) <= COPY_LIMIT:
            connection.stream.send(data + framed)
        else:
            connection.stream.send(data)
            connection.stream.send(framed)

    def _send_body(self, data: bytes) -> None:
        writer = self._writer
        if writer is None:
            raise InvalidResponse("the response is over: its body was sent as a whole")
        framed = writer.write(data)
        self.sent = writer.sent
        if framed:
            (self.connection.stream.finish if writer.is_whole else self.connection.stream.send)(framed)

    def _send_file(self, fd: int, offset: int, length: int) -> None:
        """Send `length` bytes of a regular file, or as many as Content-Length says if these are fewer."""
        head = self._make_head(length)
        _, _, promised, _ = head
        count = 0 if promised is None else min(length, promised)  # None: it is bodyless
        if count <= COPY_LIMIT:  # one send instead of two
            self._send_head(head, os.pread(fd, count, offset) if count else b"")
            return
        self._send_head(head, b"")
        writer = self._writer
        assert isinstance(writer, LengthWriter)
        self.sent = writer.sent = count
        self.connection.stream.finish_file(fd, offset, count)
        writer.skip(count)

    def _finish(self) -> None:
        """The application has given all that it will give."""
        if self.state is _HEAD_KNOWN:
            self._send_head(self._make_head(0), b"")
        writer = self._writer
        if writer is None:
            raise _no_start_response()
        self.state = _DONE
        try:
            end = writer.end(self._trailers)
        except InvalidResponse:
            if not writer.is_whole:  # the client waits for bytes that never come: only the close can tell it
                self.keep_alive = False
            raise
        if end:
            self.connection.stream.finish(end)


def _size_of(pieces: Iterable[Any]) -> int:
    size = 0
    for piece in pieces:
        if not isinstance(piece, bytes):
            raise _not_bytes(piece)
        size += len(piece)
    return size


def _not_iterable(result: object) -> InvalidResponse:
    hint = "is a `return` missing?" if result is None else "return [body], with body as bytes"
    if isinstance(result, Coroutine):
        hint = "write `def`, not `async def`: greenserve serves WSGI, not ASGI"
    name = "None" if result is None else type(result).__name__
    return InvalidResponse(f"the application returned {name}, and a WSGI body is an iterable of bytes: {hint}")


def _not_bytes(piece: object) -> InvalidResponse:
    return InvalidResponse(
        f"a WSGI body is made of bytes, but the application gave {type(piece).__name__} {piece!r:.60}"
        + ("; encode it first" if isinstance(piece, str) else "")
    )


def _no_start_response() -> InvalidResponse:
    return InvalidResponse("the application returned without calling start_response")
