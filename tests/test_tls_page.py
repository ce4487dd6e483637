"""The commands and files of docs/tls.md do what the page says."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import requests

from greenserve.settings import OPTIONS
from greenserve.tls import client
from tests.conftest import REPOSITORY, require_program, unused_port
from tests.documents import DOCS, Page, file_name
from tests.e2e.server_process import ServerProcess, run_command
from tests.test_deploy import Unit
from tests.tls.authority import Authority

PAGE = Page(DOCS / "tls.md")
FILES = {file_name(block): block for language, block in PAGE.blocks if language not in ("shell",)}
SERVING = [command for command in PAGE.commands("greenserve") if command.split()[1] == "hello:app"]
APPLICATION = """
import json

def app(environ, start_response):
    start_response("200 OK", [])
    return [json.dumps({key: environ[key] for key in environ if key.startswith("SSL_") or key == "HTTPS"}).encode()]
"""


class Place:
    """A directory with all that the page's commands name, and two ports in place of 443 and 80."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = Authority(directory)
        self.secure, self.plain = unused_port(), unused_port()
        (directory / "hello.py").write_text(APPLICATION)
        (directory / "own_tls.py").write_text(FILES["own_tls.py"])
        (directory / "acme").mkdir()
        pair = self.authority.issue("example.com")
        (directory / "fullchain.pem").write_bytes(pair.certificate + self.authority.file.read_bytes())
        (directory / "privkey.pem").write_bytes(pair.key)
        for name in ("example.com", "example.org"):
            issued = self.authority.issue(name)
            (directory / f"{name}.pem").write_bytes(issued.certificate)
            (directory / f"{name}.key").write_bytes(issued.key)
        devices = Authority(directory, "devices-ca.pem")
        for name in ("device", "stolen"):
            issued = devices.issue(f"{name}.example", "d@example.com", common_name="device 7")
            (directory / f"{name}.pem").write_bytes(issued.certificate)
            (directory / f"{name}.key").write_bytes(issued.key)
        devices.revoke(directory / "revoked.pem", directory / "stolen.pem")

    def words(self, command: str) -> list[str]:
        """A command of the page with what is here in place of what is in /etc and /var."""
        text = command.replace("/etc/letsencrypt/live/example.com/", f"{self.directory}/")
        text = text.replace("/var/lib/acme", f"{self.directory}/acme")
        return shlex.split(text.replace("0.0.0.0:443", f"127.0.0.1:{self.secure}").replace(":80 ", f":{self.plain} "))

    def serve(self, command: str) -> ServerProcess:
        return ServerProcess(*self.words(command)[1:], bind=(), cwd=self.directory)

    def curl(self, *arguments: str, url: str = "https://example.com/") -> subprocess.CompletedProcess[str]:
        """curl that finds every host here."""
        port = self.plain if url.startswith("http:") else self.secure
        command = [require_program("curl"), "-sS", "--connect-to", f"::127.0.0.1:{port}", *arguments, url]
        return subprocess.run(command, cwd=self.directory, capture_output=True, text=True, timeout=30)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


DEVICE = ("--cacert", "ca.pem", "--cert", "device.pem", "--key", "device.key")


@pytest.mark.parametrize("command", SERVING)
def test_each_command_serves_https(place: Place, command: str) -> None:
    with place.serve(command) as server:
        assert server.url == f"https://127.0.0.1:{place.secure}"
        told = json.loads(place.curl(*DEVICE).stdout)
        assert told["SSL_TLS_SNI"] == "example.com"
    assert server.returncode == 0
    assert "Traceback" not in server.output


def the(*words: str) -> str:
    """The command with these words."""
    (found,) = [command for command in SERVING if all(word in command for word in words)]
    return found


def test_the_commands_of_the_page_are_those_that_are_run_here() -> None:
    others = [command for command in PAGE.commands() if command not in SERVING]
    assert [command.split()[:3] for command in others] == [
        ["pip", "install", "'greenserve[tls]'"],
        ["greenserve", "demo", "--tls"],
        ["greenserve", "check", "hello:app"],
        ["curl", "--cacert", "ca.pem"],
        ["openssl", "s_client", "-connect"],
    ]
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert "tls" in extras


def test_check_shows_names_issuer_and_date(place: Place) -> None:
    (command,) = PAGE.commands("greenserve")[2:3]
    done = run_command(*place.words(command)[1:], cwd=place.directory)
    assert done.returncode == 0, done.stdout
    assert f"{place.directory}/fullchain.pem  example.com  (valid until 20" in done.stdout


def test_the_environ_has_the_keys_of_the_tables(place: Place) -> None:
    with place.serve(the("443 --tls-client-ca")):
        told = json.loads(place.curl(*DEVICE).stdout)
    rows = [line.split("|")[1] for line in PAGE.text.splitlines() if line.startswith(("| `SSL", "| `HTTPS"))]
    named = {name.strip(" `") for row in rows for name in row.split(",")}
    assert named == set(told)
    assert client.distinguished_name(((("organizationName", "Example"),), (("commonName", "device 7"),))) in PAGE.text


def test_plain_http_leads_to_https_and_shows_challenges(place: Place) -> None:
    with place.serve(the("--redirect-https")):
        done = place.curl("-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", url="http://example.com/a?b")
        assert done.stdout == f"308 https://example.com:{place.secure}/a?b"
        assert "strict-transport-security: max-age=31536000" in place.curl(*DEVICE, "-i").stdout.lower()
        challenges = place.directory / "acme" / ".well-known" / "acme-challenge"  # where certbot --webroot puts them
        challenges.mkdir(parents=True)
        (challenges / "token").write_text("token.thumbprint")
        url = "http://example.com/.well-known/acme-challenge/token"
        assert place.curl(url=url).stdout == "token.thumbprint"


def test_each_name_has_its_certificate_also_by_the_settings_file(place: Place) -> None:
    for command in (the("example.org"), "greenserve hello:app"):
        with place.serve(command):
            for name in ("example.com", "example.org"):
                told = json.loads(place.curl("--cacert", "ca.pem", url=f"https://{name}/").stdout)
                assert told["SSL_TLS_SNI"] == name
        text = FILES["greenserve.toml"].replace("0.0.0.0:443", f"127.0.0.1:{place.secure}")
        (place.directory / "greenserve.toml").write_text(text)


def test_clients_need_a_certificate_and_revoked_ones_are_refused(place: Place) -> None:
    (shown,) = PAGE.commands("curl")
    stolen = ("--cacert", "ca.pem", "--cert", "stolen.pem", "--key", "stolen.key")
    with place.serve(the("443 --tls-client-ca")):
        done = place.curl(*shlex.split(shown)[1:-1])
        assert json.loads(done.stdout)["SSL_CLIENT_VERIFY"] == "SUCCESS"
        assert place.curl("--cacert", "ca.pem").returncode != 0
        assert place.curl(*stolen).returncode == 0
    with place.serve(the("own_tls")) as server:
        assert place.curl(*DEVICE).returncode == 0
        assert place.curl(*stolen).returncode != 0
        server.wait_for_line("INFO.* failed: certificate verify failed")


def test_openssl_looks_at_a_connection(place: Place) -> None:
    (shown,) = PAGE.commands("openssl")
    words = shlex.split(shown.replace("-connect example.com:443", f"-connect 127.0.0.1:{place.secure}"))
    with place.serve(SERVING[0]):
        done = subprocess.run(
            [require_program("openssl"), *words[1:]], input="", capture_output=True, text=True, timeout=30
        )
    assert "New, TLSv1.3, Cipher is TLS_" in done.stdout


def test_the_demo_is_served(tmp_path: Path) -> None:
    with ServerProcess("demo", "--tls") as server:
        assert requests.get(server.url, verify=server.wait_for_line("--cacert (.+)$")[0][1], timeout=20).ok


def test_systemd_has_nothing_to_say_about_the_unit_and_its_settings_fit(place: Place) -> None:
    text = FILES["hello-tls.service"]
    unit = Unit(text, "Service")
    environment = {name: place.words(value + " ")[0] for name, value in unit.environment.items()}
    assert {name.removeprefix("GREENSERVE_").lower() for name in environment} <= set(OPTIONS)
    arguments = shlex.split(unit["ExecStart"][0])[1:]
    with ServerProcess(*arguments, bind=(), env=dict(environment), cwd=place.directory):
        assert place.curl("--cacert", "ca.pem").returncode == 0
        assert place.curl("-o", "/dev/null", "-w", "%{http_code}", url="http://example.com/").stdout == "308"
    (place.directory / ".venv" / "bin").mkdir(parents=True)
    (place.directory / ".venv" / "bin" / "greenserve").symlink_to(sys.executable)  # any program: it is not started
    (place.directory / "hello-tls.service").write_text(text.replace("/srv/hello", str(place.directory)))
    command = [require_program("systemd-analyze"), "verify", "--man=no", "hello-tls.service"]
    done = subprocess.run(command, cwd=place.directory, capture_output=True, text=True, timeout=50)
    said = [line for line in done.stderr.splitlines() if "hello" in line]
    assert (done.returncode, said) == (0, []), done.stderr
