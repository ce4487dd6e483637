"""PEP 3333's rules for calling an application and sending what it answers."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from io import BytesIO
from pathlib import Path
from wsgiref.validate import validator

import pytest

from greenserve.errors import InvalidResponse
from greenserve.wsgi import FileWrapper
from greenserve.wsgi.gateway import COPY_LIMIT, ResponseState
from tests.wsgi.fakes import DATE, Wire, call, get, head_of

PLAIN = [("Content-Type", "text/plain")]


def answering(*pieces, status="200 OK", headers=None):
    def application(environ, start_response):
        start_response(status, list(PLAIN if headers is None else headers))
        return list(pieces)

    return application


def body_of(wire):
    return b"".join(wire.sends).partition(b"\r\n\r\n")[2]


def head_lines(wire):
    return b"".join(wire.sends).partition(b"\r\n\r\n")[0].split(b"\r\n")


def test_head_and_body_leave_in_one_send():
    wire, gateway = call(answering(b"hello"))
    assert len(wire.sends) == 1
    assert wire.sends[0].startswith(b"HTTP/1.1 200 OK\r\n")
    assert wire.sends[0].endswith(b"\r\n\r\nhello")
    assert b"Content-Length: 5" in head_lines(wire)
    assert b"Date: " + DATE in head_lines(wire)
    assert (gateway.sent, gateway.state, gateway.status) == (5, ResponseState.DONE, "200 OK")


def test_a_list_of_pieces_has_a_known_length():
    wire, _ = call(answering(b"one", b"", b"two"))
    assert b"Content-Length: 6" in head_lines(wire)
    assert body_of(wire) == b"onetwo"


def test_a_large_body_is_not_copied_behind_its_head():
    body = b"x" * (COPY_LIMIT + 1)
    wire, _ = call(answering(body))
    assert wire.sends[1] is body


@pytest.mark.parametrize("sizes", [[5], [5, 6], [COPY_LIMIT + 1], [3, COPY_LIMIT + 1], [3, 0, 2, 0], [7, 8, 9]])
@pytest.mark.parametrize("declared", [True, False])
def test_the_last_piece_is_sent_as_the_end(sizes, declared):
    """So the transport may keep it for a client that takes it slowly, and the application is done."""

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", str(sum(sizes)))] if declared else [])
        for size in sizes:
            yield b"x" * size

    wire, _ = call(application)
    assert wire.ends == [wire.sends[-1]]
    assert wire.sends[-1].endswith(b"x" if declared else b"0\r\n\r\n")


def test_a_generator_streams_each_piece_before_the_next_is_asked_for():
    wire = Wire()
    seen = []

    def application(environ, start_response):
        start_response("200 OK", PLAIN)
        for piece in (b"one", b"two", b"three"):
            seen.append(len(wire.sends))
            yield piece

    call(application, wire=wire)
    assert seen == [0, 1, 2]
    assert wire.sends[0].endswith(b"\r\n\r\n3\r\none\r\n")
    assert wire.sends[1:] == [b"3\r\ntwo\r\n", b"5\r\nthree\r\n", b"0\r\n\r\n"]
    assert b"Transfer-Encoding: chunked" in head_lines(wire)


def test_a_streamed_body_to_http_1_0_ends_with_the_connection():
    def application(environ, start_response):
        start_response("200 OK", PLAIN)
        yield b"one"
        yield b"two"

    wire, _ = call(application, get(version="1.0", headers="Connection: keep-alive\r\n"))
    assert body_of(wire) == b"onetwo"
    assert not wire.gateway.keep_alive


def test_an_empty_iterable_sends_its_head():
    wire, _ = call(answering(status="204 No Content", headers=[]))
    assert wire.sends[0].startswith(b"HTTP/1.1 204 No Content\r\n")
    wire, _ = call(lambda environ, start_response: (start_response("200 OK", PLAIN), iter(()))[1])
    assert b"Content-Length: 0" in head_lines(wire)


def test_head_gets_the_head_of_get_and_no_body():
    wire, gateway = call(answering(b"hello"), get(method="HEAD"))
    assert b"Content-Length: 5" in head_lines(wire)
    assert body_of(wire) == b""
    assert gateway.sent == 0


def test_head_does_not_exhaust_a_generator_but_closes_it():
    class Endless:
        closed = False

        def __iter__(self):
            while True:
                yield b"more"

        def close(self):
            self.closed = True

    body = Endless()
    wire, _ = call(lambda environ, start_response: (start_response("200 OK", PLAIN), body)[1], get(method="HEAD"))
    assert body_of(wire) == b""
    assert body.closed


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_a_status_without_content_sends_none(status):
    wire, _ = call(answering(b"surplus", status=status))
    assert body_of(wire) == b""


def test_write_sends_at_once_and_before_the_iterable():
    wire = Wire()

    def application(environ, start_response):
        write = start_response("200 OK", PLAIN)
        write(b"first")
        assert len(wire.sends) == 1
        write(b"second")
        return [b"third"]

    call(application, wire=wire)
    assert body_of(wire) == b"5\r\nfirst\r\n6\r\nsecond\r\n5\r\nthird\r\n0\r\n\r\n"


def test_close_is_called_after_the_body_and_after_an_error():
    calls = []

    class Body:
        def __init__(self, fails):
            self.fails = fails

        def __iter__(self):
            yield b"one"
            if self.fails:
                raise RuntimeError("in the middle")

        def close(self):
            calls.append(self.fails)

    def application(environ, start_response):
        start_response("200 OK", PLAIN)
        return Body(environ["PATH_INFO"] == "/fails")

    call(application)
    with pytest.raises(RuntimeError):
        call(application, get("/fails"))
    assert calls == [False, True]


def test_start_response_may_be_called_inside_the_iteration():
    def application(environ, start_response):
        start_response("200 OK", PLAIN)
        yield b"late"

    wire, _ = call(application)
    assert b"late" in body_of(wire)


def test_a_second_start_response_needs_exc_info():
    def application(environ, start_response):
        start_response("200 OK", PLAIN)
        start_response("200 OK", PLAIN)
        return []

    with pytest.raises(InvalidResponse, match="second time"):
        call(application)


def test_exc_info_replaces_a_head_that_is_not_sent():
    def application(environ, start_response):
        start_response("200 OK", PLAIN)
        try:
            raise ValueError("boom")
        except ValueError:
            start_response("500 Oops", PLAIN, sys.exc_info())
        return [b"sorry"]

    wire, gateway = call(application)
    assert wire.sends[0].startswith(b"HTTP/1.1 500 Oops\r\n")
    assert gateway.status == "500 Oops"


def test_exc_info_is_raised_once_the_head_is_sent():
    def application(environ, start_response):
        start_response("200 OK", PLAIN)(b"begun")
        try:
            raise ValueError("boom")
        except ValueError:
            start_response("500 Oops", PLAIN, sys.exc_info())
        return []

    with pytest.raises(ValueError, match="boom"):
        call(application)


def test_no_start_response_is_an_error():
    for result in ([], [b"x"], iter([b"x"]), iter(())):
        with pytest.raises(InvalidResponse, match="without calling start_response"):
            call(lambda environ, start_response, result=result: result)


@pytest.mark.parametrize("body", [["text"], [b"a", "text"], iter(["text"]), [None]])
def test_a_body_that_is_not_bytes_is_named(body):
    def application(environ, start_response):
        start_response("200 OK", PLAIN)
        return body

    with pytest.raises(InvalidResponse, match="bytes"):
        call(application)


def test_write_refuses_text():
    def application(environ, start_response):
        start_response("200 OK", PLAIN)("text")
        return []

    with pytest.raises(InvalidResponse, match="encode it first"):
        call(application)


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        ("200", PLAIN),
        ("OK", PLAIN),
        (200, PLAIN),
        ("200 OK\r\nX: y", PLAIN),
        ("200 OK", [("X", "a\r\nSet-Cookie: stolen=1")]),
        ("200 OK", [("X Y", "a")]),
        ("200 OK", [("X", 1)]),
        ("200 OK", [("Transfer-Encoding", "chunked")]),
    ],
)
def test_what_cannot_be_sent_is_refused_inside_start_response(status, headers):
    refused = []

    def application(environ, start_response):
        try:
            start_response(status, headers)
        except InvalidResponse as error:
            refused.append(error)
            raise
        return []

    with pytest.raises(InvalidResponse):
        call(application)
    assert refused


def test_a_body_shorter_than_declared_closes_the_connection():
    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "10")])
        yield b"four"

    wire = Wire()
    with pytest.raises(InvalidResponse, match="6 bytes shorter"):
        call(application, wire=wire)
    assert not wire.gateway.keep_alive


def test_a_body_longer_than_declared_is_cut_there():
    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "4")])
        yield b"four"
        yield b"HTTP/1.1 200 OK\r\n\r\n"

    wire = Wire()
    with pytest.raises(InvalidResponse, match="longer"):
        call(application, wire=wire)
    assert body_of(wire) == b"four"
    assert b"" not in wire.sends


def test_a_whole_body_longer_than_declared_is_cut_there():
    wire = Wire()
    with pytest.raises(InvalidResponse, match="3 bytes longer"):
        call(answering(b"four...", headers=[("Content-Length", "4")]), wire=wire)
    assert body_of(wire) == b"four"


def test_an_unsettled_request_body_ends_the_connection():
    request = head_of(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
    wire, _ = call(answering(b"no"), request, Wire(settled=False))
    assert b"Connection: close" in head_lines(wire)
    assert not wire.gateway.keep_alive


def test_a_file_goes_to_the_kernel():
    size = COPY_LIMIT + 8
    with tempfile.NamedTemporaryFile() as file:
        file.truncate(size)
        os.pwrite(file.fileno(), b"x" * size, 0)
        file.seek(3)
        number = file.fileno()
        wire, gateway = call(lambda environ, start_response: (start_response("200 OK", PLAIN), FileWrapper(file))[1])
        assert b"Content-Length: %d" % (size - 3) in head_lines(wire)
        assert wire.files == [(number, 3, size - 3)]
        assert gateway.sent == size - 3


def test_a_small_file_leaves_with_its_head():
    with open(__file__, "rb") as file:
        file.seek(3)
        expected = Path(__file__).read_bytes()[3:]
        wire, gateway = call(lambda environ, start_response: (start_response("200 OK", PLAIN), FileWrapper(file))[1])
        assert len(expected) <= COPY_LIMIT
        assert (len(wire.sends), body_of(wire), gateway.sent) == (1, expected, len(expected))
        assert wire.files == []
        assert file.closed


def test_a_file_for_head_is_not_sent():
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"0123456789")
        file.flush()
        file.seek(0)
        wire, _ = call(
            lambda environ, start_response: (start_response("200 OK", PLAIN), FileWrapper(file))[1], get(method="HEAD")
        )
        assert b"Content-Length: 10" in head_lines(wire)
        assert wire.files == []


def test_a_file_sends_no_more_than_declared():
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"0123456789")
        file.flush()
        file.seek(0)

        def application(environ, start_response):
            start_response("206 Partial Content", [("Content-Length", "4"), ("Content-Range", "bytes 0-3/10")])
            return FileWrapper(file)

        wire, gateway = call(application)
        assert body_of(wire) == b"0123"
        assert gateway.sent == 4


def test_what_is_no_regular_file_is_read_in_blocks():
    wire, _ = call(
        lambda environ, start_response: (start_response("200 OK", PLAIN), FileWrapper(BytesIO(b"abcdef"), 4))[1]
    )
    assert wire.files == []
    assert body_of(wire) == b"4\r\nabcd\r\n2\r\nef\r\n0\r\n\r\n"


def test_a_pipe_is_read_in_blocks():
    read_fd, write_fd = os.pipe()
    os.write(write_fd, b"through a pipe")
    os.close(write_fd)
    with os.fdopen(read_fd, "rb") as pipe:
        wire, _ = call(lambda environ, start_response: (start_response("200 OK", PLAIN), FileWrapper(pipe))[1])
    assert b"through a pipe" in body_of(wire)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_wsgiref_finds_nothing_to_object_to(method):
    def application(environ, start_response):
        start_response("200 OK", PLAIN)
        if method == "POST":
            assert environ["wsgi.input"].read(3) == b"abc"
            assert environ["wsgi.input"].readline(-1) == b"d\n"
            assert environ["wsgi.input"].readlines(5) == [b"ef"]
        environ["wsgi.errors"].flush()
        return [] if method == "HEAD" else [b"fine"]

    if method == "POST":
        request = head_of(b"POST /a%20b?q=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\n")
        wire, _ = call(validator(application), request, Wire(b"ab", b"cd\ne", b"f"))
    else:
        wire, _ = call(validator(application), get(method=method))
    assert wire.sends[0].startswith(b"HTTP/1.1 200 OK")


async def _asynchronous():
    """What an ASGI application's call gives."""


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (lambda: None, "returned None, .* is a `return` missing"),
        (lambda: "text", r"returned str, .* return \[body\]"),
        (lambda: b"bytes", "returned bytes"),
        (lambda: {"a": 1}, "returned dict"),
        (lambda: 5, "returned int"),
        (object, "returned object"),
        (_asynchronous, "write `def`, not `async def`"),
    ],
)
def test_what_is_no_body_is_named(result, words):
    def application(environ, start_response):
        start_response("200 OK", PLAIN)
        return result()

    with pytest.raises(InvalidResponse, match=words):
        call(application)


def test_what_iterates_by_index_is_a_body():
    class Pieces:
        def __getitem__(self, index):
            return [b"one", b"two"][index]

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "6")])
        return Pieces()

    wire, _ = call(application)
    assert body_of(wire) == b"onetwo"


@pytest.mark.parametrize(
    ("count", "size", "sends"),
    [
        (1000, 50, 1),  # small as a whole
        (1000, 1000, 2),  # joined, behind the head
        (20, 10_000, 21),  # as they are
        (2, COPY_LIMIT // 2, 1),
    ],
)
def test_pieces_of_a_list_leave_together(count, size, sends):
    """One call of the stream's in each case, which is one of the kernel's."""
    pieces = [b"%04d" % n + b"x" * (size - 4) for n in range(count)]
    wire, gateway = call(answering(*pieces))
    assert len(wire.sends) == sends
    assert len(wire.ends) == 1
    assert body_of(wire) == b"".join(pieces)
    assert gateway.sent == count * size
    assert b"Content-Length: %d" % (count * size) in wire.sends[0]


@pytest.mark.parametrize("request_line", [{"method": "HEAD"}, {"version": "1.0"}, {}])
@pytest.mark.parametrize("headers", [[], [("Content-Length", "30000")], [("Trailer", "X-Sum")]])
def test_large_pieces_are_framed_like_any(request_line, headers):
    pieces = [b"x" * 10_000] * 10
    wrong = bool(headers) and headers[0][0] == "Content-Length" and request_line.get("method") != "HEAD"
    with pytest.raises(InvalidResponse) if wrong else contextlib.nullcontext():
        wire, _ = call(answering(*pieces, headers=PLAIN + headers), get(**request_line))
        body = body_of(wire)
        if request_line.get("method") == "HEAD":
            assert body == b""
        elif headers and not request_line:
            assert body == b"186a0\r\n" + b"x" * 100_000 + b"\r\n0\r\n\r\n"
        else:
            assert body == b"x" * 100_000


def test_a_large_piece_that_is_not_bytes_is_named():
    with pytest.raises(InvalidResponse, match="the application gave str"):
        call(answering(b"x" * 100_000, "x" * 100_000))


HINT = [("Link", "</style.css>; rel=preload; as=style")]
HINTED = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload; as=style\r\n\r\n"


def test_early_hints_leave_at_once_and_as_often_as_wanted():
    wire = Wire()

    def application(environ, start_response):
        environ["wsgi.early_hints"](HINT)
        assert wire.sends == [HINTED]
        start_response("200 OK", PLAIN)
        environ["wsgi.early_hints"](HINT)
        assert wire.sends == [HINTED, HINTED]
        return [b"done"]

    call(application, wire=wire)
    assert wire.sends[2].startswith(b"HTTP/1.1 200 OK\r\n")
    assert len(wire.sends) == 3


def test_early_hints_to_http_1_0_are_checked_and_not_sent():
    def application(environ, start_response):
        environ["wsgi.early_hints"](HINT)
        with pytest.raises(InvalidResponse):
            environ["wsgi.early_hints"]([("Link", "a\r\nb")])
        start_response("200 OK", PLAIN)
        return [b"done"]

    wire, _ = call(application, get(version="1.0"))
    assert wire.sends[0].startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("policy", ["direct", "always", "never"])
@pytest.mark.parametrize("field", ["", "Via: 1.1 a\r\n", "X-Forwarded-For: ::1\r\n", "Forwarded: for=a\r\n"])
def test_a_request_that_came_by_a_proxy_gets_early_hints_where_the_setting_says_so(policy, field):
    wire = Wire()
    wire.worker.early_hints = policy

    def application(environ, start_response):
        environ["wsgi.early_hints"](HINT)
        return answering(b"done")(environ, start_response)

    call(application, get(headers=field), wire)
    hinted = policy == "always" or (policy == "direct" and not field)
    assert wire.sends[:-1] == [HINTED] * hinted


def test_early_hints_behind_the_head_are_an_error_in_words():
    def application(environ, start_response):
        start_response("200 OK", PLAIN)
        yield b"first"
        environ["wsgi.early_hints"](HINT)

    with pytest.raises(InvalidResponse, match="the head of the response has been sent"):
        call(application)


def test_early_hints_behind_the_response_are_an_error_too():
    kept = []

    def application(environ, start_response):
        kept.append(environ["wsgi.early_hints"])
        return answering(b"ok")(environ, start_response)

    call(application)
    with pytest.raises(InvalidResponse, match="too late"):
        kept[0](HINT)


def with_trailers(*body, headers=(), given=(("X-Sum", "15"),)):
    def application(environ, start_response):
        start_response("200 OK", [*PLAIN, ("Trailer", "X-Sum, X-Time"), *headers])
        if len(body) == 1:
            environ["greenserve.send_trailers"](list(given))
            return list(body)
        return pieces(environ)

    def pieces(environ):
        yield from body
        environ["greenserve.send_trailers"](list(given))
        environ["greenserve.send_trailers"]([("X-Time", "5")])

    return application


def test_trailers_follow_a_streamed_body():
    wire, gateway = call(with_trailers(b"one", b"two"))
    assert b"Trailer: x-sum, x-time\r\n" in wire.sends[0]
    assert wire.sends[-1] == b"0\r\nX-Sum: 15\r\nX-Time: 5\r\n\r\n"
    assert wire.ends == wire.sends[-1:]
    assert gateway.is_whole


def test_trailers_follow_a_body_that_is_there_as_a_whole_in_chunks():
    wire, _ = call(with_trailers(b"whole"))
    head, _, body = b"".join(wire.sends).partition(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head
    assert body == b"5\r\nwhole\r\n0\r\nX-Sum: 15\r\n\r\n"


def test_trailers_follow_a_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"in a file")

    def application(environ, start_response):
        start_response("200 OK", [*PLAIN, ("Trailer", "X-Sum")])
        environ["greenserve.send_trailers"]([("X-Sum", "1")])
        return environ["wsgi.file_wrapper"](path.open("rb"))

    wire, _ = call(application)
    assert b"".join(wire.sends).endswith(b"\r\n\r\n9\r\nin a file\r\n0\r\nX-Sum: 1\r\n\r\n")
    assert wire.files == []


@pytest.mark.parametrize(
    ("request_line", "headers"),
    [
        ({"version": "1.0"}, []),
        ({"method": "HEAD"}, []),
        ({}, [("Content-Length", "6")]),
    ],
)
def test_trailers_are_left_out_where_there_is_no_room_for_them(request_line, headers):
    wire, gateway = call(with_trailers(b"one", b"two", headers=headers), get(**request_line))
    assert b"x-sum" not in b"".join(wire.sends).lower()
    assert gateway.is_whole


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([("X-Other", "1")], "X-Other was not announced"),
        ([("X-Sum", "1\r\n\r\nHTTP/1.1 200 OK")], "control character"),
        ([("X-Sum", 1)], "tuples"),
    ],
)
def test_a_trailer_that_is_wrong_is_refused_where_the_mistake_is(given, words):
    with pytest.raises(InvalidResponse, match=words):
        call(with_trailers(b"one", b"two", given=given))


def test_trailers_before_start_response_or_after_the_end_are_refused():
    kept = []

    def application(environ, start_response):
        kept.append(environ["greenserve.send_trailers"])
        with pytest.raises(InvalidResponse, match="start_response first"):
            kept[0]([])
        return answering(b"ok")(environ, start_response)

    call(application)
    with pytest.raises(InvalidResponse, match="too late"):
        kept[0]([])


def test_a_request_without_chunks_has_no_trailers():
    def application(environ, start_response):
        assert environ["greenserve.trailers"] == ()
        return answering(b"ok")(environ, start_response)

    call(application)
