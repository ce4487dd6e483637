"""Plain HTTP is answered by a redirect to https, with the URL as it was, and by ACME's challenges."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.errors import ConfigurationError
from greenserve.server import Server
from greenserve.settings import TcpAddress
from greenserve.tls.redirect import CHALLENGES, MAX_CHALLENGE, Redirect
from tests.server.live import Client
from tests.tls.authority import Authority
from tests.waiting import until_blocking
from tests.wire import get, request, upgrade

ADDRESS = TcpAddress("127.0.0.1", 80)


def ask(redirect: Redirect, target: str, host: str | None = "a.example", method: str = "GET") -> tuple[str, str, bytes]:
    """Status, Location and body."""
    environ: dict[str, Any] = {"REQUEST_METHOD": method, "REQUEST_URI": target, "PATH_INFO": target.partition("?")[0]}
    if host is not None:
        environ["HTTP_HOST"] = host
    said: list[Any] = []
    body = b"".join(redirect(environ, lambda status, headers: said.extend((status, dict(headers)))))
    assert int(said[1]["Content-Length"]) == len(body)
    return said[0][:3], said[1].get("Location", ""), body


@pytest.mark.parametrize(
    ("target", "host", "location"),
    [
        ("/", "a.example", "https://a.example/"),
        ("/a%2Fb;c?d=%20&e", "a.example:80", "https://a.example/a%2Fb;c?d=%20&e"),
        ("/x", "[2001:db8::1]:80", "https://[2001:db8::1]/x"),
        ("/x", "192.0.2.1", "https://192.0.2.1/x"),
        ("//other.example/x", "a.example", "https://a.example//other.example/x"),
        ("http://a.example:80/x?y", "a.example:80", "https://a.example/x?y"),
        ("http://a.example", "a.example", "https://a.example/"),
        ("HTTP://a.example?y=http://b/c", "a.example", "https://a.example/?y=http://b/c"),
        ("/x?y=http://b/c", "a.example", "https://a.example/x?y=http://b/c"),
        ("*", "a.example", "https://a.example/"),
    ],
)
def test_the_url_stays_what_it_was(target: str, host: str, location: str) -> None:
    assert ask(Redirect(ADDRESS, 443, None), target, host) == ("308", location, b"")


def test_another_port_is_in_the_url() -> None:
    assert ask(Redirect(ADDRESS, 8443, None), "/x", "a.example:8080")[1] == "https://a.example:8443/x"


@pytest.mark.parametrize("host", [None, "", "a b", "a@b", "a/b", "[::1", "a:b", "ä", "a,b"])
def test_a_host_that_names_no_server_is_refused(host: str | None) -> None:
    assert ask(Redirect(ADDRESS, 443, None), "/", host)[:2] == ("400", "")


@pytest.fixture(scope="module")
def webroot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("webroot")
    place = root / CHALLENGES.strip("/")
    place.mkdir(parents=True)
    (place / "to-ken_1").write_bytes(b"to-ken_1.thumbprint")
    (place / "large").write_bytes(bytes(MAX_CHALLENGE + 1))
    (place / "directory").mkdir()
    (root / "secret").write_bytes(b"secret")
    (place / "link").symlink_to(root / "secret")
    os.mkfifo(place / "fifo")
    return root


def test_a_challenge_is_answered_from_its_file(webroot: Path) -> None:
    redirect = Redirect(ADDRESS, 443, str(webroot))
    for method in ("GET", "HEAD"):
        assert ask(redirect, CHALLENGES + "to-ken_1", None, method) == ("200", "", b"to-ken_1.thumbprint")
    assert ask(redirect, CHALLENGES + "to-ken_1", method="POST")[0] == "405"
    assert ask(Redirect(ADDRESS, 443, None), CHALLENGES + "to-ken_1")[0] == "308"


@pytest.mark.parametrize(
    "token", ["", "unknown", "large", "directory", "link", "fifo", "../../secret", "to-ken_1/", "to-ken_1\0", "a" * 300]
)
def test_what_is_not_a_challenge_is_not_found(webroot: Path, token: str) -> None:
    assert ask(Redirect(ADDRESS, 443, str(webroot)), CHALLENGES + token)[0] == "404"


@given(st.text(max_size=40), st.text(max_size=10))
def test_no_request_gets_anything_else(webroot: Path, path: str, host: str) -> None:
    redirect = Redirect(ADDRESS, 443, str(webroot))
    for target in ("/" + path, CHALLENGES + path):
        status, _, body = ask(redirect, target, host)
        assert (
            (status, body) == ("200", b"to-ken_1.thumbprint")
            if target == CHALLENGES + "to-ken_1"
            else (status in ("308", "400", "404") and b"secret" not in body)
        )


# a server


@pytest.fixture
def server(authority: Authority, tmp_path: Path, webroot: Path) -> Iterator[Server]:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        raise AssertionError("the application is not asked")

    pair = authority.issue("a.example").write(tmp_path, "a")
    with Server(
        application,
        bind="127.0.0.1:0",
        tls_cert=pair.certificate,
        tls_key=pair.key,
        redirect_https="127.0.0.1:0",
        acme_dir=webroot,
        access_log=tmp_path / "access.log",
    ) as server:
        yield server


def test_its_listener_redirects_to_the_port_that_speaks_tls(server: Server, tmp_path: Path) -> None:
    secure, plain = server.addresses
    assert isinstance(secure, TcpAddress)
    assert (secure.url[:8], plain.url[:7]) == ("https://", "http://")
    with Client(server, 1) as client:
        for method in ("GET", "HEAD", "DELETE"):
            client.send(request(method, "/x?y"))
            assert client.head()[1]["location"] == f"https://test:{secure.port}/x?y"
        client.send(request("POST", "/x", "Content-Length: 5") + b"hello")
        assert client.head()[0] == 308
        client.send(upgrade("/chat"))
        assert client.head()[0] == 308
        client.send(get(CHALLENGES + "to-ken_1"))
        status, fields = client.head()
        assert (status, client.file.read(int(fields["content-length"]))) == (200, b"to-ken_1.thumbprint")
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert client.head()[0] == 400
    until_blocking(lambda: (tmp_path / "access.log").read_text().count('" 308 ') == 5)


def test_the_port_in_its_urls_is_a_setting(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue("a.example").write(tmp_path, "a")
    options: dict[str, Any] = {"tls_cert": pair.certificate, "tls_key": pair.key, "bind": "127.0.0.1:0"}
    server = Server(lambda *_: [], **options, redirect_https="127.0.0.1:0", redirect_https_port=443)
    with server, Client(server, 1) as client:
        client.send(get("/x"))
        assert client.head()[1]["location"] == "https://test/x"


def test_a_webroot_that_does_not_exist_is_an_error(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue("a.example").write(tmp_path, "a")
    server = Server(
        lambda *_: [],
        tls_cert=pair.certificate,
        tls_key=pair.key,
        bind="127.0.0.1:0",
        redirect_https="127.0.0.1:0",
        acme_dir="nowhere",
    )
    with pytest.raises(ConfigurationError, match="acme_dir = 'nowhere' is not a directory"):
        server.listen()
