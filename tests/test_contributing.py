"""CONTRIBUTING.md and SECURITY.md tell the truth: each command runs, each file that is named exists."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, require_program
from tests.documents import Page

PAGE = Page(REPOSITORY / "CONTRIBUTING.md")
PYTHON = ".venv/bin/python"


PORTABLE = "GREENSERVE_COMPILED=no"


def run(*words: str, cwd: Path = REPOSITORY, timeout: int = 50) -> str:
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_command_is_of_a_kind_that_is_tested() -> None:
    assert {language for language, _ in PAGE.blocks} == {"shell", "python"}
    assert PAGE.commands("make", PYTHON, PORTABLE, ".venv/bin/pre-commit") == PAGE.commands()


@pytest.mark.parametrize("command", [line for line in PAGE.commands(PYTHON) if " pytest " in line])
def test_a_part_of_the_tests_passes(command: str) -> None:
    assert " passed" in run(sys.executable, *shlex.split(command)[1:])


@pytest.mark.parametrize("command", [line for line in PAGE.commands(PYTHON) if "/fuzz.py" in line])
def test_a_search_by_fuzzing_ends_and_says_what_it_found(command: str) -> None:
    words = [word for word in shlex.split(command)[1:] if word != "--keep"]  # nothing is to change here
    assert "head: nothing wrong" in run(sys.executable, "-W", "ignore", *words, "--own", "--seconds", "1")


def test_the_codec_is_held_to_its_twins() -> None:
    (command,) = [line for line in PAGE.commands(PYTHON) if "fuzz_codec" in line]
    assert "nothing differs" in run(sys.executable, *shlex.split(command)[1:-1], "1000")


@pytest.mark.parametrize("command", [line for line in PAGE.commands("make") if "bench" not in line])
def test_a_make_target_does_what_its_options_say(command: str) -> None:
    # Not run: it would change the environment that runs this test. What `make test` runs here runs above.
    plan = run("make", "--dry-run", *shlex.split(command)[1:])
    options = dict(word.split("=", 1) for word in shlex.split(command)[1:] if "=" in word)
    assert options.get("ARGS", PYTHON) in plan


@pytest.mark.timeout(300)
@pytest.mark.parametrize("command", PAGE.commands("make")[-2:-1])
def test_the_bench_of_one_scenario_gives_a_figure(tmp_path: Path, command: str) -> None:
    require_program("wrk")
    _, target, options = shlex.split(command)
    output = run(
        *("make", target, f"{options} --output {tmp_path}", f"BENCH_VENV={tmp_path}/venv"), f"PYTHON={sys.executable}",
        timeout=280,
    )  # fmt: skip
    assert re.search(r"greenserve +[\d,]+", output), output


def test_the_hooks_can_be_installed(tmp_path: Path) -> None:
    (command,) = PAGE.commands(".venv/bin/pre-commit")
    run(require_program("git"), "init", "--quiet", cwd=tmp_path)
    run(sys.executable, "-m", "pre_commit", *shlex.split(command)[1:], cwd=tmp_path)
    assert os.access(tmp_path / ".git" / "hooks" / "pre-commit", os.X_OK)


def test_the_field_that_is_shown_is_a_setting_everywhere(tmp_path: Path) -> None:
    (field,) = PAGE.in_language("python")
    shutil.copytree(REPOSITORY / "greenserve", tmp_path / "greenserve", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(REPOSITORY / "tools", tmp_path / "tools")
    model = tmp_path / "greenserve" / "settings" / "model.py"
    text = model.read_text()
    place = text.index("    @classmethod\n    def from_kwargs")
    model.write_text(text[:place] + field + text[place:])
    name = field.split(":")[0].strip()
    report = run(sys.executable, "-m", "greenserve", "check", f"--{name}", "blue", cwd=tmp_path)
    assert re.search(rf"{name} +blue +\(--{name}\)", report), report
    reference = run(sys.executable, "tools/settings_reference.py", cwd=tmp_path)
    assert f"## {name}\n" in reference
    assert f"GREENSERVE_{name.upper()}" in reference


@pytest.mark.timeout(200)
def test_the_files_of_a_release_are_made(tmp_path: Path) -> None:
    (command,) = PAGE.commands(PORTABLE)
    variable, _, *words = shlex.split(command)
    run("env", variable, sys.executable, *words, "--outdir", str(tmp_path), timeout=180)
    made = sorted(path.name for path in tmp_path.iterdir())
    assert re.fullmatch(r"greenserve-[\d.]+-py3-none-any\.whl", made[0])
    assert re.fullmatch(r"greenserve-[\d.]+\.tar\.gz", made[1])
    inside = run("tar", "-tf", str(tmp_path / made[1])).splitlines()
    held = {line.partition("/")[2] for line in inside}
    assert {
        "CONTRIBUTING.md",
        "Makefile",
        "benchmarks/run.py",
        "docs/design.md",
        "tests/conftest.py",
        ".ci/run",
        "hatch_build.py",
        "greenserve/_codec.c",
    } <= held


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "SECURITY.md"])
def test_every_file_and_link_of_a_page_exists(name: str) -> None:
    page = Page(REPOSITORY / name)
    assert page.missing_links() == []
    named = re.findall(r"`([\w.-]+/[\w./-]*|[\w-]+\.(?:md|toml|py))`", page.text)
    assert [path for path in named if path != "dist/" and not (REPOSITORY / path).exists()] == []


def test_no_address_is_invented() -> None:
    pages = [REPOSITORY / "CONTRIBUTING.md", REPOSITORY / "SECURITY.md", *(REPOSITORY / ".github").rglob("*.*")]
    for path in pages:
        assert not re.search(r"\w@\w+\.\w", path.read_text()), path
