"""The table of routes, what counts as in flight, and the refusals."""

from __future__ import annotations

import io

import pytest

from greenserve.demo import app
from greenserve.demo.activity import activity
from greenserve.demo.web import Request, Response
from tests.demo.support import begun, call, environ_of


def test_an_unknown_path_says_where_the_page_is() -> None:
    answer = call("GET", "/nowhere")
    assert answer.status == 404
    assert "page is at /" in answer.text


@pytest.mark.parametrize(("method", "path"), [("POST", "/slow"), ("GET", "/burst"), ("DELETE", "/"), ("HEAD", "/live")])
def test_another_method_is_told_which_are_allowed(method: str, path: str) -> None:
    answer = call(method, path)
    assert answer.status == 405
    assert answer.headers["Allow"] == ", ".join(app.ROUTES[path].methods)


@pytest.mark.parametrize("path", ["/", "/facts", "/nowhere", "/slow?seconds=x", "/burst"])
def test_every_answer_carries_the_security_headers(path: str) -> None:
    headers = call("GET", path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_too_many_parameters_are_refused() -> None:
    answer = call("GET", "/slow?" + "&".join(f"a{n}=1" for n in range(17)))
    assert answer.status == 400
    assert "16 parameters" in answer.text


def test_a_page_elsewhere_cannot_start_a_burst_in_the_visitors_name() -> None:
    assert call("POST", "/burst?n=1", HTTP_SEC_FETCH_SITE="cross-site").status == 403
    assert call("POST", "/upload", b"", HTTP_SEC_FETCH_SITE="same-origin").status == 200


def test_a_request_is_in_flight_until_its_response_is_closed() -> None:
    served = activity.served
    with begun("GET", "/stream?pieces=2&interval=0") as (_, pieces):
        next(pieces)
        assert activity.in_flight == 1
    assert activity.in_flight == 0
    assert activity.served == served + 1


def test_a_response_that_is_closed_unread_is_no_longer_in_flight() -> None:
    body = app.application(environ_of("GET", "/stream"), lambda status, headers: None)
    assert activity.in_flight == 1
    body.close()  # type: ignore[attr-defined]
    body.close()  # type: ignore[attr-defined]
    assert activity.in_flight == 0


def test_watching_is_not_counted_as_work() -> None:
    with begun("GET", "/live") as (_, pieces):
        next(pieces)
        assert activity.in_flight == 0


def test_a_handler_that_fails_leaves_nothing_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(request: Request) -> Response:
        raise ZeroDivisionError

    monkeypatch.setitem(app.ROUTES, "/slow", app.Route(broken))
    with pytest.raises(ZeroDivisionError):
        app.application(environ_of("GET", "/slow"), lambda status, headers: None)
    assert activity.in_flight == 0


def test_a_refused_request_leaves_nothing_in_flight() -> None:
    assert call("GET", "/slow?seconds=11").status == 400
    assert activity.in_flight == 0


def test_a_client_that_goes_away_during_its_upload_leaves_nothing_in_flight() -> None:
    class Gone(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise ConnectionError

    environ = environ_of("POST", "/upload", b"x") | {"wsgi.input": Gone()}
    with pytest.raises(ConnectionError):
        app.application(environ, lambda status, headers: None)
    assert activity.in_flight == 0
