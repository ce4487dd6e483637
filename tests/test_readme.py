"""The README tells the truth: every Python block and every command in it is run, in one directory, with free ports."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from greenserve.cli.exits import EXIT_CODES
from greenserve.settings import OPTIONS, resolve
from tests.conftest import REPOSITORY
from tests.e2e.server_process import ServerProcess, run_command

README = (REPOSITORY / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python"]
COMMANDS = [line for language, text in BLOCKS if language == "shell" for line in text.splitlines() if line.strip()]


def file_name(block: str) -> str | None:
    """A block whose first line is a comment with a file's name is that file; the others are programs."""
    match = re.match(r"# (\w+\.(?:py|toml))\n", block)
    return match[1] if match else None


def commands(*programs: str) -> list[str]:
    return [line for line in COMMANDS if shlex.split(line)[0] in programs]


def serves(command: str) -> bool:
    return shlex.split(command)[1] not in {"check", "run"}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with the files that the README shows, but for its settings."""
    for block in PYTHON:
        name = file_name(block)
        if name:
            (tmp_path / name).write_text(block.replace(":8000", ":0"))
    return tmp_path


def test_every_block_is_of_a_kind_that_is_tested() -> None:
    assert {language for language, _ in BLOCKS} <= {"python", "shell", "toml"}
    known = commands("pip", "make", "greenserve", "curl", "docker")
    assert known == COMMANDS
    assert PYTHON


@pytest.mark.parametrize("command", [line for line in commands("greenserve") if serves(line)])
def test_a_command_that_serves_answers_and_stops_gracefully(directory: Path, command: str) -> None:
    arguments = shlex.split(command.replace(":8000", ":0"))[1:]
    with ServerProcess(*arguments, bind=(), env={"GREENSERVE_BIND": "127.0.0.1:0"}, cwd=directory) as server:
        with urllib.request.urlopen(server.url) as response:
            assert response.status == 200
        for line in commands("curl"):
            port = str(urlsplit(server.url).port)
            done = subprocess.run(
                shlex.split(line.replace("8000", port)), capture_output=True, text=True, check=True, timeout=20
            )
            assert done.stdout
    assert server.returncode == 0
    assert "Traceback" not in server.output


@pytest.mark.parametrize("command", [line for line in commands("greenserve") if not serves(line)])
def test_a_command_that_ends_by_itself_ends_with_0(directory: Path, command: str) -> None:
    done = run_command(*shlex.split(command)[1:], cwd=directory)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("block", [block for block in PYTHON if "greenserve.serve(" in block])
def test_a_program_that_serves_answers_and_stops_gracefully(directory: Path, block: str) -> None:
    name = file_name(block)
    assert name
    with ServerProcess(executable=(sys.executable, name), bind=(), cwd=directory) as server:
        assert urllib.request.urlopen(server.url).read() == b"Hello, world\n"
    assert server.returncode == 0


@pytest.mark.parametrize("block", [block for block in PYTHON if not file_name(block)])
def test_a_program_runs(directory: Path, block: str) -> None:
    (directory / "program.py").write_text(block)
    done = run_command(executable=(sys.executable, "-W", "error", "program.py"), cwd=directory)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("block", [text for language, text in BLOCKS if language == "toml"])
def test_the_settings_file_is_accepted(tmp_path: Path, block: str) -> None:
    name = file_name(block)
    assert name
    (tmp_path / name).write_text(block)
    resolution = resolve({}, {}, tmp_path)
    assert resolution.file == tmp_path / name
    assert tomllib.loads(block)


@pytest.mark.parametrize("command", commands("make"))
def test_a_make_target_exists(command: str) -> None:
    # Not run: this may be what `make test` runs.
    target = shlex.split(command)[1]
    done = subprocess.run(["make", "--dry-run", target], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"\n{target}: " in (REPOSITORY / "Makefile").read_text()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("command", commands("pip"))
def test_the_installation_makes_the_command(tmp_path: Path, command: str) -> None:
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    program = tmp_path / "venv/bin" / shlex.split(command)[0]
    done = subprocess.run([program, *shlex.split(command)[1:]], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert run_command("--version", executable=(str(tmp_path / "venv/bin/greenserve"),), cwd=tmp_path).returncode == 0


def test_the_container_commands_agree_with_the_dockerfile() -> None:
    build, run = commands("docker")
    dockerfile = (REPOSITORY / "Dockerfile").read_text()
    assert shlex.split(build) == ["docker", "build", "-t", "greenserve", "."]
    words = shlex.split(run)
    assert words[words.index("-p") + 1] == "8000:8000"
    assert "EXPOSE 8000" in dockerfile
    assert words[words.index("-v") + 1] == "$PWD:/app"
    assert "WORKDIR /app" in dockerfile
    assert words[-2:] == ["greenserve", "hello:app"]


def test_the_table_of_options_is_true() -> None:
    rows = re.findall(r"^\| `--([\w-]+)`.*?\| `([^`]+)` \|", README, flags=re.MULTILINE)
    assert rows
    for flag, default in rows:
        option = OPTIONS[flag.replace("-", "_")]
        assert option.kind.show(option.default) == default


def test_the_table_of_exit_codes_is_true() -> None:
    rows = re.findall(r"^\| (\d) \| (.+) \|$", README, flags=re.MULTILINE)
    assert rows == [(str(code.value), meaning) for code, meaning in EXIT_CODES.items()]


def test_every_link_into_the_repository_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert "://" in target or (REPOSITORY / target.partition("#")[0]).exists(), target
