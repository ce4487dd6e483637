"""Which codec is used, and where that is said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from greenserve import codec
from greenserve.settings.sources import CODEC_VARIABLE, resolve
from greenserve.version import VERSION
from tests.conftest import REPOSITORY, require_codec
from tests.e2e.server_process import ServerProcess, run_command

ABSENT = "import sys; sys.modules['greenserve._codec'] = None; from greenserve.cli import main; main()"


def without_one(*arguments: str, **environ: str | None) -> subprocess.CompletedProcess[str]:
    """The command, where the installation has no compiled codec."""
    return run_command(*arguments, executable=(sys.executable, "-c", ABSENT), env=environ)


def test_the_compiled_one_is_used_unless_told_otherwise() -> None:
    require_codec()
    for value in (None, "", "auto", "compiled"):
        done = run_command("--version", env={codec.VARIABLE: value})
        assert done.stdout == f"greenserve {VERSION} (compiled codec)\n"
    done = run_command("--version", env={codec.VARIABLE: "python"})
    assert done.stdout == f"greenserve {VERSION} (Python codec: so chosen by GREENSERVE_CODEC)\n"


def test_without_a_compiled_one_it_is_pythons() -> None:
    for value in (None, "auto"):
        done = without_one("--version", GREENSERVE_CODEC=value)
        assert done.stdout == f"greenserve {VERSION} (Python codec: no compiled one in this installation)\n"


@pytest.mark.parametrize("command", ["serve", "check"])
def test_to_ask_for_a_compiled_one_that_is_not_there_is_an_error(command: str) -> None:
    done = without_one(command, "greenserve.demo:application", GREENSERVE_CODEC="compiled")
    assert done.returncode == {"serve": 2, "check": 1}[command]
    said = done.stdout + done.stderr
    assert "GREENSERVE_CODEC is compiled, but the codec is Python's: no compiled one in this installation" in said
    assert "GREENSERVE_COMPILED=yes pip install" in said
    assert "Traceback" not in said


def test_a_wrong_value_is_an_error_that_names_the_right_ones() -> None:
    done = run_command("greenserve.demo:application", env={codec.VARIABLE: "c"})
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "greenserve: the variable GREENSERVE_CODEC is 'c': write auto, compiled or python"
    )


def test_the_first_line_of_the_log_and_the_report_say_which() -> None:
    require_codec()
    for value, name in (("compiled", "compiled"), ("python", "Python")):
        environ: dict[str, str | None] = {codec.VARIABLE: value}
        with ServerProcess("greenserve.demo:application", env=environ) as server:
            first = next(line for line in server.output.splitlines() if " listening on " in line)
            assert f", {name} codec, " in first
        report = run_command("check", env=environ).stdout
        assert any(line.split()[:2] == ["codec", name] for line in report.splitlines())


def test_one_that_does_not_fit_is_not_used_and_warned_of(tmp_path: Path) -> None:
    require_codec()
    # A package of its own, whose source is not that of the compiled module.
    package = tmp_path / "greenserve"
    package.mkdir()
    for path in (REPOSITORY / "greenserve").iterdir():
        if path.name not in ("codec.py", "_codec.c", "__pycache__"):
            (package / path.name).symlink_to(path)
    (package / "codec.py").write_bytes((REPOSITORY / "greenserve/codec.py").read_bytes())
    (package / "_codec.c").write_text("/* another one */\n")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GREENSERVE_")}
    done = subprocess.run(
        [sys.executable, "-m", "greenserve", "check"],
        cwd=tmp_path,
        env=environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (
        "warning: the codec is Python's, a slower one: the compiled one is not of this checkout's _codec.c; "
        "pip install --editable . compiles it anew"
    ) in done.stdout.splitlines()


def test_the_variable_is_known_where_settings_are_read(tmp_path: Path) -> None:
    assert codec.VARIABLE == CODEC_VARIABLE
    assert resolve({}, {codec.VARIABLE: "python"}, tmp_path).warnings == ()


def test_a_file_of_variables_comes_too_late(tmp_path: Path) -> None:
    (tmp_path / "a.env").write_text("GREENSERVE_CODEC=python\n")
    done = run_command("greenserve.demo:application", "--env-file", "a.env", cwd=tmp_path, env={codec.VARIABLE: None})
    assert done.returncode == 2
    assert "a.env sets GREENSERVE_CODEC, but the codec is chosen before a file is read" in done.stderr
