"""nginx, HAProxy and Apache in front, with kept-alive connections to the server: whatever bytes a client sends, it gets
the answers of just those requests that the application was called for. So no client can put a request between those of
another, and none can get another's answer.
"""

from __future__ import annotations

import itertools
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.proxies.programs import APACHE_MAIN, NGINX_HTTP, NGINX_MAIN, apache, haproxy, nginx
from tests.server.live import PATIENCE, serving

from .engine import TOKENS, Mutator, read_corpus

SEED = 20250102
INPUTS = 400  # for each proxy; a millisecond each

# Each waits for a client's whole request before it passes anything on, where it can, and tries nothing twice.
NGINX = (
    NGINX_MAIN
    + "http {{"
    + NGINX_HTTP
    + """
    client_header_timeout 2s; client_body_timeout 2s; ignore_invalid_headers off; underscores_in_headers on;
    upstream app {{ server @upstream@; keepalive 1; }}
    server {{
        listen 127.0.0.1:@port@;
        location / {{
            proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_next_upstream off;
            proxy_ignore_client_abort on;
        }}
    }}
}}
"""
)
HAPROXY = """
defaults
    mode http
    option http-buffer-request
    option accept-invalid-http-request
    retries 0
    http-reuse always
    timeout connect 5s
    timeout client 2s
    timeout server 10s
    timeout http-request 2s
listen app
    bind 127.0.0.1:@port@
    server app @upstream@ pool-max-conn 1
"""
APACHE = (
    APACHE_MAIN
    + """
Listen 127.0.0.1:@port@
Timeout 2
HttpProtocolOptions Unsafe LenientMethods Require1.0
ProxyPass / http://@upstream@/ enablereuse=on max=1 retry=0
"""
)

Start = Callable[[Path, int, str], AbstractContextManager[str]]


@dataclass
class Application:
    """Numbers the requests that it gets whole, and answers with the number."""

    called: list[str] = field(default_factory=list)

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        environ["wsgi.input"].read()
        self.called.append(f"{len(self.called)} {environ['PATH_INFO']}")
        start_response("200 OK", [("X-Number", str(len(self.called) - 1))])
        return [b"number: %d;" % (len(self.called) - 1)]


@dataclass
class Front:
    """A proxy, and the application behind it."""

    port: int
    application: Application

    def send(self, data: bytes) -> list[int]:
        """Send `data`, and its end; the numbers of the answers that come, up to the end."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as sock:
            try:
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                received = b"".join(iter(lambda: sock.recv(1 << 16), b""))
            except ConnectionError:  # the proxy has refused it, and what it said was lost
                return []
        # HEAD has no body, and an answer in HTTP/0.9, which nginx still gives, no head.
        return list(dict.fromkeys(map(int, re.findall(rb"(?i)number: ([0-9]+)", received))))


@pytest.fixture(params=[(nginx, NGINX), (haproxy, HAPROXY), (apache, APACHE)], ids=["nginx", "haproxy", "apache"])
def front(request: pytest.FixtureRequest, free_port: int, tmp_path: Path) -> Iterator[Front]:
    start, configuration = request.param
    application = Application()
    tmp_path.chmod(0o755)
    with serving(application) as server:
        address = server.addresses[0]
        text = configuration.replace("@port@", str(free_port)).replace("@upstream@", f"{address.host}:{address.port}")
        with start(tmp_path, free_port, text):
            yield Front(free_port, application)


def inputs() -> Iterator[bytes]:
    kept = [*read_corpus("head"), *read_corpus("connection")]
    yield from kept
    yield from itertools.islice(Mutator(kept, read_corpus("http", TOKENS), SEED), INPUTS)


def test_a_client_gets_the_answers_of_just_its_own_requests(front: Front) -> None:
    answered = 0
    for number, data in enumerate(inputs()):
        before = len(front.application.called)
        answers = front.send(data)
        called = list(range(before, len(front.application.called)))
        assert answers == called, (data, front.application.called[before:])
        answered += len(answers)
        if number % 10 == 0:  # the next client, on the same connection to the server
            path = f"/own/{number}"
            mine = front.send(b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % path.encode())
            assert [front.application.called[each] for each in mine] == [f"{mine[0]} {path}"]
    assert answered > 20
