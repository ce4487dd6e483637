"""What hatch_build.py makes of a checkout: wheels with and without the compiled codec, and editable installations."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, require_program

SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
NEEDED = ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "greenserve")
NO_COMPILER = {"CC": "no-such-compiler"}
FAILING_COMPILER = {"CC": "false"}
SAY_CODEC = (
    'import sys; sys.path.insert(0, sys.argv[1]); from greenserve import codec; print(codec.DESCRIPTION, end="")'
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in which others have compiled the codec already: an older one of this Python, and one of another."""
    require_program("cc")
    place = tmp_path / "checkout"
    place.mkdir()
    for name in NEEDED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, place / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        else:
            shutil.copy(source, place)
    for suffix in (SUFFIX, ".cpython-399-x86_64-linux-gnu.so", ".cp311-win_amd64.pyd"):
        (place / f"greenserve/_codec{suffix}").write_bytes(b"stale")
    return place


def build(kind: str, checkout: Path, **variables: str) -> tuple[int, str, list[Path]]:
    """hatchling builds in `checkout`, as pip has it do. Returns its exit code, what it said, and the files."""
    out = checkout.parent / "out"
    out.mkdir(exist_ok=True)
    environ = {name: value for name, value in os.environ.items() if name not in ("CC", "CFLAGS", "GREENSERVE_COMPILED")}
    code = f"from hatchling import build; build.build_{kind}({str(out)!r})"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=checkout, env=environ | variables, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr, sorted(out.iterdir())


def codecs(wheel: Path) -> list[str]:
    return [Path(name).name for name in zipfile.ZipFile(wheel).namelist() if Path(name).suffix in (".so", ".pyd", ".c")]


def used_codec(place: Path) -> str:
    command = [sys.executable, "-I", "-c", SAY_CODEC, str(place)]
    environ = {name: value for name, value in os.environ.items() if name != "GREENSERVE_CODEC"}
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout


def test_with_a_compiler_the_wheel_is_for_this_python_and_has_the_codec(checkout: Path, tmp_path: Path) -> None:
    code, said, (wheel,) = build("wheel", checkout)
    assert code == 0, said
    assert "-none-any" not in wheel.name
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    assert wheel.name.startswith(f"greenserve-0.1.0-{python}-{python}")
    assert codecs(wheel) == [f"_codec{SUFFIX}"]
    metadata = zipfile.ZipFile(wheel).read("greenserve-0.1.0.dist-info/WHEEL").decode()
    assert "Root-Is-Purelib: false" in metadata
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    assert used_codec(tmp_path / "installed") == "compiled codec"
    assert list(tmp_path.glob("checkout/build")) == []


@pytest.mark.parametrize(
    ("variables", "said_of_it"),
    [
        (NO_COMPILER, ["the codec is not compiled", "the C compiler (no-such-compiler) is missing", "apt install gcc"]),
        (FAILING_COMPILER, ["the codec is not compiled", "compiling failed"]),
        ({"GREENSERVE_COMPILED": "no"}, []),
    ],
)
def test_without_one_the_wheel_is_for_any_machine(
    checkout: Path, tmp_path: Path, variables: dict[str, str], said_of_it: list[str]
) -> None:
    code, said, (wheel,) = build("wheel", checkout, **variables)
    assert code == 0, said
    assert wheel.name == "greenserve-0.1.0-py3-none-any.whl"
    assert codecs(wheel) == []
    assert "Root-Is-Purelib: true" in zipfile.ZipFile(wheel).read("greenserve-0.1.0.dist-info/WHEEL").decode()
    for words in said_of_it:
        assert words in said
    assert bool(said_of_it) == bool(said.strip())
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    assert used_codec(tmp_path / "installed") == "Python codec: no compiled one in this installation"


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"GREENSERVE_COMPILED": "yes", **NO_COMPILER}, "the C compiler (no-such-compiler) is missing"),
        ({"GREENSERVE_COMPILED": "yes", **FAILING_COMPILER}, "compiling failed"),
        ({"GREENSERVE_COMPILED": "maybe"}, "GREENSERVE_COMPILED is 'maybe': write auto, yes or no"),
    ],
)
def test_what_was_asked_for_and_cannot_be_is_an_error(checkout: Path, variables: dict[str, str], reason: str) -> None:
    code, said, files = build("wheel", checkout, **variables)
    assert code == 1
    assert reason in said
    assert "Traceback" not in said
    assert files == []


def test_an_editable_installation_has_it_in_place_for_each_python(checkout: Path) -> None:
    package = checkout / "greenserve"
    assert used_codec(checkout).startswith("Python codec: the compiled one cannot be loaded: ")
    code, said, _ = build("editable", checkout)
    assert code == 0, said
    assert used_codec(checkout) == "compiled codec"
    assert (package / "_codec.cpython-399-x86_64-linux-gnu.so").read_bytes() == b"stale"  # not this Python's
    # What was compiled of another state of the source is not used.
    with (package / "_codec.c").open("a") as source:
        source.write("\n/* changed */\n")
    assert used_codec(checkout) == "Python codec: the compiled one is not of this checkout's _codec.c"
    assert build("editable", checkout)[0] == 0
    assert used_codec(checkout) == "compiled codec"
    # Nor does it stay where a build makes none.
    assert build("editable", checkout, GREENSERVE_COMPILED="no")[0] == 0
    assert used_codec(checkout) == "Python codec: no compiled one in this installation"


def test_the_source_distribution_has_what_a_wheel_is_built_from(checkout: Path, tmp_path: Path) -> None:
    code, said, (archive,) = build("sdist", checkout, **NO_COMPILER)
    assert code == 0, said
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert {"hatch_build.py", "pyproject.toml"} <= {path.name for path in unpacked.iterdir()}
    assert {path.name for path in (unpacked / "greenserve").glob("_codec*")} == {"_codec.c", "_codec.pyi"}
    archive.unlink()
    code, said, (wheel,) = build("wheel", unpacked.rename(tmp_path / "sources"), GREENSERVE_COMPILED="yes")
    assert code == 0, said
    assert codecs(wheel) == [f"_codec{SUFFIX}"]
