"""The requests of the scenarios, and the script that sends them."""

import collections
import http.client
import io
import subprocess
import threading

import pytest

from benchmarks.scenarios import APPS, SCENARIOS
from benchmarks.traffic import (
    BROWSER,
    FORM_BYTES,
    HEADS,
    INGRESS,
    MEMBER,
    RETURNING,
    SEPARATOR,
    SESSION,
    SITE,
    Traffic,
    browser,
    form,
    ingress,
    site,
)
from tests.conftest import require_program
from tests.server.live import serving

ALL = [scenario.traffic for scenario in SCENARIOS if scenario.traffic is not None]


def test_a_browsers_head_has_nine_fields_and_a_query():
    request = browser(7)
    assert len(request.fields) == 9
    assert request.target.startswith("/products/7/reviews?page=7&")
    head = http.client.parse_headers(io.BytesIO(request.encoded().partition(b"\r\n")[2]))
    assert dict(head) == dict(request.fields)


@pytest.mark.parametrize("traffic", [BROWSER, SITE, INGRESS, MEMBER], ids=lambda traffic: traffic.name)
def test_no_request_is_sent_twice_before_all_were_sent(traffic):
    seen = {traffic.request(number).encoded() for number in range(traffic.count)}
    assert len(seen) == traffic.count == HEADS


def test_one_field_differs_behind_an_ingress():
    one, other = (dict(ingress(number).fields) for number in (1, 2))
    assert [name for name in one if one[name] != other[name]] == ["X-Request-Id"]
    assert ingress(1).target == ingress(2).target


def test_a_third_posts_forms_and_a_twentieth_asks_for_what_is_not_there():
    requests = [site(number) for number in range(6000)]
    posts = [request for request in requests if request.method == "POST"]
    assert len(posts) == 2000
    assert {len(request.body) for request in posts} == {FORM_BYTES}
    assert all(request.field("Content-Length") == str(FORM_BYTES) for request in posts)
    assert sum(request.target.startswith("/missing/") for request in requests) == 300
    assert collections.Counter(len(request.fields) for request in requests) == {9: 4000, 11: 2000}


def test_what_looks_random_is_the_same_on_every_machine():
    assert browser(0).field("X-Request-Id") == "41075b9228845f21cfe0d7e0d5004465"
    assert form(1).startswith(b"csrf=")


@pytest.mark.parametrize("traffic", ALL, ids=lambda traffic: traffic.name)
def test_no_request_has_what_separates_them(traffic):
    assert not any(SEPARATOR in traffic.request(number).encoded() for number in range(60))


def test_the_file_is_written_once(tmp_path):
    path = RETURNING.written(tmp_path)
    assert path.read_bytes().count(SEPARATOR) == RETURNING.count - 1
    assert path.read_bytes().startswith(browser(0).encoded())
    path.write_bytes(b"kept")
    assert RETURNING.written(tmp_path).read_bytes() == b"kept"


def test_wrk_sends_each_request_in_turn_with_the_session_in_it(tmp_path):
    require_program("wrk")
    received, lock = [], threading.Lock()

    def record(environ, start_response):
        with lock:
            received.append((environ["PATH_INFO"], environ["HTTP_COOKIE"]))
        start_response("200 OK", [("Content-Length", "0")])
        return []

    traffic = Traffic("some", MEMBER.request, 7)
    with serving(record) as server:
        script = ["-s", str(APPS / "replay.lua"), f"http://127.0.0.1:{server.address.port}/"]
        arguments = [str(traffic.written(tmp_path)), "a%1b=="]
        subprocess.run(["wrk", "-t1", "-c1", "-d1s", *script, "--", *arguments], check=True, capture_output=True)
    numbers = [int(path.split("/")[2]) for path, _ in received]
    assert numbers[:15] == [number % 7 for number in range(numbers[0], numbers[0] + 15)]
    assert {cookie for _, cookie in received} == {"session=a%1b==; theme=dark"}
    assert SESSION in MEMBER.request(0).field("Cookie")
