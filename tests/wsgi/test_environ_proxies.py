"""The environ behind proxies: the client's keys in the place of the proxy's, or no word of proxies at all."""

from __future__ import annotations

import pytest

from greenserve.errors import BadRequest
from greenserve.http.forwarded import NAMES, ForwardedReader
from greenserve.wsgi import EnvironTemplate
from greenserve.wsgi.body_reader import EMPTY
from tests.wsgi.fakes import get, head_of

PROXY = ("10.0.0.1", "5000")
BELIEVING = EnvironTemplate("127.0.0.1", "8000", trust=ForwardedReader(NAMES, lambda address: address == "10.0.0.1"))
PLAIN = EnvironTemplate("127.0.0.1", "8000")

ALL = (
    "Forwarded: for=192.0.2.1\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Prefix: /a\r\n"
    "X-Forwarded-Host: example.org\r\nX-Forwarded-Port: 8443\r\nX-Forwarded-Server: x\r\nX-Real-IP: 192.0.2.1\r\n"
)


def behind(fields: str, *, path: str = "/", template: EnvironTemplate = BELIEVING, version: str = "1.1"):
    return template.build(get(path, headers=fields, version=version), *PROXY, EMPTY)


def test_the_client_and_the_peer_are_both_there():
    environ = behind("X-Forwarded-For: 203.0.113.1, 192.0.2.1:99\r\n")
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("192.0.2.1", "99")
    assert environ["greenserve.peer"] == PROXY


def test_without_a_word_of_a_client_the_peer_is_the_client():
    for fields in ("", "X-Forwarded-Proto: https\r\n", "X-Forwarded-For:\r\n"):
        environ = behind(fields)
        assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == PROXY
        assert "greenserve.peer" not in environ


def test_a_concealed_client_is_not_the_proxy():
    environ = behind("Forwarded: for=unknown\r\n")
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("", "")


def test_each_key_is_the_clients():
    environ = behind(ALL, path="/b%20c?d")
    assert environ["wsgi.url_scheme"] == "https"
    assert environ["HTTPS"] == "on"
    assert environ["HTTP_HOST"] == "example.org:8443"
    assert environ["SERVER_PORT"] == "8443"
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"], environ["QUERY_STRING"]) == ("/a", "/b c", "d")
    assert environ["REQUEST_URI"] == "/b%20c?d"
    assert environ["SERVER_NAME"] == "127.0.0.1"
    assert environ["HTTP_X_FORWARDED_FOR"] == environ["HTTP_X_REAL_IP"] == "192.0.2.1", "for an application's ProxyFix"


def test_from_a_stranger_no_word_of_a_proxy_is_left():
    environ = behind(ALL + "X-Forwarded-Ssl: on\r\nX-Other: 1\r\n", template=PLAIN)
    assert not [key for key in environ if "FORWARDED" in key or key in ("HTTPS", "HTTP_X_REAL_IP", "")]
    assert environ["HTTP_X_OTHER"] == "1"
    assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"], environ["SERVER_PORT"]) == (PROXY[0], "http", "8000")
    assert (environ["HTTP_HOST"], environ["SCRIPT_NAME"]) == ("example.com", "")


def test_what_is_removed_is_said_once(caplog):
    template = EnvironTemplate("127.0.0.1", "8000")
    with caplog.at_level("INFO", "greenserve.server"):
        behind("X-Forwarded_For: 192.0.2.1\r\nX-Other: 1\r\n", template=template)
        assert not caplog.messages
        for _ in range(2):
            behind(ALL, template=template)
    assert [message.partition(",")[0] for message in caplog.messages] == ["a request had the field forwarded"]
    assert "--trusted-proxies ADDRESS" in caplog.text


def test_a_field_that_was_not_chosen_is_removed():
    chosen = frozenset({"x-forwarded-for", "x-forwarded-proto"})
    template = EnvironTemplate("127.0.0.1", "8000", trust=ForwardedReader(chosen, lambda address: False))
    environ = behind(ALL, template=template)
    assert [key for key in environ if "FORWARDED" in key] == [
        "HTTP_X_FORWARDED_FOR",
        "HTTP_X_FORWARDED_PROTO",
        "HTTP_X_FORWARDED_SERVER",
    ]
    assert (environ["HTTP_HOST"], environ["SCRIPT_NAME"], environ["REMOTE_ADDR"]) == ("example.com", "", "192.0.2.1")


@pytest.mark.parametrize(
    ("fields", "host", "port"),
    [
        ("X-Forwarded-Proto: https\r\n", "example.com", "443"),
        ("X-Forwarded-Proto: http\r\n", "example.com", "80"),
        ("X-Forwarded-Host: a\r\n", "a", "80"),
        ("X-Forwarded-Host: a:81\r\n", "a:81", "81"),
        ("X-Forwarded-Host: [::1]\r\nX-Forwarded-Port: 81\r\n", "[::1]:81", "81"),
        ("X-Forwarded-Host: [::1]:82\r\nX-Forwarded-Port: 81\r\n", "[::1]:82", "81"),
        ("X-Forwarded-Host: a:\r\nX-Forwarded-Port: 81\r\n", "a:81", "81"),
        ("X-Forwarded-Port: 8443\r\n", "example.com:8443", "8443"),
        ("X-Forwarded-Proto: https\r\nX-Forwarded-Port: 80\r\n", "example.com", "80"),
        ("X-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\n", "example.com", "443"),
        ("X-Forwarded-For: 192.0.2.1\r\n", "example.com", "8000"),
    ],
)
def test_host_and_port(fields, host, port):
    environ = behind(fields)
    assert (environ["HTTP_HOST"], environ["SERVER_PORT"]) == (host, port)


def test_a_request_without_a_host_has_the_one_that_a_proxy_says():
    request = head_of(b"GET / HTTP/1.0\r\nX-Forwarded-Port: 81\r\n\r\n")
    environ = BELIEVING.build(request, *PROXY, EMPTY)
    assert "HTTP_HOST" not in environ
    assert environ["SERVER_PORT"] == "81"


def test_a_proxy_may_say_http_where_the_connection_has_tls():
    template = EnvironTemplate("127.0.0.1", "8443", "https", trust=ForwardedReader(NAMES, lambda address: False))
    assert behind("", template=template)["HTTPS"] == "on"
    environ = behind("X-Forwarded-Proto: http\r\n", template=template)
    assert environ["wsgi.url_scheme"] == "http"
    assert "HTTPS" not in environ


def test_what_is_malformed_is_refused_each_time():
    request = get(headers="X-Forwarded-For: evil\r\n")
    for _ in range(2):
        with pytest.raises(BadRequest):
            BELIEVING.build(request, *PROXY, EMPTY)
        with pytest.raises(BadRequest):
            BELIEVING.client_of(request)
    assert PLAIN.build(request, *PROXY, EMPTY)["REMOTE_ADDR"] == "10.0.0.1"


def test_the_same_section_means_something_else_from_a_stranger():
    request = get(headers="X-Forwarded-For: 192.0.2.1\r\n")
    assert BELIEVING.client_of(request) == ("192.0.2.1", "")
    for _ in range(4):
        assert BELIEVING.build(request, *PROXY, EMPTY)["REMOTE_ADDR"] == "192.0.2.1"
        assert BELIEVING.client_of(request) == ("192.0.2.1", "")
        assert PLAIN.build(request, *PROXY, EMPTY)["REMOTE_ADDR"] == "10.0.0.1"
        assert PLAIN.client_of(request) is None
