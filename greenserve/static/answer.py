"""What a GET or HEAD for a file is answered (RFC 9110 §13 and §14): status, headers and body, as WSGI has them."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator

from greenserve.http.conditions import failed_condition, format_date, range_holds
from greenserve.http.ranges import parse_range
from greenserve.static.refused import Answer, Refused
from greenserve.static.representation import Representation
from greenserve.wsgi.environ import Environ
from greenserve.wsgi.file_wrapper import FilePart


def answer_file(environ: Environ, file: Representation) -> Answer:
    """The answer, which closes the file: at once where nothing of it is sent, else by its body's `close`. Raises
    Refused.
    """
    body: Iterable[bytes] = ()
    try:
        answer = _answer_file(environ, file)
        body = answer[2]
        return answer
    finally:
        if not hasattr(body, "close"):
            FilePart(file.fd, 0, 0).close()


def _answer_file(environ: Environ, file: Representation) -> Answer:
    status = failed_condition(environ, True, file.validators)
    state = [("ETag", file.validators.etag)]
    if file.place.varies:
        state.append(("Vary", "Accept-Encoding"))
    if status == 412:
        raise Refused(412, "the file is not in the state that the request asks for", *state)
    headers = [*state, ("Cache-Control", file.place.cache_control)]
    if status == 304:  # RFC 9110 §15.4.5: these, and no others
        return "304 Not Modified", headers, ()
    headers += [("X-Content-Type-Options", "nosniff"), ("Accept-Ranges", "bytes")]
    if file.validators.modified is not None:
        headers.append(("Last-Modified", format_date(file.validators.modified)))
    if file.coding:
        headers.append(("Content-Encoding", file.coding))
    is_get = environ["REQUEST_METHOD"] == "GET"
    parts = None
    if is_get and "HTTP_RANGE" in environ and range_holds(environ.get("HTTP_IF_RANGE"), file.validators):
        parts = parse_range(environ["HTTP_RANGE"], file.size)
    if parts is None:
        headers += [("Content-Type", file.place.kind), ("Content-Length", str(file.size))]
        return "200 OK", headers, FilePart(file.fd, 0, file.size) if is_get else ()
    if not parts:
        state.append(("Content-Range", f"bytes */{file.size}"))
        raise Refused(416, f"the file has {file.size} bytes, and none of those that are asked for", *state)
    if len(parts) == 1:
        start, end = parts[0]
        headers += [("Content-Type", file.place.kind), ("Content-Length", str(end - start))]
        headers.append(("Content-Range", f"bytes {start}-{end - 1}/{file.size}"))
        return "206 Partial Content", headers, FilePart(file.fd, start, end - start)
    body = ByteRanges(file, parts)
    headers += [("Content-Type", body.content_type), ("Content-Length", str(body.length))]
    return "206 Partial Content", headers, body


class ByteRanges:
    """multipart/byteranges: several parts of a file, each with a head of its own (RFC 9110 §14.6)."""

    def __init__(self, file: Representation, parts: list[tuple[int, int]]) -> None:
        boundary = secrets.token_hex(16)  # no file can hold it on purpose
        self.content_type = f"multipart/byteranges; boundary={boundary}"
        self._parts = [
            (
                f"\r\n--{boundary}\r\nContent-Type: {file.place.kind}\r\n"
                f"Content-Range: bytes {start}-{end - 1}/{file.size}\r\n\r\n".encode("latin-1"),
                FilePart(file.fd, start, end - start),
            )
            for start, end in parts
        ]
        self._end = f"\r\n--{boundary}--\r\n".encode("latin-1")
        self.length = sum(len(head) + part.count for head, part in self._parts) + len(self._end)

    def __iter__(self) -> Iterator[bytes]:
        for head, part in self._parts:
            yield head
            yield from part
        yield self._end

    def close(self) -> None:
        """Close the file, which the parts share."""
        self._parts[0][1].close()
