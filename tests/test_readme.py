"""README and the pages on serving tell the truth: every Python block and every command in them is run.

The files of a page and its commands share one directory, as they would a reader's, with free ports.
"""

from __future__ import annotations

import gzip
import os
import re
import shlex
import socket
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from greenserve.cli.exits import EXIT_CODES
from greenserve.settings import OPTIONS, resolve
from greenserve.settings.log_format import _APACHE, FIELDS, Reference, parse_format
from tests.conftest import REPOSITORY
from tests.documents import DOCS, Page, file_name
from tests.e2e.server_process import ServerProcess, asked_over_unix, run_command

README, SERVE, DEPLOY = Page(REPOSITORY / "README.md"), Page(DOCS / "serve.md"), Page(DOCS / "deploy.md")
STATIC = Page(DOCS / "static.md")
PAGES = (README, SERVE, DEPLOY, STATIC)

# What a reader of docs/serve.md has already: a project of Django's, and an error page.
HAD_BEFORE = {
    "pages/500.html": "<p>Sorry</p>",
    "mysite/__init__.py": "",
    "mysite/settings.py": "SECRET_KEY = 'a'\nROOT_URLCONF = 'mysite.urls'\nALLOWED_HOSTS = ['*']\n",
    "mysite/urls.py": "from django.http import HttpResponse\nfrom django.urls import path\n\n"
    "urlpatterns = [path('', lambda request: HttpResponse('hello'))]\n",
    "mysite/wsgi.py": "import os\n\nfrom django.core.wsgi import get_wsgi_application\n\n"
    "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'mysite.settings')\napplication = get_wsgi_application()\n",
}


# What a reader of docs/static.md has already.
PUBLIC = {
    "public/site.css": b"body { margin: 2em }\n",
    "public/robots.txt": b"User-agent: *\n",
    "public/app.js": b"let a = 1\n",
    "public/app.js.gz": gzip.compress(b"let a = 1\n"),
    "public/assets/index-DiwrgTda.js": b"let b = 2\n",
}


def each(choose: Callable[[Page], list[str]]) -> list[object]:
    """The parameters (page, text) of a test, for each text that `choose` takes from a page."""
    return [
        pytest.param(page, text, id=f"{page.path.name}: {text.strip().splitlines()[0]}")
        for page in PAGES
        for text in choose(page)
    ]


def of_greenserve(*names: str, others: bool = False) -> Callable[[Page], list[str]]:
    """Chooses the commands `greenserve NAME`; with `others` those of all other names, apart from those to which only a
    proxy can connect (test_deploy.py has that), and those that only root can start (test_user.py).
    """

    def chosen(page: Page) -> list[str]:
        commands = [line for line in page.commands("greenserve") if not re.search("--proxy-protocol|--user", line)]
        return [line for line in commands if (shlex.split(line)[1] in names) is not others]

    return chosen


CONTROL = ("ps", "reload", "stop")
ENDS = ("check", "run", "health", *CONTROL)


@pytest.fixture
def directory(tmp_path: Path) -> Callable[[Page], Path]:
    """Makes a directory with the files of a page, but for its settings."""

    def made(page: Page) -> Path:
        for name, text in HAD_BEFORE.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        for name, content in PUBLIC.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(content)
        for block in [*page.in_language("python"), *page.in_language("env")]:
            name = file_name(block)
            if name:
                (tmp_path / name).write_text(block.replace(":8000", ":0"))
        return tmp_path

    return made


def here(command: str, directory: Path) -> list[str]:
    """The words of a command, with free ports, the directory itself in the place of /run/hello, and our own group."""
    text = re.sub(r":80\d\d\b", ":0", command).replace("/run/hello/", f"{directory}/")
    return shlex.split(text.replace("group=www-data", f"group={os.getegid()}"))


def test_every_block_is_of_a_kind_that_is_tested() -> None:
    for page in PAGES:
        files = (
            {"nginx", "haproxy", "apache", "ini", "dockerfile", "env", "procfile", "yaml"} if page is DEPLOY else set()
        )
        kinds = {"python", "shell", "toml"} | files
        assert {language for language, _ in page.blocks} <= kinds
        assert page.commands("pip", "make", "greenserve", "curl", "docker") == page.commands()
        assert page.in_language("python")


@pytest.mark.parametrize(("page", "command"), each(of_greenserve(*ENDS, others=True)))
def test_a_command_that_serves_answers_and_stops_gracefully(directory, page: Page, command: str) -> None:
    place = directory(page)
    arguments = here(command, place)[1:]
    with ServerProcess(*arguments, bind=(), env={"GREENSERVE_BIND": "127.0.0.1:0"}, cwd=place) as server:
        unix = re.search(r"--bind unix:([^\s?]+)", " ".join(arguments))
        if unix:
            assert asked_over_unix(unix[1]).startswith(b"HTTP/1.1 200 ")
        else:
            with urllib.request.urlopen(server.url) as response:
                assert response.status == 200
    assert server.returncode == 0
    assert "Traceback" not in server.output


def with_curl() -> list[object]:
    """Each block that serves and asks: the page, the command of the server, the command that asks."""
    blocks = [(page, block.strip().splitlines()) for page in PAGES for block in page.in_language("shell")]
    return [
        pytest.param(page, *lines, id=f"{page.path.name}: {lines[1]}")
        for page, lines in blocks
        if len(lines) == 2 and lines[1].startswith("curl ")
    ]


def test_every_curl_asks_a_server_of_its_block() -> None:
    assert len(with_curl()) == sum(len(page.commands("curl")) for page in PAGES) > 2


@pytest.mark.parametrize(("page", "serving", "asking"), with_curl())
def test_curl_gets_an_answer(directory, page: Page, serving: str, asking: str) -> None:
    place = directory(page)
    with ServerProcess(*here(serving, place)[1:], cwd=place) as server:
        words = shlex.split(asking.replace("8000", str(urlsplit(server.url).port)))
        done = subprocess.run(
            [*words, "--silent", "--show-error", "--fail"], cwd=place, capture_output=True, text=True, timeout=20
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.parametrize(("page", "command"), each(of_greenserve("check", "run")))
def test_a_command_that_ends_by_itself_ends_with_0(directory, page: Page, command: str) -> None:
    place = directory(page)
    done = run_command(*shlex.split(command)[1:], cwd=place)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_commands_that_control_a_server_do_so_one_after_the_other(directory) -> None:
    place = directory(DEPLOY)
    found = of_greenserve(*CONTROL)(DEPLOY)
    assert [command.split()[1] for command in found] == list(CONTROL)
    with ServerProcess("hello:app", "--workers", "2", "--pid-file", f"{place}/pid", cwd=place) as server:
        for command in found:
            done = run_command(*here(command, place)[1:], cwd=place)
            assert done.returncode == 0, done.stderr
        assert server.wait() == 0


@pytest.mark.parametrize(("page", "command"), each(of_greenserve("health")))
def test_a_server_that_answers_is_healthy_and_none_is_not(directory, page: Page, command: str) -> None:
    place = directory(page)
    words = here(command, place)[1:]
    (address,) = [word for word in words if word.startswith("unix:")]
    with ServerProcess("hello:app", bind=(address,), cwd=place):
        done = run_command(*words, cwd=place)
        assert done.returncode == 0, done.stderr
    assert run_command(*words, cwd=place).returncode == 1


@pytest.mark.parametrize(
    ("page", "block"), each(lambda page: [text for text in page.in_language("python") if "greenserve.serve(" in text])
)
def test_a_program_that_serves_answers_and_stops_gracefully(directory, page: Page, block: str) -> None:
    name = file_name(block)
    assert name
    with ServerProcess(executable=(sys.executable, name), bind=(), cwd=directory(page)) as server:
        assert urllib.request.urlopen(server.url).read() == b"Hello, world\n"
    assert server.returncode == 0


@pytest.mark.parametrize(
    ("page", "block"), each(lambda page: [text for text in page.in_language("python") if not file_name(text)])
)
def test_a_program_runs(directory, page: Page, block: str) -> None:
    place = directory(page)
    (place / "program.py").write_text(block)
    done = run_command(executable=(sys.executable, "-W", "error", "program.py"), cwd=place)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("page", "block"), each(lambda page: page.in_language("toml")))
def test_the_settings_file_is_accepted(tmp_path: Path, page: Page, block: str) -> None:
    name = file_name(block)
    assert name
    (tmp_path / name).write_text(block)
    resolution = resolve({}, {}, tmp_path)
    assert resolution.file == tmp_path / name
    assert tomllib.loads(block)


@pytest.mark.parametrize(("page", "command"), each(lambda page: page.commands("make")))
def test_a_make_target_exists(page: Page, command: str) -> None:
    # Not run: this may be what `make test` runs.
    target = shlex.split(command)[1]
    done = subprocess.run(["make", "--dry-run", target], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"\n{target}: " in (REPOSITORY / "Makefile").read_text()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("page", "command"), each(lambda page: page.commands("pip")))
def test_the_installation_makes_the_command(tmp_path: Path, page: Page, command: str) -> None:
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    program = tmp_path / "venv/bin" / shlex.split(command)[0]
    done = subprocess.run([program, *shlex.split(command)[1:]], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert run_command("--version", executable=(str(tmp_path / "venv/bin/greenserve"),), cwd=tmp_path).returncode == 0


def test_the_container_commands_agree_with_the_dockerfile() -> None:
    build, run = README.commands("docker")
    dockerfile = (REPOSITORY / "Dockerfile").read_text()
    assert shlex.split(build) == ["docker", "build", "-t", "greenserve", "."]
    words = shlex.split(run)
    assert words[words.index("-p") + 1] == "8000:8000"
    assert "EXPOSE 8000" in dockerfile
    assert words[words.index("-v") + 1] == "$PWD:/app"
    assert "WORKDIR /app" in dockerfile
    assert words[-2:] == ["greenserve", "hello:app"]


@pytest.mark.parametrize("page", [README, SERVE], ids=lambda page: page.path.name)
def test_the_table_of_options_is_true(page: Page) -> None:
    rows = re.findall(r"^\| `--([\w-]+)`.*?\| `([^`]+)` \|", page.text, flags=re.MULTILINE)
    assert rows
    for flag, default in rows:
        option = OPTIONS[flag.replace("-", "_")]
        assert option.kind.show(option.default) == default


def test_the_tables_of_what_the_access_log_may_hold_are_true() -> None:
    rows = dict(re.findall(r"^\| `([a-z_]+\.?)(?:NAME)?` \| (.+) \|$", SERVE.text, flags=re.MULTILINE))
    assert {name: rows.get(name) for name in FIELDS} == FIELDS
    for directives, field in re.findall(r"^\| (`%.+`) \| `([a-z_]+)`.* \|$", SERVE.text, flags=re.MULTILINE):
        for directive in re.findall(r"`([^`]+)`", directives):
            (reference,) = parse_format(directive)
            assert isinstance(reference, Reference)
            assert reference.field == field
    letters = re.findall(r"`%([A-Za-z])`", SERVE.text)
    assert sorted(letters) == sorted(_APACHE)


def test_the_table_of_exit_codes_is_true() -> None:
    rows = re.findall(r"^\| (\d) \| (.+) \|$", SERVE.text, flags=re.MULTILINE)
    assert rows == [(str(code.value), meaning) for code, meaning in EXIT_CODES.items()]


OF_OTHERS = {"json", "pid"} | {"cpus", "init", "read_only"}  # of greenserve's other commands, and of docker's


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path.name)
def test_every_option_that_a_page_names_exists(page: Page) -> None:
    commands = " ".join(page.commands("greenserve"))
    flags = set(
        re.findall(r"(?:^|`| )--(?:no-)?([a-z][a-z-]+)", " ".join(re.findall(r"`--[^`]+`", page.text)) + commands)
    )
    assert {flag.replace("-", "_") for flag in flags} - OF_OTHERS <= set(OPTIONS)
    variables = set(re.findall(r"GREENSERVE_(\w+)", page.text)) - {"PORT", "CODEC", "COMPILED"}
    assert {name.lower() for name in variables} <= set(OPTIONS)


# For each limit of the table in docs/serve.md: a small value, and a request beyond it. What is left out of the last two
# is what the server waits for.
BEYOND = {
    "max-target": ("100", b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"a" * 100)),
    "max-head": ("1000", b"GET / HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % (b"a" * 1000)),
    "max-header-count": ("10", b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n" % (b"X: a\r\n" * 10)),
    "max-body": ("10", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n"),
    "header-timeout": ("200ms", b"GET / HTTP/1.1\r\n"),
    "body-timeout": ("200ms", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
}


def test_each_request_beyond_a_limit_is_answered_as_the_page_says(directory) -> None:
    options = [word for name, (value, _) in BEYOND.items() for word in (f"--{name}", value)]
    rows = dict(re.findall(r"^\| `--([\w-]+)` \| `[^`]+` \| (\d{3}) \|$", SERVE.text, re.MULTILINE))
    assert set(rows) == set(BEYOND)
    with ServerProcess("hello:app", *options, cwd=directory(SERVE)) as server:
        answers = {}
        for name, (_, request) in BEYOND.items():
            with socket.create_connection((server.host, server.port), timeout=20) as sock:
                sock.sendall(request)
                answers[name] = sock.recv(1000).decode().split(" ")[1]
    assert answers == rows
