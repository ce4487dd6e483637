"""TLS with several workers: a session of one is resumed by all, before and after a reload."""

from __future__ import annotations

import signal
import socket
import ssl
from pathlib import Path

from tests.e2e.server_process import ServerProcess
from tests.tls.authority import Authority

APPLICATION = """
import os


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "10")])
    return [b"%010d" % os.getpid()]
"""
REQUEST = b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n"
WORKERS = 4


class Client:
    """Keeps its session, as browsers do."""

    def __init__(self, authority: Authority, version: ssl.TLSVersion) -> None:
        self._context = ssl.create_default_context(cafile=authority.file)
        self._context.maximum_version = version
        self._session: ssl.SSLSession | None = None

    def ask(self, port: int) -> tuple[bool, int]:
        """Whether the session was resumed, and the pid of the worker that has answered, over a connection of its own"""
        with (
            socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
            self._context.wrap_socket(plain, server_hostname="a.example", session=self._session) as sock,
        ):
            sock.sendall(REQUEST)
            answer = b""
            while data := sock.recv(1000):
                answer += data
            self._session = sock.session
            return bool(sock.session_reused), int(answer[-10:])


def ask_until_all_have_answered(client: Client, port: int) -> list[bool]:
    """Whether the session was resumed, each time."""
    pids, found = set(), []
    while len(pids) < WORKERS and len(found) < 1000:
        resumed, pid = client.ask(port)
        pids.add(pid)
        found.append(resumed)
    assert len(pids) >= WORKERS
    return found


def test_all_workers_resume_the_sessions_of_each(tmp_path: Path) -> None:
    (tmp_path / "application.py").write_text(APPLICATION)
    authority = Authority(tmp_path)
    pairs = [authority.issue(f"{name}.example").write(tmp_path, name) for name in ("b", "a")]
    certificates = [word for pair in pairs for word in ("--tls-cert", pair.certificate, "--tls-key", pair.key)]
    with ServerProcess("application:app", "--workers", f"{WORKERS}", *certificates, cwd=tmp_path) as server:
        clients = [Client(authority, version) for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)]
        for client in clients:
            assert client.ask(server.port)[0] is False
            assert all(ask_until_all_have_answered(client, server.port))
        server.send_signal(signal.SIGHUP)
        server.wait_for_line("reloaded", timeout=20)
        for client in clients:  # the keys are new ones, and again common to all
            client.ask(server.port)
            assert all(ask_until_all_have_answered(client, server.port))
        assert server.stop() == 0
    assert "ERROR" not in server.output
