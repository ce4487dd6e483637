"""Sticky sessions over several workers, by the installed command: in clear, over TLS, behind nginx, as workers go."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from greenserve.net.siblings import is_possible
from tests.conftest import REPOSITORY
from tests.e2e.proxies.programs import NGINX_HTTP, NGINX_MAIN, nginx
from tests.e2e.server_process import ServerProcess
from tests.server.tls_support import context_of_two_threads
from tests.waiting import until_blocking

pytestmark = pytest.mark.skipif(not is_possible(), reason="--sticky needs Linux")

CERTIFICATE = REPOSITORY / "tests" / "certificates" / "localhost.pem"
WORKERS = 4

# Sessions are in the worker's own memory. /begin names one in JSON and in a cookie; all else wants to know it.
APPLICATION = """
import hashlib, json, os, secrets
from urllib.parse import parse_qs

from greenserve import websocket

SESSIONS = {}


def app(environ, start_response):
    path = environ["PATH_INFO"]
    cookies = dict(each.strip().split("=", 1) for each in environ.get("HTTP_COOKIE", "").split(";") if "=" in each)
    session = parse_qs(environ["QUERY_STRING"]).get("sid", [cookies.get("session")])[0]
    if path == "/begin":
        session = secrets.token_hex(8)
        SESSIONS[session] = 0
    elif session not in SESSIONS:
        start_response("400 Bad Request", [])
        return [b"unknown session"]
    SESSIONS[session] += 1
    if path == "/echo":
        with websocket.accept(environ) as ws:
            for message in ws:
                ws.send(f"{message} {os.getpid()}")
        return []
    if path == "/stream":
        start_response("200 OK", [])
        return (b"x" * 10_000 for _ in range(300))
    body = environ["wsgi.input"].read()
    names = ("REMOTE_ADDR", "REMOTE_PORT", "SERVER_PORT", "wsgi.url_scheme", "HTTP_HOST", "SSL_PROTOCOL")
    answer = {"sid": session, "pid": os.getpid(), "count": SESSIONS[session]}
    answer["digest"] = hashlib.sha256(body).hexdigest()
    answer["environ"] = {name: environ.get(name) for name in names}
    start_response("200 OK", [("Content-Type", "application/json"), ("Set-Cookie", f"session={session}; Path=/")])
    return [json.dumps(answer).encode()]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sticky")
    (place / "application.py").write_text(APPLICATION)
    return place


def serve(place: Path, sticky: str, *arguments: str) -> ServerProcess:
    options = ("--workers", str(WORKERS), "--sticky", sticky, "--access-log", "-")
    return ServerProcess("application:app", *options, *arguments, cwd=place)


@pytest.fixture(scope="module", params=["http", "https"])
def server(request, place: Path) -> Iterator[ServerProcess]:
    tls = ("--tls-cert", str(CERTIFICATE)) if request.param == "https" else ()
    with serve(place, "sid", *tls, "--trusted-proxies", "none") as server:
        yield server
    assert server.returncode == 0
    assert "Traceback" not in server.output
    assert "ERROR" not in server.output


def ask(url: str, path: str, client: requests.Session | None = None, **options: object) -> requests.Response:
    """Over a connection of its own, unless a client is given. Returns the answer, which is well."""
    if client is None:
        with requests.Session() as client:
            return ask(url, path, client, **options)
    client.cookies.clear()
    method = "POST" if "data" in options else "GET"
    answer = client.request(method, url + path, timeout=20, verify=str(CERTIFICATE), **options)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    return answer


def begin(url: str, count: int) -> list[dict[str, object]]:
    """Sessions of several workers: each begins over a connection of its own, and all of these stay open meanwhile."""
    begun: list[dict[str, object]] = []

    def all_begun() -> bool:  # once several workers are ready
        with ExitStack() as stack:
            begun[:] = [ask(url, "/begin", stack.enter_context(requests.Session())).json() for _ in range(count)]
        return len({each["pid"] for each in begun}) > 1

    until_blocking(all_begun)
    return begun


def urls(server: ServerProcess) -> str:
    """By the name that the certificate has."""
    return server.url.replace("127.0.0.1", "localhost")


def test_each_request_of_a_session_is_served_where_it_began_over_new_and_over_shared_connections(
    server: ServerProcess,
) -> None:
    url = urls(server)
    begun = begin(url, 20)
    content = os.urandom(300_000)
    with requests.Session() as shared:
        for round_ in range(3):
            for each in begun:
                for client in (None, shared):
                    path = f"/?sid={each['sid']}"
                    data = iter([content[:1000], content[1000:]]) if round_ == 1 else content[: round_ * 5]
                    answer = ask(url, path, client, data=data, headers={"X-Forwarded-For": "192.0.2.1"}).json()
                    assert (answer["sid"], answer["pid"]) == (each["sid"], each["pid"])
                    sent = content if round_ == 1 else content[: round_ * 5]
                    assert answer["digest"] == hashlib.sha256(sent).hexdigest()
                    scheme = url.partition(":")[0]
                    environ = answer["environ"]
                    assert environ["REMOTE_ADDR"] in ("127.0.0.1", "::1")
                    assert environ["wsgi.url_scheme"] == scheme
                    assert environ["HTTP_HOST"] == f"localhost:{server.port}"
                    assert environ["SERVER_PORT"] == str(server.port)
                    assert (environ["SSL_PROTOCOL"] is None) == (scheme == "http")
    assert [ask(url, f"/?sid={each['sid']}").json()["count"] for each in begun] == [8] * len(begun)
    for each in begun:  # one line for each request, wherever it came in
        server.wait_for_line(rf"/\?sid={each['sid']} ", count=7)


def raw(server: ServerProcess) -> socket.socket:
    sock = socket.create_connection((server.host, server.port), timeout=20)
    if server.url.startswith("https"):
        return ssl.create_default_context(cafile=CERTIFICATE).wrap_socket(sock, server_hostname="localhost")
    return sock


def test_pipelined_requests_of_several_sessions_are_answered_in_order(server: ServerProcess) -> None:
    begun = begin(urls(server), 10)
    names = [str(each["sid"]) for each in begun]
    body = b"x" * 7000
    requests_ = [
        f"POST /?sid={name} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        for name in names
    ]
    with raw(server) as sock:
        sock.sendall(b"".join(requests_) + b"GET /?sid=0 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
    assert re.findall(r'"sid": "(\w+)"', answer) == names
    assert answer.count("HTTP/1.1 200 OK") == len(names)
    assert answer.count("HTTP/1.1 400 Bad Request") == 1


def test_a_stream_and_a_websocket_come_from_the_sessions_worker(server: ServerProcess) -> None:
    url = urls(server)
    tls = context_of_two_threads(CERTIFICATE) if url.startswith("https") else None
    for each in begin(url, 8):
        assert len(ask(url, f"/stream?sid={each['sid']}").content) == 3_000_000
        target = f"{url.replace('http', 'ws', 1)}/echo?sid={each['sid']}"
        with connect(target, ssl=tls, proxy=None) as ws:
            ws.send("x" * 200_000)
            assert ws.recv(timeout=20) == "x" * 200_000 + f" {each['pid']}"


def test_a_client_that_goes_away_leaves_nothing_open(server: ServerProcess) -> None:
    begun = begin(urls(server), 8)
    for each in begun:
        with raw(server) as sock:
            sock.sendall(f"GET /stream?sid={each['sid']} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert sock.recv(100).startswith(b"HTTP/1.1 200 OK")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
    for each in begun:
        assert ask(urls(server), f"/?sid={each['sid']}").json()["count"] == 3
        server.wait_for_line(rf"/stream\?sid={each['sid']} ", count=1)


def test_a_cookie_names_a_session_too(place: Path) -> None:
    with serve(place, "cookie:session") as server, requests.Session() as shared:
        for each in begin(server.url, 12):
            for client in (None, shared):
                answer = ask(server.url, "/", client, headers={"Cookie": f"session={each['sid']}"}).json()
                assert (answer["sid"], answer["pid"]) == (each["sid"], each["pid"])


CONFIGURATION = (
    NGINX_MAIN
    + "http {{"
    + NGINX_HTTP
    + """
    upstream app {{ server 127.0.0.1:{upstream}; keepalive 2; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto https;
        }}
    }}
}}
"""
)


def test_behind_nginx_the_sessions_share_its_connections(place: Path, tmp_path: Path, free_port: int) -> None:
    with serve(place, "sid", "--trusted-proxies", "127.0.0.1") as server:
        text = CONFIGURATION.replace("{port}", str(free_port)).replace("{upstream}", str(server.port))
        with nginx(tmp_path, free_port, text) as url:
            begun = begin(server.url, 20)
            with ThreadPoolExecutor(4) as pool:
                for _ in range(5):
                    paths = [f"/?sid={each['sid']}" for each in begun]
                    answers = [each.json() for each in pool.map(lambda path: ask(url, path, data=b"x" * 9000), paths)]
                    assert [each["pid"] for each in answers] == [each["pid"] for each in begun]
                    assert {each["environ"]["wsgi.url_scheme"] for each in answers} == {"https"}
    errors = (tmp_path / "error.log").read_text()
    assert not re.search(r"\[(error|crit|alert|emerg)\]", errors), errors


def test_sessions_of_a_worker_that_was_killed_or_replaced_are_nobodys_and_new_ones_begin(place: Path) -> None:
    with serve(place, "sid", "--tls-cert", str(CERTIFICATE)) as server:
        url = urls(server)
        begun = begin(url, 12)
        dead = begun[0]["pid"]
        os.kill(int(str(dead)), signal.SIGKILL)
        server.wait_for_line(rf"pid {dead}\) was killed by SIGKILL")
        for each in begun:
            answer = requests.get(f"{url}/?sid={each['sid']}", timeout=20, verify=str(CERTIFICATE))
            assert answer.status_code == (400 if each["pid"] == dead else 200)
        living = next(each for each in begun if each["pid"] != dead)
        target = f"{url.replace('http', 'ws', 1)}/echo?sid={living['sid']}"
        with connect(target, ssl=context_of_two_threads(CERTIFICATE), proxy=None) as ws:
            server.send_signal(signal.SIGHUP)
            server.wait_for_line("reloaded: all workers run generation 2")
            with pytest.raises(ConnectionClosed) as closed:
                ws.recv(timeout=20)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
        old = {each["pid"] for each in begun}
        until_blocking(lambda: all(f"pid {pid}) has ended" in server.output or pid == dead for pid in old))
        assert requests.get(f"{url}/?sid={living['sid']}", timeout=20, verify=str(CERTIFICATE)).status_code == 400
        for each in begin(url, 8):
            assert each["pid"] not in old
            assert ask(url, f"/?sid={each['sid']}").json()["pid"] == each["pid"]
        assert server.stop() == 0
    assert "Traceback" not in server.output
