"""The clients that people use, over TLS: curl, requests, wrk, ab, h2load and Chromium."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.conftest import require_program
from tests.e2e.server_process import ServerProcess
from tests.e2e.test_clients import APPLICATION
from tests.e2e.test_demo_browser import chromium
from tests.e2e.test_demo_chat import ChatPage
from tests.tls.authority import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def files(authority: Authority, tmp_path: Path) -> list[str]:
    """The options of a server with a certificate for this machine."""
    pair = authority.issue("localhost", "127.0.0.1").write(tmp_path, "a")
    return ["--tls-cert", pair.certificate, "--tls-key", pair.key]


@pytest.fixture
def server(start_server, tmp_path: Path, files: list[str]):
    (tmp_path / "application.py").write_text(APPLICATION)
    return start_server("application:app", *files, cwd=tmp_path)


def run(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [require_program(program), *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=40
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_curl_keeps_the_connection_and_uploads(server: ServerProcess, authority: Authority, tmp_path: Path) -> None:
    content = bytes(range(256)) * 4096
    (tmp_path / "content").write_bytes(content)
    ca = ("--cacert", str(authority.file), "-sS")
    out = run("curl", *ca, "-v", server.url + "/", server.url + "/stream")
    assert out.count("Re-using existing connection") == 1
    assert "ALPN: server accepted http/1.1" in out
    expect = hashlib.sha256(content).hexdigest()
    for extra in ((), ("-H", "Transfer-Encoding: chunked"), ("-H", "Expect: 100-continue")):
        assert run("curl", *ca, *extra, "-T", str(tmp_path / "content"), server.url + "/upload") == expect


def test_requests_keeps_a_session(server: ServerProcess, authority: Authority) -> None:
    with requests.Session() as session:
        ca = str(authority.file)
        for _ in range(5):
            assert session.get(server.url + "/", timeout=20, verify=ca).text == "hello"
        assert session.post(server.url + "/upload", data=b"x" * 10**6, timeout=20, verify=ca).ok


def test_wrk_sees_no_error(server: ServerProcess) -> None:
    out = run("wrk", "-t1", "-c20", "-d1s", server.url + "/")
    assert "Non-2xx" not in out
    assert "Socket errors" not in out
    assert int(re.findall(r"(\d+) requests in", out)[0]) > 0


@pytest.mark.parametrize("keep", [(), ("-k",)])
def test_ab_sees_no_error(server: ServerProcess, keep: tuple[str, ...]) -> None:
    out = run("ab", *keep, "-n", "200", "-c", "10", server.url + "/")
    assert re.findall(r"Complete requests: +(\d+)\nFailed requests: +(\d+)", out) == [("200", "0")]


def test_h2load_sees_no_error(server: ServerProcess) -> None:
    out = run("h2load", "--h1", "-n", "500", "-c", "10", server.url + "/")
    assert "500 succeeded, 0 failed, 0 errored, 0 timeout" in out


def test_chromium_chats_over_tls(tmp_path: Path, files: list[str]) -> None:
    certificate = x509.load_pem_x509_certificate(Path(files[1]).read_bytes())
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    known = base64.b64encode(hashlib.sha256(spki).digest()).decode()
    (tmp_path / "profile").mkdir()
    trusting = chromium(tmp_path / "profile", f"--ignore-certificate-errors-spki-list={known}")
    with ServerProcess("demo", *files) as server, trusting as browser:
        page = ChatPage(browser, server.url)
        page.come_in("Ada")
        page.say("over TLS")
        page.until_items("said", "Ada: over TLS")
        assert browser.execute_script("return isSecureContext")
    assert "Traceback" not in server.output
