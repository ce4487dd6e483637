"""Where the code of an application is from."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path
from types import ModuleType

import flask
import pytest

import greenserve
from greenserve.reload.sources import sources


def module(file: str | None) -> ModuleType:
    found = ModuleType("x")
    found.__file__ = file
    return found


@pytest.mark.parametrize(
    ("name", "file", "directories", "files"),
    [
        ("shop", "/src/shop/__init__.py", ["/src/shop"], []),
        ("shop.web.views", "/src/shop/web/views.py", ["/src/shop"], []),
        ("shop.web", "/src/shop/web/__init__.py", ["/src/shop"], []),
        ("views", "/home/ada/views.py", [], ["/home/ada/views.py"]),
        ("__main__", "/home/ada/tool.py", [], ["/home/ada/tool.py"]),
        ("plugin.x", "/srv/other/name.py", [], ["/srv/other/name.py"]),
        ("flask", flask.__file__, [], []),
        ("json.decoder", f"{sysconfig.get_path('stdlib')}/json/decoder.py", [], []),
        ("greenserve.errors", f"{Path(greenserve.__file__).parent}/errors.py", [], []),
        ("_speedups", "/src/shop/_speedups.so", [], []),
        ("builtins", None, [], []),
    ],
)
def test_packages_are_directories_and_others_files(
    name: str, file: str | None, directories: list[str], files: list[str]
) -> None:
    assert sources({name: module(file)}) == (directories, files)


def test_a_module_whose_attributes_fail_is_passed_over() -> None:
    class Lazy(ModuleType):
        def __getattribute__(self, name: str) -> object:
            raise RuntimeError

    assert sources({"lazy": Lazy("lazy")}) == ([], [])


def test_the_files_of_an_error_are_among_them_though_their_modules_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "outer_module.py").write_text("import broken_module\n")
    (tmp_path / "broken_module.py").write_text("def <\n")
    with pytest.raises(SyntaxError) as caught:
        import outer_module  # type: ignore[import-not-found]  # noqa: F401
    assert "outer_module" not in sys.modules
    wrapped = RuntimeError()
    wrapped.__cause__ = caught.value
    _, files = sources({}, wrapped)
    assert {str(tmp_path / "outer_module.py"), str(tmp_path / "broken_module.py")} <= set(files)
