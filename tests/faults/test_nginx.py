"""nginx in front, with kept-alive connections to the server, over TCP and over a Unix socket."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.conftest import require_program
from tests.e2e.proxies.programs import NGINX_HTTP, NGINX_MAIN, nginx
from tests.faults.conftest import Faulty

CONFIGURATION = (
    NGINX_MAIN
    + "http {{"
    + NGINX_HTTP
    + """
    upstream app {{ server {upstream}; keepalive 16; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_buffering off; proxy_request_buffering off;
        }}
    }}
}}
"""
)


@pytest.fixture(params=["tcp", "unix"])
def front(request, faulty: Faulty, free_port: int, tmp_path: Path) -> Iterator[str]:
    """The URL of an nginx with the server behind it."""
    path = tmp_path / "app.sock"
    if request.param == "tcp":
        server = faulty.start()
        upstream = f"{server.host}:{server.port}"
    else:
        server = faulty.start(bind=(f"unix:{path}",))
        upstream = f"unix:{path}"
    text = CONFIGURATION.replace("{port}", str(free_port)).replace("{upstream}", upstream)
    with nginx(tmp_path, free_port, text) as url:
        yield url
    assert "Traceback" not in server.output
    errors = (tmp_path / "error.log").read_text()
    assert not re.search(r"\[(error|crit|alert|emerg)\]", errors), errors


def test_uploads_streams_and_errors_pass(front: str) -> None:
    content = os.urandom(3 << 20)
    with requests.Session() as session:
        for data in (content, iter([content[:1000], content[1000:]])):  # by length, and in chunks
            answer = session.post(front + "/echo", data=data, timeout=20)
            assert answer.text == f"{len(content)} {hashlib.sha256(content).hexdigest()}"
        assert session.get(front + "/stream?3000000", timeout=20).content == b"x" * 3_000_000
        assert session.get(front + "/whole?3000000", timeout=20).content == b"x" * 3_000_000
        assert session.head(front + "/", timeout=20).headers["Content-Length"] == "5"


def test_a_thousand_requests_of_ab_are_all_answered(front: str) -> None:
    ab = require_program("ab")
    out = subprocess.run(
        [ab, "-q", "-k", "-n", "1000", "-c", "50", front + "/"], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    assert re.search(r"Complete requests:\s+1000\b", out)
    assert re.search(r"Failed requests:\s+0\b", out)
    assert "Non-2xx" not in out


def test_a_body_that_the_application_does_not_read_breaks_nothing(front: str) -> None:
    # A connection for each: nginx ends its own, and the client's, when the answer comes before the body has passed.
    for _ in range(20):
        assert requests.post(front + "/", data=b"x" * 50_000, timeout=20).text == "hello"
        assert requests.get(front + "/", timeout=20).text == "hello"
