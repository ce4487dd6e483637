"""A server, and every proxy in front of it that people use, in every way: started once, for all tests of a module.

`Fronts` starts two servers of the real command, the second with --proxy-protocol, each on TCP and on a Unix socket; and
nginx, HAProxy and Apache before them. Each way through is a `Front`: where clients connect, and what is known of it.
The tests' clients come from CLIENT, which is no trusted proxy, to see that nothing is believed of them.
"""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import ssl
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.conftest import missing, unused_port
from tests.e2e.proxies.programs import APACHE_MAIN, NGINX_HTTP, NGINX_MAIN, apache, haproxy, nginx
from tests.e2e.server_process import ServerProcess

CLIENT = "127.0.0.7"
CERTIFICATE = Path(__file__).resolve().parents[2] / "certificates" / "localhost.pem"
STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")

APPLICATION = """
import functools, json
from greenserve import websocket

checks = []


@functools.cache
def in_django():
    import django
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpResponse
    from django.urls import path

    page = lambda request: HttpResponse(request.build_absolute_uri())
    urls = type("urls", (), {"urlpatterns": [path("django", page)]})
    middleware = ["django.middleware.security.SecurityMiddleware"]
    settings.configure(ROOT_URLCONF=urls, ALLOWED_HOSTS=["localhost"], SECURE_SSL_REDIRECT=True, MIDDLEWARE=middleware)
    return get_wsgi_application()


@functools.cache
def in_flask():
    import flask
    application = flask.Flask("behind")
    application.add_url_rule("/flask", "page", lambda: flask.url_for("page", _external=True))
    return application


def app(environ, start_response):
    if environ["PATH_INFO"] == "/django":
        return in_django()(environ, start_response)
    if environ["PATH_INFO"] == "/flask":
        return in_flask()(environ, start_response)
    if environ["PATH_INFO"] == "/ws":
        with websocket.accept(environ) as ws:
            for message in ws:
                ws.send(message)
        return []
    if environ["PATH_INFO"] == "/check":
        checks.append(environ["REMOTE_ADDR"])
    found = {key: value for key, value in environ.items() if isinstance(value, (str, tuple)) and key[:4] != "wsgi"}
    found["scheme"], found["checks"] = environ["wsgi.url_scheme"], checks
    found["body"] = environ["wsgi.input"].read().decode("latin-1")
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(found).encode()]
"""

NGINX = (
    f"load_module {STREAM_MODULE};"
    + NGINX_MAIN
    + "http {{"
    + NGINX_HTTP
    + """
    upstream tcp {{ server @TCP@; keepalive 4; }}
    upstream unix {{ server unix:@UNIX@; keepalive 4; }}
    map $http_upgrade $connection_header {{ default upgrade; "" ""; }}
    proxy_http_version 1.1;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $connection_header;
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Real-IP $remote_addr;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Host "";
    proxy_set_header X-Forwarded-Port "";
    proxy_set_header X-Forwarded-Prefix $prefix;
    proxy_set_header Forwarded "";
    map $uri $prefix {{ ~^/shop/ /shop; default ""; }}
    server {{
        listen 127.0.0.1:@nginx-tcp@;
        location / {{ proxy_pass http://tcp; }}
        location /shop/ {{ proxy_pass http://tcp/; }}
    }}
    server {{ listen 127.0.0.1:@nginx-unix@; location / {{ proxy_pass http://unix; }} }}
    server {{
        listen 127.0.0.1:@nginx-tls@ ssl; ssl_certificate @PEM@; ssl_certificate_key @PEM@;
        location / {{ proxy_pass http://tcp; }}
    }}
}}
stream {{
    server {{ listen 127.0.0.1:@nginx-proxy-protocol@; proxy_pass @PROXIED-TCP@; proxy_protocol on; }}
    server {{ listen 127.0.0.1:@nginx-proxy-protocol-unix@; proxy_pass unix:@PROXIED-UNIX@; proxy_protocol on; }}
}}
"""
)

# Nothing checks nginx: a check would take one of its connections to the server, and a test counts these.
HAPROXY = """
global
    maxconn 200
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    timeout tunnel 60s
    option forwardfor
    option httpchk
    http-check send meth GET uri /check ver HTTP/1.1 hdr Host localhost
    default-server check inter 200ms
listen tcp
    bind 127.0.0.1:@haproxy-tcp@
    http-request del-header Forwarded
    http-request del-header X-Forwarded-Prefix
    http-request set-header X-Forwarded-Proto http
    http-request set-header X-Forwarded-Host %[req.hdr(Host)]
    server app @TCP@
listen unix
    bind 127.0.0.1:@haproxy-unix@
    http-request del-header Forwarded
    http-request del-header X-Forwarded-Prefix
    http-request set-header X-Forwarded-Proto http
    http-request set-header X-Forwarded-Host %[req.hdr(Host)]
    server app unix@@UNIX@
listen tls
    bind 127.0.0.1:@haproxy-tls@ ssl crt @PEM@
    http-request del-header Forwarded
    http-request del-header X-Forwarded-Prefix
    http-request set-header X-Forwarded-Proto https
    http-request set-header X-Forwarded-Host %[req.hdr(Host)]
    server app @TCP@
listen nginx
    bind 127.0.0.1:@haproxy-nginx@
    server nginx 127.0.0.1:@nginx-tcp@ no-check
listen v1
    bind 127.0.0.1:@haproxy-v1@
    server app @PROXIED-TCP@ send-proxy
listen v2
    bind 127.0.0.1:@haproxy-v2@
    server app @PROXIED-TCP@ send-proxy-v2 proxy-v2-options crc32c,unique-id
listen v2-unix
    bind 127.0.0.1:@haproxy-v2-unix@
    server app unix@@PROXIED-UNIX@ send-proxy-v2
listen v2-tls
    mode tcp
    bind 127.0.0.1:@haproxy-v2-tls@ ssl crt @PEM@
    server app @PROXIED-TCP@ send-proxy-v2 proxy-v2-options ssl,cert-cn,crc32c
"""

APACHE = (
    APACHE_MAIN
    + """
Listen 127.0.0.1:@apache-unix@
Listen 127.0.0.1:@apache-tcp@
RequestHeader unset Forwarded
RequestHeader unset X-Forwarded-Port
RequestHeader unset X-Forwarded-Prefix
RequestHeader set X-Forwarded-Proto http
ProxyTimeout 30
<VirtualHost 127.0.0.1:@apache-tcp@>
    ProxyPass "/" "http://@TCP@/" upgrade=websocket
</VirtualHost>
<VirtualHost 127.0.0.1:@apache-unix@>
    ProxyPreserveHost On
    ProxyPass "/" "unix:@UNIX@|http://localhost/" upgrade=websocket
</VirtualHost>
"""
)

NAMES = (
    *("nginx-tcp", "nginx-unix", "nginx-tls", "nginx-proxy-protocol", "nginx-proxy-protocol-unix"),
    *("haproxy-tcp", "haproxy-unix", "haproxy-tls", "haproxy-nginx"),
    *("haproxy-v1", "haproxy-v2", "haproxy-v2-unix", "haproxy-v2-tls"),
    *("apache-tcp", "apache-unix"),
)


@dataclass(frozen=True)
class Front:
    """One way to the server. name: of NAMES; port: of 127.0.0.1, where clients connect."""

    name: str
    port: int

    @property
    def https(self) -> bool:
        """Whether the proxy ends TLS."""
        return self.name.endswith("-tls")

    @property
    def site(self) -> str:
        """What clients write as Host."""
        return f"localhost:{self.port}"

    @property
    def origin(self) -> str:
        """Of the site's pages, as the browser sees them."""
        return f"{'https' if self.https else 'http'}://{self.site}"

    def socket(self) -> socket.socket:
        """A connection from CLIENT, TLS included."""
        sock = socket.create_connection(("127.0.0.1", self.port), 20, source_address=(CLIENT, 0))
        if self.https:
            return ssl.create_default_context(cafile=CERTIFICATE).wrap_socket(sock, server_hostname="localhost")
        return sock

    def client(self) -> Client:
        """A client with one connection, kept open."""
        return Client(self)


class Client:
    """Asks the application, over one connection, what it sees."""

    def __init__(self, front: Front) -> None:
        self._connection = http.client.HTTPConnection("localhost", front.port)
        self._connection.sock = front.socket()

    def get(self, path: str) -> tuple[int, str, str]:
        """Status, body, and where to, of a page."""
        self._connection.request("GET", path)
        answer = self._connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers.get("Location", "")

    def ask(self, path: str = "/", body: bytes | None = None, headers: Mapping[str, str] = {}) -> dict[str, Any]:
        """The environ that the application has got, and its body."""
        self._connection.request("GET" if body is None else "POST", path, body, dict(headers))
        answer = self._connection.getresponse()
        data = answer.read()
        assert answer.status == 200, data
        found: dict[str, Any] = json.loads(data)
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


class Fronts(dict[str, Front]):
    """All of them, by name; a context manager. server, proxied: the two servers."""

    def __init__(self, arguments: tuple[str, ...] = ("--trusted-proxies", "127.0.0.1,unix")) -> None:
        super().__init__({name: Front(name, unused_port()) for name in NAMES})
        self._arguments = arguments
        self._stack = ExitStack()
        self.server: ServerProcess
        self.proxied: ServerProcess

    def __enter__(self) -> Self:
        if not STREAM_MODULE.exists():
            missing(f"{STREAM_MODULE} is not installed (Debian: libnginx-mod-stream)")
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def _start(self, stack: ExitStack) -> None:
        place = Path(tempfile.mkdtemp(prefix="greenserve-"))  # pytest's own directory is closed to Apache's user
        stack.callback(shutil.rmtree, place)
        place.chmod(0o755)
        (place / "behind.py").write_text(APPLICATION)
        files = {"UNIX": f"{place}/app.sock", "PROXIED-UNIX": f"{place}/proxied.sock", "PEM": str(CERTIFICATE)}
        start = ("behind:app", "--umask", "0", *self._arguments)
        binds = [("127.0.0.1:0", f"unix:{files[name]}") for name in ("UNIX", "PROXIED-UNIX")]
        self.server = stack.enter_context(ServerProcess(*start, bind=binds[0], cwd=place))
        self.proxied = stack.enter_context(ServerProcess(*start, "--proxy-protocol", bind=binds[1], cwd=place))
        files["TCP"] = f"{self.server.host}:{self.server.port}"
        files["PROXIED-TCP"] = f"{self.proxied.host}:{self.proxied.port}"
        for run, text, awaited in (
            (nginx, NGINX, "nginx-proxy-protocol-unix"),
            (haproxy, HAPROXY, "haproxy-v2-tls"),
            (apache, APACHE, "apache-tcp"),
        ):
            for name, value in files.items():
                text = text.replace(f"@{name}@", value)
            for name, front in self.items():
                text = text.replace(f"@{name}@", str(front.port))
            directory = place / run.__name__
            directory.mkdir()
            stack.enter_context(run(directory, self[awaited].port, text))
