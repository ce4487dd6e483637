"""The command with certificates, judged by OpenSSL's own client: versions, suites, names, clients, resumption."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests
from websockets.sync.client import connect

from greenserve.tls.certificates import Pair
from tests.conftest import require_program
from tests.e2e.conftest import StartServer
from tests.e2e.server_process import ServerProcess, run_command
from tests.server.tls_support import context_of_two_threads
from tests.tls.authority import Authority

APPLICATION = """
import json

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    names = ("HTTPS", "SERVER_PORT", "wsgi.url_scheme")
    return [json.dumps({name: environ[name] for name in environ if name.startswith("SSL_") or name in names}).encode()]
"""
REQUEST = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with the application."""
    (tmp_path / "shows.py").write_text(APPLICATION)
    return tmp_path


@pytest.fixture
def authority(place: Path) -> Authority:
    return Authority(place)


def options(*pairs: Pair) -> list[str]:
    return [word for pair in pairs for word in ("--tls-cert", pair.certificate, "--tls-key", pair.key)]


class Client:
    """`openssl s_client` for one server, which it believes by the authority alone."""

    def __init__(self, server: ServerProcess, authority: Authority) -> None:
        self._command = [require_program("openssl"), "s_client", "-connect", f"127.0.0.1:{server.port}"]
        self._command += ["-CAfile", str(authority.file), "-verify_return_error"]

    def ask(self, *arguments: str, say: str = REQUEST, name: str = "a.example") -> str:
        """All that it prints when `say` is sent."""
        names = ["-servername", name, "-verify_hostname", name] if name else []
        command = [*self._command, *names, "-ign_eof", *arguments]
        done = subprocess.run(
            command, input=say, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30, check=False
        )
        return done.stdout

    def shown(self, *arguments: str, name: str = "a.example") -> dict[str, str]:
        """What the application has been told."""
        printed = self.ask(*arguments, name=name)
        found = re.search(r"^(\{.*?\})", printed, re.MULTILINE)
        assert found, printed
        told: dict[str, str] = json.loads(found[1])
        return told


@pytest.fixture
def start(place: Path, authority: Authority, start_server: StartServer) -> Any:
    """`start(*arguments)`: a server that has a certificate for a.example, and its Client."""

    def start(*arguments: str) -> tuple[ServerProcess, Client]:
        pair = authority.issue("a.example", "localhost", "127.0.0.1").write(place, "a")
        server = start_server("shows:app", *options(pair), *arguments, cwd=place)
        return server, Client(server, authority)

    return start


@pytest.mark.parametrize(
    ("flag", "told"),
    [("-tls1_2", {"SSL_PROTOCOL": "TLSv1.2"}), ("-tls1_3", {"SSL_PROTOCOL": "TLSv1.3"})],
)
def test_tls_1_2_and_1_3_are_spoken(start: Any, flag: str, told: dict[str, str]) -> None:
    server, client = start()
    assert server.url.startswith("https://127.0.0.1:")
    told |= {"HTTPS": "on", "wsgi.url_scheme": "https", "SERVER_PORT": str(server.port)}
    told |= {"SSL_TLS_SNI": "a.example", "SSL_CLIENT_VERIFY": "NONE", "SSL_SESSION_RESUMED": "Initial"}
    assert told.items() <= client.shown(flag).items()


@pytest.mark.parametrize("flag", ["-tls1", "-tls1_1"])
def test_older_versions_are_refused(start: Any, flag: str) -> None:
    server, client = start()
    printed = client.ask(flag, "-cipher", "ALL:@SECLEVEL=0")
    assert "alert protocol version" in printed
    assert "HTTP/1.1 200" not in printed
    server.wait_for_line(r"INFO.* the TLS handshake with 127\.0\.0\.1:\d+ failed: (unsupported protocol|.*version)")


def test_the_lowest_version_is_a_setting(start: Any) -> None:
    _, client = start("--tls-min-version", "1.3")
    assert "alert protocol version" in client.ask("-tls1_2")
    assert client.shown("-tls1_3")["SSL_PROTOCOL"] == "TLSv1.3"


@pytest.mark.parametrize(
    ("suite", "spoken"),
    [
        ("ECDHE-ECDSA-AES128-GCM-SHA256", True),
        ("ECDHE-ECDSA-CHACHA20-POLY1305", True),
        ("ECDHE-ECDSA-AES256-SHA384", False),
        ("AES128-GCM-SHA256", False),
        ("ECDHE-ECDSA-AES128-SHA", False),
    ],
)
def test_the_suites_for_tls_1_2_are_those_of_the_profile(start: Any, suite: str, spoken: bool) -> None:
    _, client = start()
    if spoken:
        assert client.shown("-tls1_2", "-cipher", suite)["SSL_CIPHER"] == suite
    else:
        assert "alert handshake failure" in client.ask("-tls1_2", "-cipher", suite)


@pytest.mark.parametrize("suite", ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"])
def test_each_suite_of_tls_1_3_is_spoken(start: Any, suite: str) -> None:
    _, client = start()
    assert client.shown("-tls1_3", "-ciphersuites", suite)["SSL_CIPHER"] == suite


@pytest.mark.parametrize("group", ["X25519", "P-256", "P-384"])
def test_each_group_of_the_profile_is_spoken(start: Any, group: str) -> None:
    _, client = start()
    assert client.shown("-groups", group)["SSL_PROTOCOL"] == "TLSv1.3"


def test_http_1_1_is_agreed_by_alpn(start: Any) -> None:
    _, client = start()
    assert "ALPN protocol: http/1.1" in client.ask("-alpn", "h2,http/1.1")
    assert "No ALPN negotiated" in client.ask("-alpn", "h2")


def test_each_name_is_shown_its_certificate(place: Path, authority: Authority, start_server: StartServer) -> None:
    first = authority.issue("a.example", rsa=True).write(place, "a")
    second = authority.issue("b.example", "*.w.example").write(place, "b")
    client = Client(start_server("shows:app", *options(first, second), cwd=place), authority)
    for name in ("a.example", "b.example", "x.w.example"):
        assert client.shown(name=name)["SSL_TLS_SNI"] == name
    assert "SSL_TLS_SNI" not in client.shown("-noservername", name="")
    assert "hostname mismatch" in client.ask(name="y.x.w.example")


@pytest.mark.parametrize("name", ["bücher.example", "a..b", "x" * 250, "A.EXAMPLE", "192.0.2.1"])
def test_an_odd_name_costs_at_most_the_handshake_and_one_line(start: Any, name: str) -> None:
    server, client = start()
    client.ask("-servername", name, name="")
    assert client.shown()["SSL_TLS_SNI"] == "a.example"
    if name.isascii():
        assert "handshake" not in server.output
    else:
        assert [line for line in server.stderr.splitlines() if "INFO" not in line] == []
        server.wait_for_line("INFO.* the TLS handshake with 127.0.0.1:.* failed: callback failed")


@pytest.fixture
def shown_to_whom(place: Path, authority: Authority) -> dict[str, list[str]]:
    """s_client's arguments for clients with and without certificates."""
    good = authority.issue("device.example", common_name="device 7").write(place, "good")
    wrong = Authority(place, "wrong.pem").issue("device.example").write(place, "wrong")
    return {"none": []} | {
        name: ["-cert", pair.certificate, "-key", pair.key] for name, pair in (("good", good), ("wrong", wrong))
    }


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_clients_must_show_a_certificate_where_one_is_required(
    start: Any, authority: Authority, shown_to_whom: dict[str, list[str]], version: str
) -> None:
    server, client = start("--tls-client-ca", str(authority.file), "--tls-client-verify", "required")
    told = client.shown(version, *shown_to_whom["good"])
    assert told["SSL_CLIENT_VERIFY"] == "SUCCESS"
    assert told["SSL_CLIENT_S_DN"].startswith("CN=device 7,")
    assert told["SSL_CLIENT_CERT"].startswith("-----BEGIN CERTIFICATE-----\n")
    refused = client.ask(version, *shown_to_whom["none"])
    assert re.search("alert (certificate required|handshake failure)", refused), refused
    assert "HTTP/1.1 200" not in refused
    assert "alert unknown ca" in client.ask(version, *shown_to_whom["wrong"])
    server.wait_for_line("INFO.* failed: peer did not return a certificate")
    server.wait_for_line("INFO.* failed: certificate verify failed")
    assert "Traceback" not in server.output


def test_clients_may_show_a_certificate_where_it_is_optional(
    start: Any, authority: Authority, shown_to_whom: dict[str, list[str]]
) -> None:
    _, client = start("--tls-client-ca", str(authority.file), "--tls-client-verify", "optional")
    assert client.shown(*shown_to_whom["none"])["SSL_CLIENT_VERIFY"] == "NONE"
    assert client.shown(*shown_to_whom["good"])["SSL_CLIENT_VERIFY"] == "SUCCESS"
    assert "alert unknown ca" in client.ask(*shown_to_whom["wrong"])


def test_sessions_of_tls_1_2_are_resumed(start: Any) -> None:
    _, client = start()
    printed = client.ask("-tls1_2", "-reconnect")
    assert (printed.count("\nNew, TLSv1.2"), printed.count("\nReused, TLSv1.2")) == (1, 5)


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_sessions_are_resumed_by_another_process(start: Any, place: Path, version: str) -> None:
    _, client = start()
    file = str(place / "session")
    assert client.shown(version, "-sess_out", file)["SSL_SESSION_RESUMED"] == "Initial"
    assert client.shown(version, "-sess_in", file)["SSL_SESSION_RESUMED"] == "Resumed"


def test_renegotiation_is_refused(start: Any) -> None:
    _, client = start()
    command = [*client._command, "-tls1_2"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=0
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("R\n")
        process.stdin.flush()
        printed = process.stdout.read()  # to the end, which comes by itself
    assert "RENEGOTIATING" in printed
    assert "no renegotiation" in printed


def test_certificates_are_renewed_while_it_runs(place: Path, authority: Authority, start: Any) -> None:
    server, client = start()
    authority.issue("a.example", "new.example").write(place, "a")
    server.wait_for_line(f"INFO.* the certificate {place}/a.crt was renewed; it is valid until ")
    assert client.shown(name="new.example")["SSL_TLS_SNI"] == "new.example"
    (place / "a.key").write_text("nothing")
    server.wait_for_line(r"ERROR.* \(from tls_key\) has no private key: .*\. What was in use stays in use")
    assert client.shown(name="new.example")["SSL_TLS_SNI"] == "new.example"


def test_a_renewal_under_load_fails_no_client(place: Path, authority: Authority, start: Any) -> None:
    server, client = start()
    command = [require_program("ab"), "-t", "40", "-n", "1000000", "-c", "5", server.url + "/"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as load:
        authority.issue("a.example", "new.example").write(place, "a")
        server.wait_for_line("INFO.* was renewed")
        load.send_signal(signal.SIGINT)  # then it prints its figures
        printed, _ = load.communicate(timeout=30)
    assert re.search(r"Complete requests: +[1-9]\d*\nFailed requests: +0\n", printed), printed
    assert client.shown(name="new.example")["SSL_TLS_SNI"] == "new.example"


def test_https_plain_and_unix_listeners_stand_side_by_side(
    place: Path, authority: Authority, start_server: StartServer
) -> None:
    pair = authority.issue("a.example", "127.0.0.1").write(place, "a")
    binds = ("http://127.0.0.1:0", "https://127.0.0.1:0", "127.0.0.1:0", "unix:plain.sock")
    server = start_server("shows:app", *options(pair), bind=binds, cwd=place)
    plain, *secure, unix = server.addresses
    assert unix == "unix:plain.sock"
    assert requests.get(plain, timeout=20).json()["wsgi.url_scheme"] == "http"
    for url in secure:
        assert url.startswith("https://")
        assert requests.get(url, verify=str(authority.file), timeout=20).json()["HTTPS"] == "on"
    curl = [require_program("curl"), "-sS", "--unix-socket", "plain.sock", "http://a.example/"]
    done = subprocess.run(curl, cwd=place, capture_output=True, text=True, timeout=20, check=True)
    assert json.loads(done.stdout)["wsgi.url_scheme"] == "http"


def test_an_inherited_tcp_socket_speaks_tls(place: Path, authority: Authority, start_server: StartServer) -> None:
    pair = authority.issue("a.example", "127.0.0.1").write(place, "a")
    with socket.create_server(("127.0.0.1", 0)) as held:
        number = held.fileno()
        server = start_server("shows:app", *options(pair), bind=(f"fd://{number}",), pass_fds=(number,), cwd=place)
        assert server.url == f"https://127.0.0.1:{held.getsockname()[1]}"
        assert requests.get(server.url, verify=str(authority.file), timeout=20).json()["HTTPS"] == "on"
        server.stop()


def test_health_finds_out_by_itself_that_a_server_speaks_tls(start: Any, place: Path) -> None:
    server, _ = start()
    environ = {"GREENSERVE_BIND": f"127.0.0.1:{server.port}", "GREENSERVE_TLS_CERT": "a.crt"}
    assert run_command("health", env={**environ}).returncode == 0
    assert "handshake" not in server.output


def test_health_asks_over_tls(start: Any, authority: Authority) -> None:
    server, _ = start()
    assert run_command("health", "--bind", server.url).returncode == 0
    assert run_command("health", "--bind", server.url.replace("https", "http")).returncode == 0, "400 is an answer"
    server.stop()
    assert run_command("health", "--bind", server.url).returncode == 1


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_health_is_good_where_clients_must_show_a_certificate(start: Any, authority: Authority, version: str) -> None:
    how = ("--tls-client-ca", str(authority.file), "--tls-client-verify", "required", "--tls-min-version", version)
    server, _ = start(*how)
    done = run_command("health", "--bind", server.url)
    assert (done.returncode, "answers with 496" in done.stdout) == (0, True)


def test_check_reports_certificates_and_what_is_wrong_with_them(place: Path, authority: Authority) -> None:
    soon = authority.issue("a.example", "*.b.example", days=5).write(place, "a")
    done = run_command("check", "shows:app", *options(soon), "--json", cwd=place)
    report = json.loads(done.stdout)
    found = report["sections"]["TLS"]
    assert found[soon.certificate]["value"] == "a.example, *.b.example"
    assert found["addresses"]["value"] == "https://127.0.0.1:8000"
    assert ["expires in 5 days" in text for text in report["warnings"]] == [True]
    assert done.returncode == 0
    done = run_command("check", "shows:app", "--tls-cert", soon.certificate, cwd=place)
    assert done.returncode == 1
    assert f"error: the file {soon.certificate} (from tls_cert) has no private key" in done.stdout


def test_a_certificate_that_cannot_be_used_ends_the_command_before_it_listens(
    place: Path, authority: Authority
) -> None:
    old = authority.issue("a.example", days=-1, age=9).write(place, "a")
    done = run_command("shows:app", *options(old), "--bind", "127.0.0.1:0", cwd=place)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"greenserve: the certificate {old.certificate} expired on ")
    assert "listening" not in done.stderr


def test_a_broken_function_ends_the_command_with_its_traceback(place: Path, authority: Authority) -> None:
    pair = authority.issue("a.example").write(place, "a")
    (place / "own.py").write_text("def tls(context):\n    context.load_cert_chain(1 / 0)\n")
    done = run_command("shows:app", *options(pair), "--tls-context", "own:tls", cwd=place)
    assert done.returncode == 3
    assert "own.py" in done.stderr
    assert "the function own:tls (from tls_context) failed: ZeroDivisionError" in done.stderr.splitlines()[-1]


def test_the_demo_makes_a_certificate_of_its_own(start_server: StartServer) -> None:
    server = start_server("demo", "--tls")
    assert server.url.startswith("https://")
    (found,) = server.wait_for_line("--cacert (.+)$")
    ca = found[1]
    for host in ("localhost", "127.0.0.1"):
        assert "<html" in requests.get(f"https://{host}:{server.port}/", verify=ca, timeout=20).text
    report = requests.post(server.url + "/burst?n=20&seconds=0", verify=ca, timeout=30).text.splitlines()[-1]
    assert (json.loads(report)["done"], json.loads(report)["failed"]) == (20, 0)
    context = context_of_two_threads(ca)
    with connect(server.url.replace("https", "wss") + "/chat?room=lobby&name=b", ssl=context, proxy=None) as ws:
        assert json.loads(ws.recv(timeout=20))
    server.stop()
    assert not Path(ca).exists()


def test_the_demo_without_what_makes_certificates_says_what_to_install(place: Path) -> None:
    (place / "trustme.py").write_text("raise ImportError\n")
    done = run_command("demo", "--tls", env={"PYTHONPATH": str(place)})
    assert done.returncode == 2
    assert "pip install 'greenserve[tls]'" in done.stderr.splitlines()[-1]


def test_the_demo_takes_one_certificate(place: Path) -> None:
    done = run_command("demo", "--tls", "--tls-cert", "a.pem")
    assert (done.returncode, "leave one of them out" in done.stderr.splitlines()[-1]) == (2, True)
