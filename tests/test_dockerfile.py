"""The Dockerfile without a Docker engine: the rules that hadolint would check, and its very steps, run in a directory.

What is tested is the file itself: it is parsed, COPY copies into a stand-in for the image, and each RUN line is run
with the image's paths replaced by those of the stand-in.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from greenserve.server.worker import KILL_SECONDS
from greenserve.version import VERSION
from tests.conftest import REPOSITORY, require_program
from tests.e2e.server_process import ServerProcess

IGNORED = [
    line
    for line in (REPOSITORY / ".dockerignore").read_text().splitlines()
    if line.strip() and not line.startswith("#")
]


@dataclass
class Stage:
    base: str
    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def arguments(self, instruction: str) -> list[str]:
        return [arguments for name, arguments in self.steps if name == instruction]


def parse(text: str) -> list[Stage]:
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"\\\n\s*", "", text)
    stages: list[Stage] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        instruction, _, arguments = line.partition(" ")
        if instruction == "FROM":
            base, _, name = arguments.partition(" AS ")
            stages.append(Stage(base, name))
        else:
            stages[-1].steps.append((instruction, arguments.strip()))
    return stages


STAGES = parse((REPOSITORY / "Dockerfile").read_text())
BUILD, FINAL = STAGES[0], STAGES[-1]
ALL_STEPS = [step for stage in STAGES for step in stage.steps]


# Rules; the numbers are hadolint's


def test_every_instruction_is_one_of_docker() -> None:
    known = {"ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "RUN", "USER", "WORKDIR"}
    assert {name for name, _ in ALL_STEPS} <= known  # DL3020, DL4000: neither ADD nor MAINTAINER


def test_the_bases_are_pinned_slim_and_the_same() -> None:
    for stage in STAGES:  # DL3006, DL3007
        image, colon, tag = stage.base.partition(":")
        assert colon, stage.base
        assert re.fullmatch(r"3\.1\d(\.\d+)?-slim-[a-z]+", tag), stage.base
        assert image == "python"
    # An environment of one Python does not run on another.
    assert BUILD.base == FINAL.base


def test_the_sources_and_the_build_stay_in_the_first_stage() -> None:
    assert len(STAGES) == 2
    assert FINAL.arguments("COPY") == [f"--from={BUILD.name} /opt/greenserve /opt/greenserve"]
    assert not any("pip" in command for command in FINAL.arguments("RUN"))


def test_pip_keeps_no_cache_in_a_layer() -> None:
    for command in BUILD.arguments("RUN"):  # DL3042
        for part in command.split("&&"):
            assert "pip install" not in part or "--no-cache-dir" in part


def test_what_apt_leaves_behind_is_removed_in_the_same_layer() -> None:
    for name, command in ALL_STEPS:  # DL3008, DL3009, DL3015, DL3027
        if name == "RUN" and "apt" in command:
            assert "apt-get install -y --no-install-recommends" in command
            assert command.endswith("rm -rf /var/lib/apt/lists/*")


def test_directories_are_absolute_and_entered_with_workdir() -> None:
    for name, arguments in ALL_STEPS:  # DL3000, DL3003
        assert name != "WORKDIR" or arguments.startswith("/")
        assert name != "RUN" or not re.search(r"(^|&&)\s*cd ", arguments)


def test_it_runs_as_a_numbered_user_who_is_not_root() -> None:
    *_, last = FINAL.arguments("USER")  # DL3002
    user, _, group = last.partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert any(f"--uid {user}" in command for command in FINAL.arguments("RUN"))
    after = FINAL.steps[FINAL.steps.index(("USER", last)) :]
    assert not [step for step in after if step[0] == "RUN"]


def test_commands_are_in_the_exec_form() -> None:
    assert json.loads(FINAL.arguments("ENTRYPOINT")[0]) == ["greenserve"]  # DL3025
    assert json.loads(FINAL.arguments("CMD")[0]) == ["demo"]
    assert healthcheck()[0] == "greenserve"


def test_the_port_is_the_same_everywhere() -> None:
    assert FINAL.arguments("EXPOSE") == ["8000"]
    assert "GREENSERVE_BIND=0.0.0.0:8000" in FINAL.arguments("ENV")[0].split()


def test_requests_have_less_time_than_docker_gives_the_container() -> None:
    (grace,) = re.findall(r"GREENSERVE_GRACEFUL_TIMEOUT=(\d+)", FINAL.arguments("ENV")[0])
    assert int(grace) + KILL_SECONDS < 10  # docker-stop(1)


def test_every_image_path_of_the_installation_is_on_the_path() -> None:
    assert "PATH=/opt/greenserve/bin:$PATH" in FINAL.arguments("ENV")[0]


def test_nothing_but_what_is_copied_is_sent_to_the_builder() -> None:
    assert IGNORED[0] == "*"
    copied = {source for arguments in BUILD.arguments("COPY") for source in arguments.split()[:-1]}
    for source in copied:
        assert f"!{source.split('/')[0]}" in IGNORED
    admitted = {pattern[1:] for pattern in IGNORED if pattern.startswith("!")}
    for private in (".git", ".venv", ".env", "tests"):
        assert not any(fnmatch.fnmatch(private, pattern) for pattern in admitted)


def healthcheck() -> list[str]:
    (arguments,) = FINAL.arguments("HEALTHCHECK")
    words: list[str] = json.loads(arguments.partition("CMD ")[2])
    return words


# Its very steps

Run = Callable[[str], None]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the build stage makes of /opt/greenserve, without the sources that it was made from."""
    root = tmp_path_factory.mktemp("image")
    directory = root / "none"
    for instruction, arguments in BUILD.steps:
        if instruction == "WORKDIR":
            directory = root / arguments.lstrip("/")
            directory.mkdir(parents=True)
        elif instruction == "COPY":
            *sources, target = arguments.split()
            for source in sources:
                copy(REPOSITORY / source, directory / target, into=target.endswith("/"))
        elif instruction == "RUN":
            run_step(arguments, root, directory)
        else:
            raise AssertionError(f"this test does not know how to do {instruction}")
    shutil.rmtree(root / "src")
    return root / "opt/greenserve"


def copy(source: Path, target: Path, *, into: bool) -> None:
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        target = target / source.name if into else target
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def run_step(command: str, root: Path, directory: Path) -> None:
    if "apt-get" in command:
        install_step(command)
        return
    command = command.replace("/opt/", f"{root}/opt/")
    command = re.sub(r"(^|\s)python ", rf"\g<1>{sys.executable} ", command)
    done = subprocess.run(["sh", "-ec", command], cwd=directory, env=clean(), capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def install_step(command: str) -> None:
    """The tests install nothing on this machine: it has what the stage installs."""
    (packages,) = re.findall("--no-install-recommends (.*?) &&", command)
    assert packages.split() == ["gcc", "libc6-dev"]
    require_program("gcc")


def clean(**changes: str) -> dict[str, str]:
    """The environment without this process's Python paths: what is installed must stand by itself."""
    unwanted = ("PYTHON", "GREENSERVE_CODEC")
    return {name: value for name, value in os.environ.items() if not name.startswith(unwanted)} | changes


@pytest.mark.timeout(300)
def test_its_steps_make_a_command_that_says_its_version(image: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [image / "bin/greenserve", "--version"], cwd=tmp_path, env=clean(), capture_output=True, text=True, check=True
    )
    assert done.stdout == f"greenserve {VERSION} (compiled codec)\n"


@pytest.mark.timeout(300)
def test_the_compiled_codec_is_there_once_and_its_source_is_not(image: Path) -> None:
    (package,) = image.glob("lib/python3*/site-packages/greenserve")
    assert [path.suffix for path in package.glob("_codec.*")].count(".so") == 1
    assert not (package / "_codec.c").exists()


@pytest.mark.timeout(300)
def test_rooms_on_redis_need_nothing_more(image: Path, tmp_path: Path) -> None:
    command = [image / "bin/python", "-c", "import redis"]
    subprocess.run(command, cwd=tmp_path, env=clean(), check=True)


@pytest.mark.timeout(300)
def test_what_is_installed_is_typed_and_has_its_data(image: Path) -> None:
    (package,) = image.glob("lib/python3*/site-packages/greenserve")
    assert (package / "py.typed").is_file()
    assert (package / "demo/page/index.html").is_file()
    assert {path.relative_to(package) for path in package.rglob("*.py")} == {
        path.relative_to(REPOSITORY / "greenserve") for path in (REPOSITORY / "greenserve").rglob("*.py")
    }


@pytest.mark.timeout(300)
def test_its_healthcheck_tells_a_server_that_answers_from_none(image: Path, tmp_path: Path, free_port: int) -> None:
    def probe(**environ: str) -> int:
        program, *words = healthcheck()
        command = [image / "bin" / program, *words]
        return subprocess.run(command, cwd=tmp_path, env=clean(**environ), capture_output=True).returncode

    bind = f"127.0.0.1:{free_port}"
    assert probe(GREENSERVE_BIND=bind) == 1  # 2 means nothing to Docker
    words = json.loads(FINAL.arguments("ENTRYPOINT")[0]) + json.loads(FINAL.arguments("CMD")[0])
    command = (str(image / "bin" / words[0]), *words[1:])
    environ = {"GREENSERVE_BIND": bind, "PYTHONPATH": None}
    with ServerProcess(executable=command, bind=(), env=environ, cwd=tmp_path):
        assert probe(GREENSERVE_BIND=bind) == 0
