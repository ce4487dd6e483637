"""The environ, key by key."""

from __future__ import annotations

import io
import sys

from greenserve.wsgi import EnvironTemplate
from greenserve.wsgi.body_reader import EMPTY
from tests.wsgi.fakes import get, head_of

TEMPLATE = EnvironTemplate("127.0.0.1", "8000")


def environ_of(request):
    return TEMPLATE.build(request, "10.0.0.1", "1234", EMPTY)


def test_the_request_line():
    environ = environ_of(get("/a%20b/%C3%BC;p?x=1&y=%20", method="PATCH"))
    assert environ["REQUEST_METHOD"] == "PATCH"
    assert environ["PATH_INFO"] == "/a b/\xc3\xbc;p"
    assert environ["QUERY_STRING"] == "x=1&y=%20"
    assert environ["RAW_URI"] == environ["REQUEST_URI"] == "/a%20b/%C3%BC;p?x=1&y=%20"
    assert environ["SCRIPT_NAME"] == ""
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert environ_of(get(version="1.0"))["SERVER_PROTOCOL"] == "HTTP/1.0"


def test_who_talks_to_whom():
    environ = environ_of(get())
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("10.0.0.1", "1234")
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("127.0.0.1", "8000")
    assert environ["wsgi.url_scheme"] == "http"


def test_repeated_fields_are_joined():
    environ = environ_of(get(headers="X-A: 1\r\nx-a: 2\r\nCookie: a=1\r\nCookie: b=2\r\n"))
    assert environ["HTTP_X_A"] == "1, 2"
    assert environ["HTTP_COOKIE"] == "a=1; b=2"


def test_content_fields_have_no_prefix():
    environ = environ_of(head_of(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Type: a/b\r\n\r\n"))
    assert (environ["CONTENT_LENGTH"], environ["CONTENT_TYPE"]) == ("3", "a/b")
    assert "HTTP_CONTENT_LENGTH" not in environ
    assert "CONTENT_LENGTH" not in environ_of(get())


def test_an_underscore_cannot_spoof_a_dash():
    environ = environ_of(get(headers="X_Forwarded_For: evil\r\n"))
    assert not any("FORWARDED" in key for key in environ)
    environ = environ_of(get(headers="X_Other: evil\r\nX-Other: good\r\n"))
    assert environ["HTTP_X_OTHER"] == "good"


def test_the_absolute_form_replaces_the_host():
    environ = environ_of(head_of(b"GET http://real.example/p?q HTTP/1.1\r\nHost: other\r\n\r\n"))
    assert environ["HTTP_HOST"] == "real.example"
    assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == ("/p", "q")


def test_one_environ_is_not_anothers():
    """What is kept of a head is nobody's environ."""
    request = get("/same")
    for head in (request, request, request, request, get("/same"), get("/same")):
        environ = environ_of(head)
        assert environ["PATH_INFO"] == "/same"
        assert environ["HTTP_HOST"] == "example.com"
        assert "mine" not in environ
        environ["PATH_INFO"] = environ["HTTP_HOST"] = "/changed"
        environ["mine"] = 1


def test_two_listeners_do_not_mix():
    request = get("/same")
    other = EnvironTemplate("::1", "443", "https")
    assert environ_of(request)["SERVER_PORT"] == "8000"
    assert other.build(request, "", "", EMPTY)["SERVER_PORT"] == "443"
    assert environ_of(request)["wsgi.url_scheme"] == "http"


def test_errors_go_to_standard_error_of_the_moment(monkeypatch):
    stream = environ_of(get())["wsgi.errors"]
    replaced = io.StringIO()
    monkeypatch.setattr(sys, "stderr", replaced)
    stream.write("one\n")
    stream.writelines(["two\n", "three\n"])
    stream.flush()
    assert replaced.getvalue() == "one\ntwo\nthree\n"
