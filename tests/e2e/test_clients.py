"""The clients that people use, against the installed command."""

from __future__ import annotations

import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.conftest import require_program

APPLICATION = """
import hashlib, time

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/upload":
        body = hashlib.sha256(environ["wsgi.input"].read()).hexdigest().encode()
    elif path == "/slow":
        time.sleep(0.5)
        body = b"slow"
    elif path == "/nested":
        import requests
        body = requests.get("http://" + environ["HTTP_HOST"] + "/slow").content
    elif path == "/stream":
        start_response("200 OK", [])
        return (b"%d\\n" % number for number in range(5))
    else:
        body = b"hello"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]
"""


@pytest.fixture
def server(start_server, tmp_path: Path):
    (tmp_path / "application.py").write_text(APPLICATION)
    return start_server("application:app", cwd=tmp_path)


def curl(*arguments: str) -> str:
    program = require_program("curl")
    return subprocess.run(
        [program, "--silent", "--show-error", "--max-time", "30", *arguments],
        check=True,
        capture_output=True,
        text=True,
        timeout=40,
    ).stdout


def test_curl_gets_head_and_body(server) -> None:
    out = curl("-i", server.url + "/")
    assert out.startswith("HTTP/1.1 200 OK\n")
    assert out.endswith("\n\nhello")


def test_curl_head_sees_the_length_and_reuses_the_connection(server) -> None:
    out = curl("-I", server.url + "/", server.url + "/", "-v", "--stderr", "-")
    assert out.count("< Content-Length: 5") == 2
    assert re.search(r"Re-using existing|Reusing existing", out)


def test_curl_uploads_with_100_continue(server, tmp_path: Path) -> None:
    content = os.urandom(3 << 20)
    (tmp_path / "file").write_bytes(content)
    out = curl(
        "-v", "--stderr", "-", "-H", "Expect: 100-continue", "-T", str(tmp_path / "file"), server.url + "/upload"
    )
    assert "HTTP/1.1 100 Continue" in out
    import hashlib

    assert hashlib.sha256(content).hexdigest() in out


def test_curl_uploads_chunked(server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 300000)
    out = curl("-H", "Transfer-Encoding: chunked", "-T", str(tmp_path / "file"), server.url + "/upload")
    assert len(out) == 64


def test_curl_speaks_http_1_0(server) -> None:
    assert curl("--http1.0", server.url + "/stream") == "0\n1\n2\n3\n4\n"


def test_requests_keeps_its_session(server) -> None:
    with requests.Session() as session:
        for _ in range(3):
            assert session.get(server.url + "/", timeout=10).text == "hello"
            assert session.post(server.url + "/upload", data=b"x" * 100000, timeout=10).ok
        assert session.head(server.url + "/", timeout=10).headers["Content-Length"] == "5"


def test_an_application_may_call_requests_while_others_are_served(server) -> None:
    """Patched before it is imported, the application's blocking calls let the others run, its own server's included."""
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: requests.get(server.url + "/nested", timeout=20).text, range(20)))
    assert answers == ["slow"] * 20


def test_wrk_sees_no_error(server) -> None:
    wrk = require_program("wrk")
    out = subprocess.run(
        [wrk, "-t1", "-c50", "-d1s", server.url + "/"], check=True, capture_output=True, text=True, timeout=30
    ).stdout
    assert "Socket errors" not in out
    assert "Non-2xx" not in out
    assert int(re.search(r"(\d+) requests in", out)[1]) > 100


@pytest.mark.parametrize("keep_alive", [(), ("-k",)])
def test_ab_is_content(server, keep_alive: tuple[str, ...]) -> None:
    ab = require_program("ab")
    out = subprocess.run(
        [ab, "-q", "-n", "500", "-c", "20", *keep_alive, server.url + "/"],
        check=True,
        capture_output=True,
        text=True,
        timeout=40,
    ).stdout
    assert re.search(r"Failed requests:\s+0\n", out), out
    assert re.search(r"Complete requests:\s+500\n", out), out
    assert not keep_alive or re.search(r"Keep-Alive requests:\s+500\n", out), out
