"""nginx, HAProxy and Apache, each started by its own command in a directory of the test's, on ports of the test's.

    with nginx(directory, port, configuration) as url: ...

A configuration calls its directory {directory}. Each is awaited until it accepts on its (last) port, and stopped by its
pid.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import require_program

READY_SECONDS = 10.0

# Of nginx.conf, what stands around its http and stream blocks, and what the http block needs to write nowhere else.
NGINX_MAIN = """
daemon off; master_process off; worker_processes 1; pid {directory}/nginx.pid; error_log {directory}/error.log info;
events {{ worker_connections 512; }}
"""
NGINX_HTTP = """
    access_log off; client_max_body_size 0;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
"""
# Of Apache, what Debian spreads over /etc/apache2.
APACHE_MAIN = """
ServerName localhost
ServerRoot {directory}
PidFile {directory}/apache.pid
ErrorLog {directory}/error.log
DefaultRuntimeDir {directory}
Mutex file:{directory}
User www-data
Group www-data
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule headers_module /usr/lib/apache2/modules/mod_headers.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
LoadModule proxy_wstunnel_module /usr/lib/apache2/modules/mod_proxy_wstunnel.so
StartServers 1
ServerLimit 1
ThreadsPerChild 16
MaxRequestWorkers 16
"""


@contextmanager
def nginx(directory: Path, port: int, configuration: str, user: str | None = None) -> Iterator[str]:
    """nginx; its URL. user: as which."""
    file = directory / "nginx.conf"
    file.write_text(configuration.format(directory=directory))
    errors = directory / "error.log"
    command = [require_program("nginx"), "-p", str(directory), "-e", str(errors), "-c", str(file)]
    with _running(command, port, errors, user):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def haproxy(directory: Path, port: int, configuration: str) -> Iterator[str]:
    """HAProxy; its URL. What it says goes to {directory}/haproxy.log."""
    file = directory / "haproxy.cfg"
    file.write_text(configuration.format(directory=directory))
    with _running([require_program("haproxy"), "-db", "-f", str(file)], port, directory / "haproxy.log"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def apache(directory: Path, port: int, configuration: str) -> Iterator[str]:
    """Apache; its URL. Started by root it serves as www-data, to whom the directory and Unix sockets must be open."""
    file = directory / "apache.conf"
    file.write_text(configuration.format(directory=directory))
    with _running([require_program("apache2"), "-D", "FOREGROUND", "-f", str(file)], port, directory / "error.log"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _running(command: list[str], port: int, log: Path, user: str | None = None) -> Iterator[None]:
    said = log.with_name(f"{Path(command[0]).name}.log")
    with said.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, user=user, group=user, extra_groups=None if user is None else []
        )
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not _accepts(port):
            text = "\n".join(file.read_text() for file in {said, log} if file.exists())
            assert process.poll() is None, text
            assert time.monotonic() < deadline, text
            os.sched_yield()
        yield
    finally:
        process.terminate()
        process.wait(READY_SECONDS)


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
