"""Which files `--reload` watches, and which changes it sees."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from greenserve.reload import scope as scopes
from greenserve.reload.scope import Scope, changes


@pytest.fixture
def place(tmp_path: Path) -> Path:
    put(tmp_path, "views.py", "shop/models.py", "shop/templates/base.html", "notes.txt", "config/site.yaml")
    return tmp_path


def put(place: Path, *names: str, text: str = "") -> None:
    for name in names:
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def watched(place: Path, **more: object) -> set[str]:
    found = Scope([str(place)], **more).look()  # type: ignore[arg-type]
    return {os.path.relpath(path, place) for path in found.files}


def test_code_and_templates_are_watched(place: Path) -> None:
    assert watched(place) == {"views.py", "shop/models.py", "shop/templates/base.html"}


@pytest.mark.parametrize(
    "name",
    [
        *(".git/hook.py", "shop/__pycache__/models.py", "web/node_modules/a/index.html", ".venv/lib/site.py"),
        *("lib/site-packages/flask.py", "htmlcov/index.html", ".#views.py", ".views.py.swp", "views.py~", "4913"),
    ],
)
def test_what_is_not_the_applications_is_not_watched(place: Path, name: str) -> None:
    before = watched(place)
    put(place, name)
    assert watched(place) == before


def test_a_virtual_environment_is_left_out_whatever_its_name(place: Path) -> None:
    put(place, "env/pyvenv.cfg", "env/bin/activate_this.py")
    assert "env/bin/activate_this.py" not in watched(place)
    assert watched(place / "env") == {"bin/activate_this.py"}, "unless it is named itself"


@pytest.mark.parametrize(
    ("pattern", "name"),
    [("*.yaml", "config/site.yaml"), ("config/*", "config/site.yaml"), ("notes.txt", "notes.txt"), (".env", ".env")],
)
def test_further_files_are_included(place: Path, pattern: str, name: str) -> None:
    put(place, ".env")
    assert name not in watched(place)
    assert name in watched(place, include=[pattern])


@pytest.mark.parametrize("pattern", ["shop", "shop/*", "models.py", "*models*"])
def test_files_and_directories_are_excluded(place: Path, pattern: str) -> None:
    assert "shop/models.py" not in watched(place, exclude=[pattern])
    assert "views.py" in watched(place, exclude=[pattern])


def test_a_file_is_watched_by_its_path_whatever_its_name_and_also_before_it_is_there(place: Path) -> None:
    scope = Scope(files=[str(place / "notes.txt")], settings=[str(place / "greenserve.toml")])
    before = scope.look()
    assert set(before.files) == {str(place / "notes.txt")}
    put(place, "greenserve.toml")
    assert changes(before, scope.look()) == [str(place / "greenserve.toml")]


def test_below_a_home_directory_nothing_is_watched(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(place, "ada/setup.py", "ada/projects/other.py")
    monkeypatch.setenv("HOME", str(place / "ada"))
    assert watched(place / "ada") == {"setup.py"}
    assert watched(place) == {"views.py"}, "nor below what the home directories are in"
    assert watched(place / "ada" / "projects") == {"other.py"}


def test_links_in_a_circle_are_walked_once(place: Path) -> None:
    (place / "shop" / "again").symlink_to(place)
    assert watched(place) == {"views.py", "shop/models.py", "shop/templates/base.html"}


def test_a_directory_that_is_a_link_is_watched(place: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    put(elsewhere, "common.py")
    (place / "common").symlink_to(elsewhere)
    assert "common/common.py" in watched(place)


def test_too_many_directories_are_cut_those_near_the_root_are_kept(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(place, *(f"deep/{n}/x.py" for n in range(10)))
    monkeypatch.setattr(scopes, "MOST_DIRECTORIES", 5)
    found = Scope([str(place)]).look()
    assert found.cut
    assert len(found.directories) == 5
    assert str(place / "views.py") in found.files


def test_every_way_to_change_a_file_is_seen(place: Path) -> None:
    scope = Scope([str(place)])
    file = place / "views.py"

    def change(action: object) -> list[str]:
        before = scope.look()
        action()  # type: ignore[operator]
        return [os.path.relpath(path, place) for path in changes(before, scope.look())]

    def replace() -> None:
        stamp = file.stat()
        put(place, "views.tmp")
        os.utime(place / "views.tmp", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        (place / "views.tmp").rename(file)

    assert change(lambda: None) == []
    assert change(lambda: os.utime(file, ns=(1, 1))) == ["views.py"]
    assert change(replace) == ["views.py"]
    assert change(lambda: file.rename(place / "pages.py")) == ["pages.py", "views.py"]
    assert change(lambda: put(place, "new/package/__init__.py")) == ["new/package/__init__.py"]
    assert change((place / "shop" / "models.py").unlink) == ["shop/models.py"]
    assert change(lambda: put(place, "notes.txt", text="more")) == []


def test_a_directory_that_may_not_be_read_is_passed_over(place: Path) -> None:
    assert watched(place / "nothing") == set()
