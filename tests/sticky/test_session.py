"""Which session a request names and an answer begins: without I/O, at every cut of a body."""

from __future__ import annotations

import json
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.errors import ConfigurationError
from greenserve.http.head import RequestHead, parse_head
from greenserve.http.limits import Limits
from greenserve.server.sticky.learning import Learning
from greenserve.server.sticky.passing import head_of
from greenserve.server.sticky.session import LOOKED_AT, Beginning, Rule
from greenserve.settings import Settings
from greenserve.settings.sticky import Sticky, parse_sticky

SID = Rule(Sticky("sid"))
COOKIE = Rule(Sticky("session", is_cookie=True))
OPEN = b'0{"sid":"rP-3_x9","upgrades":["websocket"],"pingInterval":25000}'
OPENS = [
    (OPEN, "rP-3_x9"),
    (b"97:" + OPEN + b"2:40", "rP-3_x9"),  # Engine.IO 3
    (b'___eio[0]("' + OPEN.replace(b'"', b'\\"') + b'");', "rP-3_x9"),  # JSONP
    (b'{\n  "user": "Ada",\n  "sid" : "a.b"\n}', "a.b"),
]
NOTHING = [b"", b"<p>hello</p>", b'{"said":"x"}', b'{"sid":""}', b'{"sid":7}', b" " * LOOKED_AT + OPEN]


def head(target: str = "/", *fields: str) -> RequestHead:
    lines = [f"GET {target} HTTP/1.1", "Host: localhost", *fields, "", ""]
    return parse_head("\r\n".join(lines).encode("latin-1"), Limits())


@pytest.mark.parametrize(
    ("query", "session"),
    [
        ("sid=abc", "abc"),
        ("EIO=4&transport=polling&sid=a%2Db&t=1", "a-b"),
        ("sid=first&sid=second", "first"),
        ("", None),
        ("sid=", None),
        ("asid=abc&sidney=x", None),
    ],
)
def test_a_query_names_a_session(query: str, session: str | None) -> None:
    assert SID.of_request(head(f"/socket.io/?{query}")) == session


@pytest.mark.parametrize(
    ("fields", "session"),
    [
        (["Cookie: session=abc"], "abc"),
        (["Cookie: theme=dark; session=a=b ;x=1"], "a=b"),
        (["Cookie: theme=dark", "Cookie: session=abc"], "abc"),
        (["Cookie: my_session=abc; sessions=1"], None),
        (["Cookie: session="], None),
        ([], None),
    ],
)
def test_a_cookie_names_a_session(fields: list[str], session: str | None) -> None:
    assert COOKIE.of_request(head("/", *fields)) == session
    assert SID.of_request(head("/", *fields)) is None


def test_a_set_cookie_begins_a_session_and_the_last_one_counts() -> None:
    assert COOKIE.of_headers([("Set-Cookie", "session=a; Path=/"), ("set-cookie", "session=b; Secure")]) == "b"
    assert COOKIE.of_headers([("Set-Cookie", "session=; Max-Age=0")]) is None
    assert COOKIE.of_headers([("Set-Cookie", "theme=x; session=y"), ("Content-Type", "text/plain")]) is None
    assert SID.of_headers([("Set-Cookie", "sid=a")]) is None


@pytest.mark.parametrize(("body", "session"), OPENS)
def test_a_body_begins_a_session_wherever_it_is_cut(body: bytes, session: str) -> None:
    for cut in range(len(body) + 1):
        beginning = Beginning(SID)
        found = [each for each in (beginning.add(body[:cut]), beginning.add(body[cut:])) if each]
        assert found[0] == session, cut


@pytest.mark.parametrize("body", NOTHING)
def test_other_bodies_begin_none(body: bytes) -> None:
    beginning = Beginning(SID)
    assert [beginning.add(body[at : at + 7]) for at in range(0, len(body), 7) if beginning.add(body[at : at + 7])] == []


def test_no_more_is_kept_of_a_body_than_is_looked_at() -> None:
    beginning = Beginning(SID)
    for _ in range(100):
        beginning.add(b"x" * 100)
    assert beginning.is_known
    assert len(beginning._bytes) == LOOKED_AT


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_any_value_of_a_parameter_comes_back(value: str) -> None:
    assert SID.of_request(head("/?" + urlencode({"a": "b", "sid": value}))) == value
    assert SID.of_request(head("/?sid=" + quote(value, safe=""))) == value


@given(st.text(st.sampled_from("abcXYZ019-_.~"), min_size=1, max_size=40))
def test_any_session_in_json_is_found(value: str) -> None:
    assert SID.of_body(json.dumps({"sid": value}).encode()) == value


@given(
    st.dictionaries(st.sampled_from(["x-a", "accept", "cookie"]), st.text(st.sampled_from("abc \xe9=;"), max_size=9))
)
def test_a_head_that_is_passed_on_says_what_was_received(fields: dict[str, str]) -> None:
    before = head("/a%20b?x=1", *[f"{name}: {value}" for name, value in fields.items()], "Content-Length: 7")
    after = parse_head(head_of(before), Limits())
    assert (after.method, after.target, after.http_version) == (before.method, before.target, before.http_version)
    assert after.fields.items == before.fields.items


class Environ(dict[str, object]):
    """Of a request, as far as it is asked for."""

    def __init__(self, request: RequestHead) -> None:
        super().__init__({"greenserve.socket": self})
        self.connection = self
        self.request = request


def learned(rule: Rule, body: object, headers: list[tuple[str, str]], request: RequestHead) -> tuple[list[str], bytes]:
    def app(environ, start_response):
        start_response("200 OK", headers)
        return body

    sessions: list[str] = []
    result = Learning(app, rule, sessions.append)(Environ(request), lambda *_: None)
    content = b"".join(result)
    getattr(result, "close", lambda: None)()
    return sessions, content


class Closing:
    """A body with a close()."""

    closed = False

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces

    def __iter__(self):
        return iter(self.pieces)

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_an_applications_body_is_seen_and_not_changed(size: int) -> None:
    body = OPEN + b"x" * 3000
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    closing = Closing(*pieces)
    for given_ in (pieces, tuple(pieces), iter(pieces), closing):
        assert learned(SID, given_, [], head("/")) == (["rP-3_x9"], body)
    assert closing.closed


def test_the_answer_to_a_request_that_names_its_session_begins_none() -> None:
    assert learned(SID, [OPEN], [], head("/?sid=mine")) == ([], OPEN)


def test_each_set_cookie_is_seen() -> None:
    headers = [("Set-Cookie", "session=new; HttpOnly")]
    assert learned(COOKIE, [b"x"], headers, head("/", "Cookie: session=old")) == (["new"], b"x")


@pytest.mark.parametrize("text", ["sid", "cookie:session", " cookie: session ", "COOKIE:session"])
def test_the_setting_shows_itself(text: str) -> None:
    settings = Settings(sticky=parse_sticky(text))
    assert parse_sticky(str(settings.sticky)) == settings.sticky
    assert settings.sticky.name in ("sid", "session")


@pytest.mark.parametrize("value", ["", "cookie:", "a b", "a=b", "cookie:a;b", 7, "x" * 300])
def test_a_setting_that_names_nothing_is_refused(value: object) -> None:
    with pytest.raises(ConfigurationError):
        parse_sticky(value)
