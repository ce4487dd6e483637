"""A function of a request as a WSGI application; without sockets."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from greenserve.wsgi.callbacks import Answer, HandleError, HandleRequest, Request, Response, application_of

Started = tuple[str, list[tuple[str, str]]]


def ask(
    handle: HandleRequest, handle_error: HandleError | None = None, *, body: bytes = b"", **environ: str
) -> tuple[str, dict[str, str], bytes]:
    """Status line, header fields and body that a request is answered with; wsgiref.validate looks on."""
    asked: dict[str, Any] = {"QUERY_STRING": "", **environ}
    setup_testing_defaults(asked)
    asked["wsgi.input"] = io.BytesIO(body)
    asked["CONTENT_LENGTH"] = str(len(body))
    started: list[Started] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        started.append((status, headers))
        return started.append

    checked = validator(without_body_check(handle, handle_error))
    answer: Any = checked(asked, start_response)
    pieces = list(answer)
    answer.close()
    ((status, headers),) = started
    return status, dict(headers), b"".join(pieces)


def without_body_check(handle: HandleRequest, handle_error: HandleError | None) -> Any:
    """The validator wants read() to have an argument, which PEP 3333 does not."""
    application = application_of(handle, handle_error)

    def checked(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ["wsgi.input"] = environ["wsgi.input"].input
        return application(environ, start_response)

    return checked


@pytest.mark.parametrize(
    ("answer", "status", "content_type", "body"),
    [
        ("grün", "200 OK", "text/plain; charset=utf-8", "grün".encode()),
        (b"\0", "200 OK", "application/octet-stream", b"\0"),
        ([b"a", b"b"], "200 OK", "application/octet-stream", b"ab"),
        (None, "204 No Content", None, b""),
        (Response("no", 404), "404 Not Found", "text/plain; charset=utf-8", b"no"),
        (Response("<p>", headers={"content-type": "text/html"}), "200 OK", None, b"<p>"),
        (Response(b"odd", 299, [("X-A", "1")]), "299 Unknown", "application/octet-stream", b"odd"),
    ],
)
def test_what_is_returned_is_the_response(answer: Answer, status: str, content_type: str | None, body: bytes) -> None:
    got_status, headers, got_body = ask(lambda request: answer)
    assert (got_status, headers.get("Content-Type"), got_body) == (status, content_type, body)


def test_a_request_has_its_parts() -> None:
    seen: list[Request] = []
    ask(
        seen.append,
        body=b'{"a": [1]}',
        REQUEST_METHOD="PUT",
        SCRIPT_NAME="/api",
        PATH_INFO="/gr\xc3\xbcn",
        QUERY_STRING="a=1&a=2&b=",
        HTTP_USER_AGENT="curl",
        CONTENT_TYPE="application/json",
    )
    (request,) = seen
    assert (request.method, request.path, request.query) == ("PUT", "/api/grün", {"a": ["1", "2"], "b": [""]})
    assert (request.headers["user-agent"], request.headers["Content-Type"]) == ("curl", "application/json")
    assert request.headers["Accept"] is None
    assert (request.body, request.body, request.json()) == (b'{"a": [1]}', b'{"a": [1]}', {"a": [1]})


def test_an_error_is_answered_by_its_own_function() -> None:
    def handle(request: Request) -> str:
        return str(1 // int(request.query["by"][0]))

    def handle_error(request: Request, error: Exception) -> Response:
        return Response(f"{request.path}: {type(error).__name__}", 400)

    assert ask(handle, handle_error, QUERY_STRING="by=1")[::2] == ("200 OK", b"1")
    assert ask(handle, handle_error, QUERY_STRING="by=0")[::2] == ("400 Bad Request", b"/: ZeroDivisionError")
    with pytest.raises(ZeroDivisionError):
        ask(handle, QUERY_STRING="by=0")


@pytest.mark.parametrize(("answer", "shown"), [(42, "42"), ({"a": 1}, "{'a': 1}"), (bytearray(b"x"), "bytearray")])
def test_what_is_no_answer_is_an_error_that_says_what_is(answer: Any, shown: str) -> None:
    def handle(request: Request) -> Any:
        return answer

    expected = f"answered by a Response, str, bytes, an iterable of bytes, or None; not {shown}"
    with pytest.raises(TypeError, match=re.escape(expected)):
        ask(handle)
    assert ask(handle, lambda request, error: "mended")[2] == b"mended"
