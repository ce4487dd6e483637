"""The plain head: what is plain, what it becomes, and that it is what the judged path makes of the same octets."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from greenserve.http import plain_head as module
from greenserve.http.head import RequestHead, parse_head
from greenserve.http.limits import Limits
from greenserve.http.plain_head import PlainHead, plain_head, plain_head_in_python

from .cases import ALL
from .support import one_head
from .test_properties import mutated, requests

TWINS = [plain_head_in_python, plain_head]
LIMITS = Limits()
FULL = (
    b"POST /a%20b%zz?c=%20 HTTP/1.1\r\nhost: shop.example.com:80\r\nUser-Agent: a/1 (b; c)\r\nX-Request-ID:  0f\t \r\n"
    b"Content-Length: 0012\r\nCONTENT-TYPE: a/b\r\nCookie: a=b; c=\xfc\r\nX-Empty:\r\nX-Unheard-Of: 1\r\n\r\n"
)


def read(raw: bytes, at: int = 0, limits: Limits = LIMITS) -> PlainHead | None:
    """What both twins give."""
    bounds = limits.max_head, limits.max_target, limits.max_method, limits.max_header_count
    in_python, either = [twin(raw, at, *bounds) for twin in TWINS]
    assert in_python == either
    return either


def head(*lines: str, line: str = "GET / HTTP/1.1", host: str = "Host: a") -> bytes:
    return "\r\n".join([line, *filter(None, [host]), *lines, "\r\n"]).encode("latin-1")


def test_what_a_plain_head_becomes() -> None:
    assert read(FULL) == (
        *(len(FULL), "POST", "/a%20b%zz?c=%20", "/a%20b%zz", "c=%20", "1.1", 12, True, False),
        {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": "/a b%zz",
            "QUERY_STRING": "c=%20",
            "RAW_URI": "/a%20b%zz?c=%20",
            "REQUEST_URI": "/a%20b%zz?c=%20",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": "shop.example.com:80",
            "HTTP_USER_AGENT": "a/1 (b; c)",
            "HTTP_X_REQUEST_ID": "0f",
            "CONTENT_LENGTH": "0012",
            "CONTENT_TYPE": "a/b",
            "HTTP_COOKIE": "a=b; c=\xfc",
            "HTTP_X_EMPTY": "",
            "HTTP_X_UNHEARD_OF": "1",
        },
    )


def test_its_fields_are_there_in_the_order_received() -> None:
    request = one_head(head("X-B: 1", "Content-Type: a/b", "Content-Length: 0", "X-A: 2"))
    items = (("host", "a"), ("x-b", "1"), ("content-type", "a/b"), ("content-length", "0"), ("x-a", "2"))
    assert request.fields.items == items
    assert request.fields is request.fields
    assert (request.get("x-a"), request.get("content-type"), request.get("x-c")) == ("2", "a/b", None)


def test_the_fields_of_any_head_can_be_asked_for_one_by_one() -> None:
    request = one_head(head("X_A: 1", "Cookie: a=b", "Cookie: c=d", "X-B: 1", "X-B: 2"))
    assert [request.get(name) for name in ("x_a", "cookie", "x-b", "x-a")] == ["1", "a=b; c=d", "1, 2", None]


@pytest.mark.parametrize(
    ("lines", "line", "keep_alive"),
    [
        ([], "GET / HTTP/1.1", True),
        ([], "GET / HTTP/1.0", False),
        (["Connection: Keep-ALIVE"], "GET / HTTP/1.0", True),
        (["Connection: keep-alive"], "GET / HTTP/1.1", True),
        (["Connection: Close"], "GET / HTTP/1.1", False),
        (["Connection: close"], "GET / HTTP/1.0", False),
    ],
)
def test_whether_the_connection_is_kept(lines: list[str], line: str, keep_alive: bool) -> None:
    plain = read(head(*lines, line=line))
    assert plain is not None
    assert plain[7] is keep_alive


@pytest.mark.parametrize(
    ("field", "told"),
    [
        *[(name, True) for name in ("X-Forwarded-For", "x-forwarded-anything", "FORWARDED", "X-Real-Ip")],
        *[(name, False) for name in ("X-Forwarded", "Via", "X-Real-IPs", "X-Forwardedfor")],
    ],
)
def test_what_a_proxy_may_have_said_is_marked(field: str, told: bool) -> None:
    for _ in range(2):
        plain = read(head(f"{field}: a"))
        assert plain is not None
        assert plain[8] is told


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        *[
            head(line=f"GET {target} HTTP/1.1")
            for target in ("*", "a", "http://b/", "/#", "/\x7f", "/\xe9", "/a\tb", "/ b")
        ],
        *[
            head(line=line)
            for line in ("GET / HTTP/1.2", "GET / HTTP/2.0", "GET /", "G@T / HTTP/1.1", " / HTTP/1.1", "")
        ],
        *[head(line=line) for line in ("CONNECT / HTTP/1.1", "GET /  HTTP/1.1", "GET  / HTTP/1.1", "GET / http/1.1")],
        *[
            head(host=host)
            for host in ("", "Host:", "Host: a b", "Host: [::1]", "Host: a:b", "Host: a:123456", "Host: %61")
        ],
        *[head(host="Host: " + "a" * 256), head(host="Host: :1", line="GET / HTTP/1.0")],
        *[
            head(field)
            for field in ("X", "X : 1", " X: 1", ": 1", "X_Y: 1", "X\xe9: 1", "Host: a", "X-" + "a" * 63 + ": 1")
        ],
        *[head("X: a", f"x: {value}") for value in ("a", "b")],
        *[head(f"X: a{octet}b") for octet in ("\0", "\x01", "\x0b", "\x1f", "\x7f", "\r", "\n")],
        *[head(f"Content-Length: {value}") for value in ("", "+1", "1,1", "1" * 19, "0x1", "\xb2", "-1")],
        *[head(f"Connection: {value}") for value in ("", "upgrade", "close, te", "keep-alive, close")],
        *[head(field) for field in ("Expect: 100-continue", "Upgrade: h2c", "Transfer-Encoding: chunked")],
        head().replace(b"\r\n", b"\n"),
        b"\r\n" + head(),
    ],
)
def test_what_is_left_to_the_judges(raw: bytes) -> None:
    assert read(raw) is None


def test_every_cut_is_left_until_all_is_there() -> None:
    for end in range(len(FULL)):
        assert read(FULL[:end]) is None
    before = b"x" * 7
    assert read(before + FULL + b"GET / HTTP/1.1\r\n", 7) == read(FULL)
    assert read(before + FULL, len(before + FULL)) is None


def test_each_limit_holds_to_the_octet() -> None:
    raw = head("X: 1", "Y: 2", line="PATCH /abc?d HTTP/1.1")
    bounds = {"max_head": len(raw), "max_target": 6, "max_method": 5, "max_header_count": 3}
    assert read(raw + b"more", limits=Limits(**bounds)) is not None
    for name, value in bounds.items():
        assert read(raw + b"more", limits=Limits(**{**bounds, name: value - 1})) is None, name


def outline(request: RequestHead) -> tuple[object, ...]:
    names = [name for name in RequestHead.__slots__ if name not in ("_fields", "cgi")]
    fields = request.fields
    said = fields.host, fields.content_length, fields.close, fields.keep_alive, fields.items
    return *(getattr(request, name) for name in names), list(request.cgi.items()), said


def check(raw: bytes) -> bool:
    plain = read(raw)
    if plain is None:
        return False
    judged = parse_head(raw[: plain[0]], LIMITS)
    assert outline(RequestHead(plain)) == outline(judged)
    return True


@settings(max_examples=300, deadline=None)
@given(mutated(requests()))
def test_a_plain_head_is_what_the_judges_would_make_of_it(raw: bytes) -> None:
    check(raw)


def test_so_are_all_known_cases() -> None:
    assert sum(check(case.raw) for case in ALL) > 20
    assert check(FULL)


def test_names_of_fields_are_remembered_within_bounds() -> None:
    for number in range(3000):
        raw = head(f"X-{number}: 1", f"X-Forwarded-{number}: 2", f"{'y' * 62}{number % 10}: 3")
        plain = plain_head_in_python(raw, 0, 1000, 1000, 10, 10)
        assert plain is not None
        assert plain[9][f"HTTP_X_{number}"] == "1"
        assert plain[9][f"HTTP_X_FORWARDED_{number}"] == "2"
    for keys in (module._keys, module._told_keys):
        assert 0 < len(keys) <= 1024
        assert max(map(len, keys)) <= 64
