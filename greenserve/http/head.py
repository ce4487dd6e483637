"""The request head: what is known of it, and how one is judged that plain_head.py leaves.

Its grammar proves many of them good: origin-form target, HTTP/1.0 or 1.1, no control character, no transfer coding.
What is odd is judged twice: by our own rules, which follow RFC 9110 and 9112 where h11 is laxer, and by h11, whose
verdict stands. No I/O here, and no state.
"""

from __future__ import annotations

import h11

from greenserve.errors import (
    BadRequest,
    HeaderFieldsTooLarge,
    NotImplementedByServer,
    ProtocolError,
    UriTooLong,
    VersionNotSupported,
)

from .fields import Fields, as_http_1_0, check_host, fields_of, odd_fields_of, with_host
from .grammar import (
    ABSOLUTE_TARGET,
    BROKEN_LINE,
    FIELD_LINES,
    METHOD,
    NOT_IN_REQUEST_LINE,
    PLAIN_REQUEST_LINE,
    REQUEST_LINE,
    REQUEST_LINE_BEGUN,
    TARGET,
)
from .limits import Limits, is_due
from .plain_head import PlainHead, field_of, is_told, key_of, line_variables

__all__ = ["Fields", "HeadWatch", "RequestHead", "check_request_line", "parse_head", "too_large"]


# A TLS record of the type handshake, which is what a ClientHello comes in (RFC 8446 §5.1).
_TLS = b"\x16"
_SPEAKS_TLS = "this is TLS, and the port speaks plain HTTP: use http://, or give the server a certificate (tls_cert)"


class RequestHead:
    """The head of one request; immutable and shared between requests with the same bytes.

    method, target: as received. http_version: "1.1" or "1.0" (a later minor version is spoken to as 1.1).
    path, query: of the target, raw and undecoded, without the "?"; path is "*" for OPTIONS of the server as a whole.
    chunked: the body comes in chunks. content_length: bytes, 0 without a body or chunked.
    keep_alive: what the version and the Connection options say (RFC 9112 §9.3).
    expect_continue, upgrade: as in `fields`, but what HTTP/1.0 does not know is not there.
    cgi: the metavariables that follow from the head alone (RFC 3875 §4.1, PEP 3333), without those of fields with an
    underscore in their names. told: a proxy may have said something of its client in it.
    size: octets of all of it, as received.
    """

    __slots__ = (
        "_fields",
        "cgi",
        "chunked",
        "content_length",
        "expect_continue",
        "http_version",
        "keep_alive",
        "method",
        "path",
        "query",
        "size",
        "target",
        "told",
        "upgrade",
    )

    def __init__(self, plain: PlainHead, fields: Fields | None = None) -> None:
        (
            self.size,
            self.method,
            self.target,
            self.path,
            self.query,
            self.http_version,
            self.content_length,
            self.keep_alive,
            self.told,
            self.cgi,
        ) = plain
        self._fields = fields
        if fields is None:  # it is plain
            self.chunked = self.expect_continue = False
            self.upgrade: tuple[str, ...] = ()
        else:
            self.chunked = fields.chunked
            self.expect_continue = fields.expect_continue
            self.upgrade = fields.upgrade

    @property
    def fields(self) -> Fields:
        """The header section."""
        fields = self._fields
        if fields is None:
            pairs = [(field_of(key), value) for key, value in self.cgi.items()]
            fields = self._fields = Fields(tuple([(name, value) for name, value in pairs if name]))
        return fields

    def get(self, name: str) -> str | None:
        """Return the value of the field `name`, in lower case, as an environ has it; None if it was not sent."""
        return self.cgi.get(key_of(name)) if "_" not in name else self.fields.get(name)

    def __repr__(self) -> str:
        return f"<RequestHead {self.method} {self.target[:100]} HTTP/{self.http_version}>"


def parse_head(raw: bytes, limits: Limits) -> RequestHead:
    """Turn one complete head (request line to blank line) into a RequestHead.

    Raises BadRequest, UriTooLong, HeaderFieldsTooLarge, ExpectationFailed, NotImplementedByServer,
    VersionNotSupported or ContentTooLarge. Limits on the size of the head are the caller's to check.
    """
    line_end = raw.index(b"\n") + 1
    match = PLAIN_REQUEST_LINE.fullmatch(raw[:line_end].decode("latin-1"))
    if match is None:
        return _odd_head(raw, line_end, limits)
    method, target, path, query, minor = match.groups("")
    _check_sizes(method, target, limits)
    _check_count(raw, limits)
    fields = fields_of(raw[line_end:-2])
    if fields is None or not fields.plain:
        return _odd_head(raw, line_end, limits)
    return _finish(len(raw), method, target, path, query, minor, fields)


def _finish(size: int, method: str, target: str, path: str, query: str, minor: str, fields: Fields) -> RequestHead:
    """The rules that need both the request line and the section."""
    old = minor == "0"
    if old:
        if fields.chunked:
            # RFC 9112 §6.1: an HTTP/1.0 sender does not know the coding, so a proxy in between is confused.
            raise BadRequest("Transfer-Encoding in an HTTP/1.0 request")
        fields = as_http_1_0(fields)
    elif fields.host is None:
        raise BadRequest("an HTTP/1.1 request needs the field Host")  # RFC 9112 §3.2
    version = "1.0" if old else "1.1"
    cgi = line_variables(method, target, path, query, f"HTTP/{version}")
    for name, value in fields.items:
        if "_" in name:  # "X_Forwarded_For" would become the same key as "X-Forwarded-For", which a proxy may vouch for
            continue
        key = key_of(name)
        if key not in cgi:
            cgi[key] = value
        elif key == "HTTP_COOKIE":  # RFC 6265 §5.4 has one field with "; "; RFC 9113 §8.2.3 lets clients split it
            cgi[key] += "; " + value
        elif key != "CONTENT_TYPE":
            cgi[key] += ", " + value  # RFC 9110 §5.3; PEP 3333 leaves only one key for it
    keep_alive = not fields.close and (not old or fields.keep_alive)
    told = any(is_told(name) for name, _ in fields.items)
    length = fields.content_length or 0
    return RequestHead((size, method, target, path, query, version, length, keep_alive, told, cgi), fields)


def _odd_head(raw: bytes, line_end: int, limits: Limits) -> RequestHead:
    """Judge a head that is not plain: request line, then lines, then their meaning, then h11."""
    method, target, minor = check_request_line(raw[:line_end], limits)
    _check_count(raw, limits)
    block = raw[line_end:-2]
    good = _good_lines(block, 0)
    if good != len(block):
        raise _broken_field_line(block, good)
    fields = odd_fields_of(block)
    path, query, authority = _split_target(method, target)
    if authority is not None and (fields.host is not None or minor == "0"):
        fields = with_host(fields, authority)
    head = _finish(len(raw), method, target, path, query, minor, fields)
    _ask_h11(raw)
    return head


def _ask_h11(raw: bytes) -> None:
    """Raise what h11 says against the head. A connection for this one head: h11 keeps nothing between requests."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=len(raw))
    connection.receive_data(raw)
    try:
        connection.next_event()
    except h11.RemoteProtocolError as error:
        kind = NotImplementedByServer if error.error_status_hint == 501 else BadRequest
        raise kind(f"h11 refuses the head: {str(error)[:200]}") from error


def check_request_line(line: bytes | bytearray, limits: Limits) -> tuple[str, str, str]:
    """Return (method, target, minor version) of a complete request line; raise what is wrong with it."""
    text = line.decode("latin-1")
    match = REQUEST_LINE.fullmatch(text)
    if match is None:
        raise _broken_request_line(text)
    method, target, major, minor = match.groups()
    if major != "1":
        raise VersionNotSupported(f"HTTP/{major}.{minor} is not supported; use HTTP/1.1")
    _check_sizes(method, target, limits)
    _split_target(method, target)
    return method, target, minor


def _check_sizes(method: str, target: str, limits: Limits) -> None:
    if len(method) > limits.max_method:
        raise NotImplementedByServer(f"the method is longer than {limits.max_method} characters")
    if len(target) > limits.max_target:
        raise UriTooLong(f"the request target is longer than max_target, {limits.max_target} bytes")


def _check_count(raw: bytes, limits: Limits) -> None:
    """Before the lines are looked at: ten thousand of them, of a few octets each, cost ten milliseconds to take in."""
    if raw.count(b"\n") - 2 > limits.max_header_count:  # without the request line and the blank line
        raise HeaderFieldsTooLarge(f"more header fields than max_header_count, {limits.max_header_count}")


def _broken_request_line(text: str) -> BadRequest:
    """Say what keeps a complete line from being a request line (RFC 9112 §3)."""
    shown = repr(text[:100])
    if text.startswith(_TLS.decode("ascii")):
        return BadRequest(_SPEAKS_TLS)
    if text.startswith("PROXY "):
        return BadRequest("a PROXY header is not expected here: switch it off in the proxy, or on by --proxy-protocol")
    if not text.endswith("\r\n"):
        return BadRequest(f"the request line ends in a bare LF: {shown}")
    parts = text[:-2].split(" ")
    if len(parts) != 3:
        return BadRequest(f"the request line is not a method, a target and a version, one space between: {shown}")
    if METHOD.fullmatch(parts[0]) is None:
        return BadRequest(f"the method is not a token: {shown}")
    if TARGET.fullmatch(parts[1]) is None:
        return BadRequest(f"the request target holds a character that must be percent-encoded: {shown}")
    return BadRequest(f"the version is not HTTP/ digit . digit: {shown}")


def _split_target(method: str, target: str) -> tuple[str, str, str | None]:
    """Return (path, query, authority or None) by the form of the target (RFC 9112 §3.2)."""
    if method == "CONNECT":
        check_host(target)
        if not target.rpartition(":")[2].isdigit():
            raise BadRequest("the target of CONNECT is not a host and a port")
        raise NotImplementedByServer("CONNECT asks for a tunnel; this server is not a proxy")
    if target.startswith("/"):
        path, _, query = target.partition("?")
        return path, query, None
    if target == "*":
        if method != "OPTIONS":
            raise BadRequest("the target * is for OPTIONS only")
        return "*", "", None
    match = ABSOLUTE_TARGET.fullmatch(target)
    if match is None:
        raise BadRequest(f"the request target has none of the forms of RFC 9112 section 3.2: {target[:100]!r}")
    authority, path, query = match.groups("")
    check_host(authority)
    if not path:
        # RFC 9112 §3.2.4: OPTIONS without path and query asks about the server as a whole.
        path = "*" if method == "OPTIONS" and match[3] is None else "/"
    return path, query, authority


def _good_lines(buffer: bytes | bytearray, at: int) -> int:
    """Return the end of the field lines that follow `at` without a flaw."""
    matched = FIELD_LINES.match(buffer, at)
    return at if matched is None else matched.end()


def _broken_field_line(block: bytes, at: int) -> BadRequest:
    """Say what keeps the line at `at` from being a field line (RFC 9112 §5)."""
    line = block[at:].split(b"\r\n", 1)[0]
    shown = repr(line[:100].decode("latin-1"))
    name, colon, _ = line.partition(b":")
    if BROKEN_LINE.search(line + b"\r\n"):
        return BadRequest(f"a header line holds a NUL, or a CR or LF of its own: {shown}")
    if line[:1] in {b" ", b"\t"}:
        # RFC 9112 §5.2 lets a server fold or refuse. Those in front of us disagree on which line a fold belongs to.
        return BadRequest(f"header line folding is obsolete and refused: {shown}")
    if not colon:
        return BadRequest(f"a header line has no colon: {shown}")
    if name.rstrip(b" \t") != name:
        return BadRequest(f"whitespace between field name and colon: {shown}")
    return BadRequest(f"a field name is not a token: {shown}")


class HeadWatch:
    """Judges a head that is still arriving, so that what can never become one does not wait for its blank line.

    Each octet is read a bounded number of times, however small the pieces are: `seen` and `checked` are how far the
    last look went.
    """

    __slots__ = ("checked", "seen")

    def __init__(self) -> None:
        self.seen = 0  # octets looked at; the blank line cannot end before
        self.checked = 0  # octets in complete lines that were found good

    def look(self, buffer: bytes | bytearray, limits: Limits) -> None:
        """Look at the head so far, which starts at 0 and has no blank line. Raises as parse_head does."""
        seen, self.seen = self.seen, len(buffer)
        if len(buffer) > limits.max_head:
            raise too_large(buffer, limits)
        fresh = max(seen - 1, 0)  # a CR that was last may turn out to be bare
        if not self.checked:
            line_end = buffer.find(b"\n", fresh) + 1
            if not line_end:
                self._begun(buffer, fresh, limits)
                return
            check_request_line(buffer[:line_end], limits)
            self.checked = line_end
        broken = BROKEN_LINE.search(buffer, max(fresh, self.checked))
        if broken is not None or buffer.find(b"\n", max(fresh, self.checked)) >= 0:
            self.checked = _good_lines(buffer, self.checked)
            if broken is not None or buffer.find(b"\n", self.checked) >= 0:
                raise _broken_field_line(bytes(buffer), self.checked)

    def _begun(self, buffer: bytes | bytearray, fresh: int, limits: Limits) -> None:
        """A request line without its end."""
        if NOT_IN_REQUEST_LINE.search(buffer, fresh):
            if buffer.startswith(_TLS):
                raise BadRequest(_SPEAKS_TLS)
            raise BadRequest("this is not an HTTP request: a request line holds printable ASCII only")
        if not is_due(fresh, len(buffer)):
            return
        match = REQUEST_LINE_BEGUN.fullmatch(buffer)
        if match is None:
            raise BadRequest(f"this is not the beginning of a request line: {bytes(buffer[:100]).decode('latin-1')!r}")
        method, target = match.groups(b"")
        _check_sizes(method.decode("ascii"), target.decode("ascii"), limits)


def too_large(buffer: bytes | bytearray, limits: Limits) -> ProtocolError:
    """Return the error for a head, whole or not, that starts at 0 and is over the limit: the line's, or 431."""
    line_end = buffer.find(b"\n") + 1
    if not line_end:
        return UriTooLong(f"the request target is longer than max_target, {limits.max_target} bytes")
    check_request_line(buffer[:line_end], limits)
    return HeaderFieldsTooLarge(f"the head is larger than max_head, {limits.max_head} bytes")
