"""The directory that a server makes for its own processes, and removes."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from greenserve.process.user import User
from greenserve.supervisor.process import remove_paths
from greenserve.workers import private_directory


def test_it_is_its_owners_alone_and_is_removed_with_what_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    one, other = private_directory.make(None), private_directory.make(None)
    assert one is not None
    assert other is not None
    assert stat.S_IMODE(Path(one[0]).stat().st_mode) == 0o700
    assert Path(one[0]).parent == tmp_path
    (Path(one[0]) / "rooms.lock").touch()
    (Path(one[0]) / "link").symlink_to(tmp_path)
    remove_paths([one, (other[0], other[1], other[2] + 1)])
    assert list(tmp_path.iterdir()) == [Path(other[0])]  # which has been replaced, as it seems


def test_a_service_managers_directory_comes_first_and_a_path_that_is_too_long_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{run}:/nowhere")
    made = private_directory.make(None)
    assert made is not None
    assert Path(made[0]).parent == run
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(long))
    made = private_directory.make(None)
    assert made is not None
    assert Path(made[0]).parent == tmp_path


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root")
def test_it_belongs_to_the_user_that_the_workers_become(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    made = private_directory.make(User(12345, 23456, ""))
    assert made is not None
    there = Path(made[0]).stat()
    assert (there.st_uid, there.st_gid) == (12345, 23456)
