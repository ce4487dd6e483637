"""The files of docs/deploy.md do what the page says: nginx and systemd read them, the server answers behind them."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import kubernetes_validate
import pytest
import requests
import yaml
from websockets.sync.client import connect
from websockets.typing import Origin

from greenserve.settings import OPTIONS, Settings
from tests.conftest import REPOSITORY, require_program
from tests.documents import DOCS, Page, file_name
from tests.e2e.proxies.programs import APACHE_MAIN, NGINX_HTTP, NGINX_MAIN, apache, haproxy, nginx
from tests.e2e.server_process import ServerProcess, asked_over_unix
from tests.server.tls_support import context_of_two_threads
from tests.waiting import until_blocking

PAGE = Page(DOCS / "deploy.md")
DEPLOY = REPOSITORY / "deploy"
FILES: dict[str | None, str] = {
    **{file_name(block): block for language, block in PAGE.blocks if language not in ("shell", "toml")},
    **{path.name: path.read_text() for path in DEPLOY.rglob("*") if path.is_file()},
}

CERTIFICATE = REPOSITORY / "tests" / "certificates" / "localhost.pem"
TRUSTING = context_of_two_threads(CERTIFICATE)

GRACE = "--graceful-timeout"

# What Debian's nginx.conf has around the files in sites-enabled, with every path below {directory}.
AROUND = NGINX_MAIN + "http {{" + NGINX_HTTP + "include {directory}/hello.conf; }}"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with the application."""
    (tmp_path / "hello.py").write_text(FILES["hello.py"])
    return tmp_path


@pytest.fixture
def site(place: Path, free_port: int) -> Iterator[str]:
    """The host and port of nginx, which has the page's file and the server behind it."""
    text = (
        FILES["hello.conf"].replace("/run/hello/", f"{place}/").replace("listen 80;", f"listen 127.0.0.1:{free_port};")
    )
    (place / "hello.conf").write_text(text)
    server = ServerProcess("hello:app", bind=(f"unix:{place}/http.sock",), cwd=place)
    with server, nginx(place, free_port, AROUND):
        yield f"127.0.0.1:{free_port}"
    assert server.returncode == 0
    assert "Traceback" not in server.output


def test_behind_nginx_the_application_knows_its_client(site: str) -> None:
    with requests.Session() as session:
        for _ in range(3):
            answer = session.get(f"http://{site}/", headers={"X-Forwarded-For": "192.0.2.1"}, timeout=20)
            assert answer.json() == {"client": "127.0.0.1", "scheme": "http"}, "what the client says does not count"


def test_behind_nginx_a_client_that_goes_without_closing_is_no_error_of_the_application(site: str) -> None:
    with connect(f"ws://{site}/echo", origin=Origin(f"http://{site}"), proxy=None) as ws:
        ws.send("hello")
        assert ws.recv(timeout=20) == "hello"
        ws.socket.shutdown(socket.SHUT_RDWR)


def test_behind_nginx_pages_of_the_site_open_websockets_and_others_do_not(site: str) -> None:
    with connect(f"ws://{site}/echo", origin=Origin(f"http://{site}"), proxy=None) as ws:
        ws.send("hello")
        assert ws.recv(timeout=20) == "hello"
    handshake = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    handshake |= {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Origin": "http://example.com"}
    assert requests.get(f"http://{site}/echo", headers=handshake, timeout=20).status_code == 403


def through(site: str) -> dict[str, str]:
    """What the application knows of a client that comes by https."""
    found: dict[str, str] = requests.get(f"https://{site}/", verify=str(CERTIFICATE), timeout=20).json()
    with connect(f"wss://{site}/echo", origin=Origin(f"https://{site}"), proxy=None, ssl=TRUSTING) as ws:
        ws.send("hello")
        assert ws.recv(timeout=20) == "hello"
    return found


def at(file: str, port: int, **servers: ServerProcess) -> str:
    """A file of the page, with ports of this test: the proxy's, and that of each server by its name."""
    text = FILES[file].replace("bind :443", f"bind 127.0.0.1:{port}")
    text = text.replace("/etc/haproxy/example.com.pem", str(CERTIFICATE))
    for name, server in servers.items():
        text = re.sub(rf"server {name} \S+", f"server {name} {server.host}:{server.port}", text)
    return text


def test_behind_haproxy_the_application_knows_its_client_also_when_a_process_has_gone(
    place: Path, free_port: int
) -> None:
    site = f"localhost:{free_port}"
    with ServerProcess("hello:app", cwd=place) as one, ServerProcess("hello:app", cwd=place) as two:
        with haproxy(place, free_port, at("haproxy.cfg", free_port, one=one, two=two)):
            assert through(site) == {"client": "127.0.0.1", "scheme": "https"}
            one.stop()
            for _ in range(3):
                assert through(site) == {"client": "127.0.0.1", "scheme": "https"}
        for server in (one, two):
            assert "Traceback" not in server.output


def test_haproxy_passes_bytes_on_and_says_whose_they_are(place: Path, free_port: int) -> None:
    (command,) = [command for command in PAGE.commands("greenserve") if "--proxy-protocol" in command]
    words = command.replace(":8443", ":0").replace("example.com.pem", str(CERTIFICATE))
    with ServerProcess(*shlex.split(words)[1:], bind=(), cwd=place) as server:
        with haproxy(place, free_port, at("passing.cfg", free_port, one=server)):
            assert through(f"localhost:{free_port}") == {"client": "127.0.0.1", "scheme": "https"}
            with pytest.raises(requests.ConnectionError):
                requests.get(server.url, verify=False, timeout=20)
        server.wait_for_line("not with a PROXY header")
    assert server.returncode == 0


def test_behind_apache_the_application_knows_its_client(free_port: int) -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own directory is closed to Apache's user
        place = Path(name)
        place.chmod(0o755)
        (place / "hello.py").write_text(FILES["hello.py"])
        text = FILES["hello-apache.conf"].replace("/run/hello/", f"{place}/").replace("{", "{{").replace("}", "}}")
        listen = f"Listen 127.0.0.1:{free_port}\n"
        server = ServerProcess("hello:app", "--umask", "0", bind=(f"unix:{place}/http.sock",), cwd=place)
        with server, apache(place, free_port, APACHE_MAIN + listen + text) as url:
            assert requests.get(url, timeout=20).json() == {"client": "127.0.0.1", "scheme": "http"}
            with connect(f"{url.replace('http', 'ws')}/echo", origin=Origin(url), proxy=None) as ws:
                ws.send("hello")
                assert ws.recv(timeout=20) == "hello"
        assert "Traceback" not in server.output


class Unit(dict[str, list[str]]):
    """The settings of a unit's section; one may stand in several lines."""

    def __init__(self, text: str, section: str) -> None:
        super().__init__()
        for line in text.partition(f"[{section}]\n")[2].partition("\n[")[0].splitlines():
            name, _, value = line.partition("=")
            self.setdefault(name, []).append(value)

    @property
    def environment(self) -> dict[str, str]:
        return dict(each.split("=", 1) for each in self["Environment"])


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The directory of units and of what is added to them, with a program for ExecStart, which is not started."""
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "greenserve").symlink_to(sys.executable)
    shutil.copytree(DEPLOY / "systemd", tmp_path, dirs_exist_ok=True)
    service = tmp_path / "hello.service"
    service.write_text(service.read_text().replace("/srv/hello", str(tmp_path)))
    if analyze("--version") < "systemd 253":
        (tmp_path / "hello.service.d" / "reload.conf").unlink()
    return tmp_path


def analyze(*arguments: str, cwd: Path | None = None) -> str:
    """What systemd-analyze says, and with which status it ends where that is not 0."""
    command = [require_program("systemd-analyze"), *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=50)
    return done.stdout + done.stderr + (f"exit status {done.returncode}" if done.returncode else "")


def test_systemd_has_nothing_to_say_about_the_units(units: Path) -> None:
    said = analyze("verify", "--man=no", "hello.service", "hello.socket", cwd=units)
    assert [line for line in said.splitlines() if "hello" in line or "exit status" in line] == [], said
    (units / "hello.service.d" / "socket.conf").write_text("[Service]\nStopAfter=1\n")
    assert "StopAfter" in analyze("verify", "--man=no", "hello.service", cwd=units)


def test_the_service_is_exposed_to_little(units: Path) -> None:
    """By systemd's own count, from 0 (nothing) to 10; a service without any protection has 9.6."""
    said = analyze("security", "--offline=true", "--threshold=25", "--no-pager", "hello.service", cwd=units)
    assert "exit status" not in said, said


def test_the_service_serves_and_its_numbers_fit_together(place: Path) -> None:
    unit = Unit(FILES["hello.service"], "Service")
    program, *arguments = shlex.split(unit["ExecStart"][0])
    assert program.endswith("/.venv/bin/greenserve")
    environment = {name: value.replace("/run/hello/", f"{place}/") for name, value in unit.environment.items()}
    assert {name.removeprefix("GREENSERVE_").lower() for name in environment} <= set(OPTIONS)
    with ServerProcess(*arguments, bind=(), env=dict(environment), cwd=place) as server:
        path = environment["GREENSERVE_BIND"].removeprefix("unix:")
        assert os.stat(path).st_mode & 0o777 == 0o660
        server.send_signal(signal.Signals["SIG" + unit["ExecReload"][0].split()[1].removeprefix("-")])
        assert b'"scheme":"http"' in asked_over_unix(path)
    assert server.returncode == 0
    assert unit["Type"] == ["notify"]
    assert float(unit["WatchdogSec"][0]) > 2 * Settings().worker_timeout, (
        "one that hangs is the supervisor's to replace"
    )


def test_a_server_listens_on_the_socket_that_systemd_passes(place: Path) -> None:
    path = str(place / "hello.sock")
    program = require_program("systemd-socket-activate")
    command = (program, f"--listen={path}", "--setenv=PYTHONPATH", sys.executable, "-m", "greenserve")
    server = ServerProcess("hello:app", bind=(), executable=command, cwd=place)
    server.launch()
    try:
        server.wait_for_line("Listening on")
        assert b'"scheme":"http"' in asked_over_unix(path)
        assert server.stop() == 0
    finally:
        server.kill()


def test_a_restart_refuses_no_connection_when_the_socket_is_held(place: Path) -> None:
    path = str(place / "hello.sock")
    with socket.socket(socket.AF_UNIX) as held, socket.socket(socket.AF_UNIX) as waiting:
        held.bind(path)
        held.listen()
        for _ in range(2):
            inherited = held.fileno()
            with ServerProcess("hello:app", bind=(f"fd://{inherited}",), pass_fds=(inherited,), cwd=place) as server:
                assert b'"scheme":"http"' in asked_over_unix(path)
            assert server.returncode == 0
        waiting.connect(path)  # between two servers: it waits


def test_the_applications_image_is_as_the_dockerfile_says() -> None:
    dockerfile = (REPOSITORY / "Dockerfile").read_text().splitlines()
    comment = [line.removeprefix("#   ") for line in dockerfile if line.startswith("#   ")]
    steps = FILES["Dockerfile"].splitlines()[1:]
    assert [line for line in steps if not line.startswith("CMD")] == [line for line in comment if line in steps]
    assert [word.partition(" ")[0] for word in steps] == ["FROM", "USER", "RUN", "USER", "COPY", "CMD"]


def test_the_procfile_serves_where_the_platform_says(place: Path, free_port: int) -> None:
    (command,) = re.findall(r"^web: (.+)$", FILES["Procfile"], re.MULTILINE)
    platform: dict[str, str | None] = {"PORT": str(free_port), "WEB_CONCURRENCY": "2"}
    with ServerProcess(*shlex.split(command)[1:], bind=(), cwd=place, env=platform) as server:
        assert "2 workers" in server.output
        assert server.port == free_port
        headers = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https"}
        answer = requests.get(f"http://127.0.0.1:{free_port}/", headers=headers, timeout=20)
        assert answer.json() == {"client": "192.0.2.1", "scheme": "https"}
    with ServerProcess(*shlex.split(command)[1:], cwd=place, env={"PORT": "1"}) as server:
        assert server.host == "127.0.0.1"


def test_the_file_of_variables_is_read_as_the_page_says(place: Path, free_port: int) -> None:
    (command,) = [command for command in PAGE.commands("greenserve") if "--env-file hello.env" in command]
    (place / "hello.env").write_text(FILES["hello.env"].replace("8001", str(free_port)))
    more = '@app.get("/env")\ndef env():\n    return {name: os.environ.get(name) for name in request.args}\n'
    (place / "hello.py").write_text(f"import os\n{FILES['hello.py']}\n\n{more}")
    with ServerProcess(*shlex.split(command)[1:], bind=(), cwd=place, env={"GREETING": None}) as server:
        found = requests.get(f"http://127.0.0.1:{free_port}/env?DATABASE_URL&GREETING", timeout=20).json()
    assert server.returncode == 0
    assert found == {
        "DATABASE_URL": "postgresql://hello:pa$$word@localhost/hello",
        "GREETING": 'Hello, "world"  # not a comment',
    }


def test_the_pid_file_is_for_kill(place: Path) -> None:
    (command,) = [command for command in PAGE.commands("greenserve") if "hello:app --pid-file" in command]
    (stop,) = re.findall(r"`(kill \$.*)`", PAGE.text)
    with ServerProcess(*shlex.split(command)[1:], cwd=place) as server:
        subprocess.run(["sh", "-c", stop], cwd=place, check=True)
        assert server.wait() == 0
    assert not (place / "hello.pid").exists()


def test_the_container_has_longer_than_its_requests() -> None:
    _, run = PAGE.commands("docker")
    words = shlex.split(run)
    (grace,) = [word.partition("=")[2] for word in words if word.startswith("GREENSERVE_GRACEFUL_TIMEOUT=")]
    assert float(words[words.index("--stop-timeout") + 1]) > float(grace)


MANIFEST = {each["kind"]: each for each in yaml.safe_load_all(FILES["hello.yaml"])}
POD = MANIFEST["Deployment"]["spec"]["template"]
(CONTAINER,) = POD["spec"]["containers"]


@pytest.mark.parametrize("kind", MANIFEST)
def test_kubernetes_knows_each_field_of_the_manifest(kind: str) -> None:
    kubernetes_validate.validate(MANIFEST[kind], kubernetes_validate.latest_version(), strict=True)
    wrong = MANIFEST[kind] | {"spec": MANIFEST[kind]["spec"] | {"drainDelay": 5}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, kubernetes_validate.latest_version(), strict=True)


def test_the_pod_has_longer_than_its_delay_and_its_requests_and_its_names_fit_together() -> None:
    selected = POD["metadata"]["labels"]
    assert MANIFEST["Deployment"]["spec"]["selector"]["matchLabels"] == selected
    assert MANIFEST["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == selected
    service = MANIFEST["Service"]
    assert service["spec"]["selector"] == selected
    (port,) = CONTAINER["ports"]
    assert port["name"] == service["spec"]["ports"][0]["targetPort"]
    assert f":{port['containerPort']}" in (REPOSITORY / "Dockerfile").read_text()
    (rule,) = MANIFEST["Ingress"]["spec"]["rules"]
    behind = rule["http"]["paths"][0]["backend"]["service"]
    assert behind == {"name": service["metadata"]["name"], "port": {"name": service["spec"]["ports"][0]["name"]}}
    assert CONTAINER["readinessProbe"]["httpGet"] == {"path": "/", "port": port["name"]}
    assert CONTAINER["livenessProbe"]["tcpSocket"] == {"port": port["name"]}
    seconds = [float(CONTAINER["args"][CONTAINER["args"].index(flag) + 1]) for flag in ("--drain-delay", GRACE)]
    assert POD["spec"]["terminationGracePeriodSeconds"] > sum(seconds)


def test_a_pod_that_ends_answers_until_the_delay_is_over(place: Path) -> None:
    path = CONTAINER["readinessProbe"]["httpGet"]["path"]
    environ = {each["name"]: each["value"] for each in CONTAINER["env"]}
    with ServerProcess(*CONTAINER["args"], cwd=place, env=environ) as server:
        assert "2 workers" in server.output
        assert requests.get(server.url + path, timeout=20).status_code == 200
        server.send_signal(signal.SIGTERM)
        server.wait_for_line("SIGTERM: stopping in 5 seconds")
        until_blocking(lambda: requests.get(server.url + path, timeout=20).headers.get("connection") == "close")
        assert requests.get(server.url + path, timeout=20).status_code == 200
    assert server.returncode == 0


def test_compose_knows_each_field_of_its_file_and_its_names_fit_together(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    subprocess.run([*command, DEPLOY / "docker" / "compose.yaml"], check=True, timeout=50)
    services = yaml.safe_load(FILES["compose.yaml"])["services"]
    hello = services["hello"]
    assert float(hello["stop_grace_period"].rstrip("s")) > float(hello["environment"]["GREENSERVE_GRACEFUL_TIMEOUT"])
    assert hello["command"][hello["command"].index("--rooms") + 1].removeprefix("redis://") in services
    assert {name.removeprefix("GREENSERVE_").lower() for name in hello["environment"]} - {"web_concurrency"} <= set(
        OPTIONS
    )
    (volume,) = services["proxy"]["volumes"]
    text = (DEPLOY / "docker" / volume.partition(":")[0]).read_text()
    assert "server hello:8000 resolve;" in text
    # Debian's nginx does not know `resolve`, which is free since 1.27.3; all else it does.
    (tmp_path / "hello.conf").write_text(text.replace("hello:8000 resolve", "127.0.0.1:8000"))
    (tmp_path / "nginx.conf").write_text(AROUND.format(directory=tmp_path))
    nginx_says = [require_program("nginx"), "-t", "-p", tmp_path, "-e", "error.log", "-c", tmp_path / "nginx.conf"]
    done = subprocess.run(nginx_says, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr


def test_the_socket_unit_is_read_as_it_is_written() -> None:
    parser = configparser.ConfigParser()
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(FILES["hello.socket"])
    assert parser["Socket"]["SocketMode"] == "0660"
