"""Behind nginx, HAProxy and Apache, by HTTP and by the PROXY protocol, over TCP and Unix sockets: what is known of the
client, and what a client that invents it achieves.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.e2e.proxies.fronts import CLIENT, NAMES, Front, Fronts
from tests.waiting import until_blocking

INVENTED = {
    "Forwarded": "for=203.0.113.9;host=evil.example;proto=gopher",
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "gopher",
    "X-Forwarded-Prefix": "/evil",
    "X_Forwarded_For": "203.0.113.9",
}


@pytest.fixture(scope="module")
def fronts() -> Iterator[Fronts]:
    with Fronts() as fronts:
        yield fronts
    for server in (fronts.server, fronts.proxied):
        assert server.returncode == 0
        assert "Traceback" not in server.output, server.output


@pytest.fixture(params=NAMES)
def front(request: pytest.FixtureRequest, fronts: Fronts) -> Front:
    found: Front = fronts[request.param]
    return found


def test_the_application_sees_the_client_and_not_what_it_has_invented(front: Front) -> None:
    with front.client() as client:
        for headers in ({}, INVENTED, {}):
            found = client.ask(headers=headers)
            assert found["REMOTE_ADDR"] == CLIENT
            assert found["scheme"] == ("https" if front.https else "http")
            assert found["HTTP_HOST"] == front.site
            assert found["SCRIPT_NAME"] == ""
            assert found["greenserve.peer"][0] in ("127.0.0.1", "")
            assert found.get("HTTPS") == ("on" if front.https else None)


def test_bodies_pass_and_connections_are_kept(front: Front) -> None:
    body = os.urandom(100_000)
    with front.client() as client:
        peers = set()
        for _ in range(3):
            found = client.ask("/echo", body)
            assert found["body"].encode("latin-1") == body
            peers.add(tuple(found["greenserve.peer"]))
    assert len(peers) == 1, "one connection of the proxy's served all three"


def test_websockets_pass_and_the_sites_own_pages_may_open_them(front: Front) -> None:
    url = f"ws://{front.site}/ws"  # whose TLS, if there is one, is the socket's
    with front.socket() as sock, connect(url, sock=sock, origin=Origin(front.origin), proxy=None) as ws:
        for message in ("hello", b"x" * 100_000):
            ws.send(message)
            assert ws.recv(timeout=20) == message
    with (
        pytest.raises(InvalidStatus) as caught,
        front.socket() as sock,
        connect(url, sock=sock, origin=Origin("https://evil.example"), proxy=None),
    ):
        pass
    assert caught.value.response.status_code == 403


def test_a_prefix_that_nginx_takes_away_is_in_the_applications_urls(fronts: Fronts) -> None:
    with fronts["nginx-tcp"].client() as client:
        found = client.ask("/shop/a%20b?c")
    assert (found["SCRIPT_NAME"], found["PATH_INFO"], found["QUERY_STRING"]) == ("/shop", "/a b", "c")


@pytest.mark.parametrize("name", ["haproxy-tcp", "haproxy-v1", "haproxy-v2", "haproxy-v2-unix"])
def test_haproxys_health_checks_are_the_proxys_own(fronts: Fronts, name: str) -> None:
    own = "" if name.endswith("unix") else "127.0.0.1"

    def checks() -> list[str]:
        with fronts[name].client() as client:
            found: list[str] = client.ask()["checks"]
            return found

    until_blocking(lambda: own in checks())
    assert set(checks()) <= {"127.0.0.1", ""}


def test_two_proxies_behind_each_other(fronts: Fronts) -> None:
    with fronts["haproxy-nginx"].client() as client:
        found = client.ask(headers={"X-Forwarded-For": "203.0.113.9"})
    assert re.fullmatch(rf"203\.0\.113\.9, *{re.escape(CLIENT)}, *127\.0\.0\.1", found["HTTP_X_FORWARDED_FOR"])
    assert found["REMOTE_ADDR"] == CLIENT


@pytest.mark.parametrize("name", ["nginx-tls", "haproxy-tls", "haproxy-v2-tls"])
def test_where_a_proxy_ends_tls_django_redirects_nothing_and_flasks_urls_are_https(fronts: Fronts, name: str) -> None:
    with fronts[name].client() as client:
        assert client.get("/django") == (200, f"{fronts[name].origin}/django", "")
        assert client.get("/flask") == (200, f"{fronts[name].origin}/flask", "")


@pytest.mark.parametrize("name", ["nginx-tcp", "haproxy-unix", "haproxy-v2", "apache-tcp"])
def test_where_there_is_none_django_redirects(fronts: Fronts, name: str) -> None:
    with fronts[name].client() as client:
        assert client.get("/django")[::2] == (301, f"https://{fronts[name].site}/django")


def test_flasks_urls_have_the_prefix_that_the_proxy_has_taken_away(fronts: Fronts) -> None:
    with fronts["nginx-tcp"].client() as client:
        assert client.get("/shop/flask")[1] == f"{fronts['nginx-tcp'].origin}/shop/flask"
