"""One request and its response: calls the application as PEP 3333 says.

Invariant: the head leaves with the first piece of the body, in one send; before that everything can still be replaced
(start_response with exc_info, an error page), afterwards nothing. `Stage` says where the response is.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from enum import Enum
from types import TracebackType
from typing import Any, TypeAlias

from greenserve.errors import InvalidResponse
from greenserve.http.head import RequestHead
from greenserve.http.response import LAST_CHUNK, CheckedHeaders, Framing, ResponseHead, check_switch, checked, chunk
from greenserve.wsgi.file_wrapper import FileWrapper
from greenserve.wsgi.transport import Transport

ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None]
Application: TypeAlias = Callable[[dict[str, Any], Callable[..., Callable[[bytes], None]]], Iterable[bytes]]

_NO_PIECES = frozenset({str, bytes, bytearray, memoryview, dict})  # they iterate, but not over bytes

COPY_LIMIT = 65536  # bytes: head and body are joined up to here; a larger body is sent by itself, uncopied


class Stage(Enum):
    """Where a response is."""

    NOTHING = "nothing"  # start_response has not been called
    HEAD_KNOWN = "head known"  # called, nothing sent
    BODY = "body"  # the head has been sent
    DONE = "done"


# Looking a member up in its Enum costs as much as a comparison of two; these are compared for every request.
_NONE, _CHUNKED, _LENGTH, _CLOSE = Framing.NONE, Framing.CHUNKED, Framing.LENGTH, Framing.CLOSE
_NOTHING, _HEAD_KNOWN, _BODY, _DONE = Stage.NOTHING, Stage.HEAD_KNOWN, Stage.BODY, Stage.DONE


class Exchange:
    """One request and its response."""

    __slots__ = ("_checked", "_framing", "_overrun", "_request", "_room", "_transport", "sent", "stage", "status")

    _checked: CheckedHeaders  # what start_response was given
    _framing: Framing
    _room: int | None  # bytes of body that the declared length still allows

    def __init__(self, transport: Transport, request: RequestHead) -> None:
        self._transport = transport
        self._request = request
        self._overrun = 0  # bytes that the application gave beyond Content-Length
        self.stage = _NOTHING
        self.sent = 0  # bytes of body

    def run(self, application: Application, environ: dict[str, Any]) -> None:
        """Call the application and send what it answers. Raises what it raises, InvalidResponse, ClientDisconnected.

        The iterable's close() is called whatever happens (PEP 3333).
        """
        result = application(environ, self.start_response)
        kind = type(result)
        if kind is list or kind is tuple:
            self._send_whole(result)  # type: ignore[arg-type]  # a list or a tuple, as just asked
            return
        try:
            if type(result) is FileWrapper and self.stage is _HEAD_KNOWN:  # a subclass may have its own idea of blocks
                self._send_file(result)
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
                if self.stage is _BODY or self.stage is _DONE:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # PEP 3333: no cycle through the traceback's frames
        elif self.stage is not _NOTHING:
            raise InvalidResponse("start_response was called a second time without exc_info (PEP 3333)")
        self._checked = given = checked(status, headers)
        self.status = given.status
        self.stage = _HEAD_KNOWN
        return self.write

    @property
    def is_whole(self) -> bool:
        """Whether all of the response that its head promises has been given to the transport."""
        return self.stage is _DONE or (self.stage is _BODY and (self._framing is _NONE or self._room == 0))

    @property
    def ends_by_close(self) -> bool:
        """Whether the end of the connection is what ends the body, so that a client takes a part for the whole."""
        return self._framing is _CLOSE

    def write(self, data: bytes) -> None:
        """PEP 3333's write callable: sends at once."""
        if not isinstance(data, bytes):
            raise _not_bytes(data)
        if self.stage is _HEAD_KNOWN:
            self._send_head(self._make_head(None), data)
        elif self.stage is _DONE:
            raise InvalidResponse("the response is over: write() was called too late")
        elif data:
            self._send_body(data)
        else:
            self._transport.give_way()

    def _send_whole(self, pieces: list[bytes] | tuple[bytes, ...]) -> None:
        """A body that is there as a whole: its length is known, and head and body leave together."""
        body = pieces[0] if len(pieces) == 1 else _join(pieces)
        if not isinstance(body, bytes):
            raise _not_bytes(body)
        size = len(body)
        if self.stage is _HEAD_KNOWN:
            head = self._make_head(size)
            if head.length == size:  # so its framing is LENGTH: most responses are like this
                self.stage, self._framing, self._room = _BODY, _LENGTH, size
                self.sent = size
                if size <= COPY_LIMIT:
                    self._transport.finish(head.data + body)
                else:
                    self._transport.finish_large(head.data, body)
                self.stage = _DONE
                return
            self._send_head(head, body)
        elif self.stage is _NOTHING:
            raise _no_start_response()
        elif body:
            self._send_body(body)
        self._finish()

    def _send_pieces(self, pieces: Iterable[bytes]) -> None:
        """A body that comes piece by piece; each is sent before the next one is asked for (PEP 3333)."""
        for piece in pieces:
            if not isinstance(piece, bytes):
                raise _not_bytes(piece)
            if not piece:  # PEP 3333: "not ready yet"
                self._transport.give_way()
                continue
            if self.stage is _BODY:
                if self._framing is _NONE:
                    return  # HEAD, 204, 304: nothing of it may be sent, so it need not be made
                self._send_body(piece)
            elif self.stage is _HEAD_KNOWN:
                self._send_head(self._make_head(None), piece)
            else:
                raise _no_start_response()

    def _make_head(self, length: int | None) -> ResponseHead:
        """The head to send; `length`: of the whole body, where that is known."""
        transport, request = self._transport, self._request
        keep_alive = transport.keep_alive
        if (request.content_length or request.chunked) and not transport.settle_body():
            keep_alive = False
        given = self._checked
        if given.code == 101:
            check_switch(given, request.fields.upgrade)
        if given.length is not None:
            length = given.length  # what was promised counts; `_send_body` and `_finish` hold the application to it
        head = given.head(request.method == "HEAD", request.http_version, keep_alive, length, transport.host.date)
        transport.keep_alive = head.keep_alive
        return head

    def _send_head(self, head: ResponseHead, body: bytes) -> None:
        """Send the head together with the first piece of the body."""
        transport = self._transport
        self.stage = _BODY
        self._framing = framing = head.framing
        self._room = room = head.length
        if framing is _NONE or not body:
            transport.send(head.data)
            return
        if room is not None:
            body = self._cut(body, room)
            self._room = room - len(body)
        elif framing is _CHUNKED:
            self.sent += len(body)
            transport.send(head.data + chunk(body))
            return
        self.sent += len(body)
        if room is not None and not self._room:
            if len(body) <= COPY_LIMIT:
                transport.finish(head.data + body)
            else:
                transport.finish_large(head.data, body)
            return
        if len(body) <= COPY_LIMIT:
            transport.send(head.data + body)
        else:
            transport.send(head.data)
            transport.send(body)

    def _send_body(self, data: bytes) -> None:
        framing = self._framing
        if framing is _NONE:
            return
        if framing is _CHUNKED:
            self.sent += len(data)
            self._transport.send(chunk(data))
            return
        room = self._room
        if room is not None:
            data = self._cut(data, room)
            self._room = room - len(data)
            self.sent += len(data)
            if self._room:
                self._transport.send(data)
            elif data:
                self._transport.finish(data)
            return
        self.sent += len(data)
        self._transport.send(data)

    def _send_file(self, wrapper: FileWrapper) -> None:
        regular = wrapper.regular_file()
        if regular is None:
            self._send_pieces(wrapper.blocks(self._checked.length))  # of a range, no more than it has (PEP 3333)
            return
        fd, offset, length = regular
        self._send_head(self._make_head(length), b"")
        if self._framing is _NONE:
            return
        count = length if self._room is None else min(length, self._room)
        self.sent += count
        self._transport.finish_file(fd, offset, count)
        if self._room is not None:
            self._room -= count

    def _finish(self) -> None:
        """The application has given all that it will give."""
        if self.stage is _HEAD_KNOWN:
            self._send_head(self._make_head(0), b"")
        elif self.stage is _NOTHING:
            raise _no_start_response()
        self.stage = _DONE
        if self._framing is _CHUNKED:
            self._transport.finish(LAST_CHUNK)
        elif self._framing is _LENGTH and self._room:
            self._transport.keep_alive = False  # the client waits for bytes that never come: only the close can tell it
            raise InvalidResponse(f"the body is {self._room} bytes shorter than its Content-Length")
        if self._overrun:
            raise InvalidResponse(
                f"the body is {self._overrun} bytes longer than its Content-Length; they were not sent"
            )

    def _cut(self, data: bytes, room: int) -> bytes:
        """What Content-Length still allows of `data`: the rest would be read as the next response (RFC 9112 §6.3), so
        none of it leaves.
        """
        self._overrun += max(0, len(data) - room)
        return data[:room]


def _join(pieces: Iterable[Any]) -> bytes:
    for piece in pieces:
        if not isinstance(piece, bytes):
            raise _not_bytes(piece)
    return b"".join(pieces)


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
