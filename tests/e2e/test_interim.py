"""Interim responses and trailers through the programs that people have: curl; nginx, HAProxy and Apache in front."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import require_program
from tests.e2e.proxies.programs import APACHE_MAIN, NGINX_HTTP, NGINX_MAIN, apache, haproxy, nginx
from tests.server.live import serving

HAPROXY = """
defaults
    mode http
    timeout client 20s
    timeout server 20s
    timeout connect 20s
listen front
    option forwardfor
    bind 127.0.0.1:{port}
    server app {upstream}
"""
NGINX = (
    NGINX_MAIN
    + "http {{"
    + NGINX_HTTP
    + """
    upstream app {{ server {upstream}; keepalive 4; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_set_header X-Forwarded-For $remote_addr; }}
    }}
}}
"""
)
APACHE = (
    APACHE_MAIN
    + """
Listen 127.0.0.1:{port}
ProxyPass / http://{upstream}/
"""
)
PROGRAMS = {"haproxy": (haproxy, HAPROXY), "nginx": (nginx, NGINX), "apache": (apache, APACHE)}


def application(environ, start_response):
    if environ["PATH_INFO"] == "/hints":
        environ["wsgi.early_hints"]([("Link", "</a.css>; rel=preload")])
        environ["wsgi.early_hints"]([("Link", "</b.css>; rel=preload")])
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Trailer", "X-Sum")])
    environ["greenserve.send_trailers"]([("X-Sum", str(len(body)))])
    yield json.dumps([body.decode(), environ["greenserve.trailers"]]).encode() + b"\n"


@contextmanager
def in_front(name: str | None, directory: Path, port: int, policy: str) -> Iterator[str]:
    """The server with one of the programs in front, or alone; the URL."""
    with serving(application, early_hints=policy) as server:
        if name is None:
            yield server.url
            return
        run, text = PROGRAMS[name]
        text = text.replace("{port}", str(port)).replace("{upstream}", server.url.removeprefix("http://"))
        with run(directory, port, text) as url:
            yield url


def curl(*arguments: str) -> str:
    command = [require_program("curl"), "--silent", "--show-error", "--include", "--max-time", "20", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


# nginx of Debian 12 takes a 103 for the response; so "always" is not for it.
PAIRS = [(None, "direct"), *((name, "direct") for name in PROGRAMS), ("haproxy", "always"), ("apache", "always")]


@pytest.mark.parametrize(("name", "policy"), PAIRS)
def test_hints_responses_and_trailers_come_through(tmp_path: Path, free_port: int, name: str, policy: str) -> None:
    with in_front(name, tmp_path, free_port, policy) as url:
        said = curl(url + "/hints", url + "/plain", url + "/hints")
    assert re.findall(r"^HTTP/1\.1 (200)", said, re.MULTILINE) == ["200"] * 3
    assert said.count('["", []]\n') == 3
    hints = re.findall(r"^HTTP/1\.1 103 .*\r?\nlink: </([ab])", said, re.MULTILINE | re.IGNORECASE)
    assert hints == (["a", "b", "a", "b"] if name is None or policy == "always" else [])
    if name in (None, "haproxy"):  # nginx and Apache drop trailers, as they may
        assert len(re.findall(r"^x-sum: 0$", said, re.MULTILINE | re.IGNORECASE)) == 3
