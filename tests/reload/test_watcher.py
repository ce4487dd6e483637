"""What the process that watches tells the supervisor; with a clock and events that the test makes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from greenserve.reload import watcher as watchers
from greenserve.reload.watcher import FORCE_POLLING, Notified, Polling, Watcher, best_waiter
from greenserve.supervisor.channel import Channel, Gone, channel_pair


class Steps:
    """A waiter for which each wait is one step of the test; then the supervisor is gone."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self._steps = iter(steps)

    def wait(self, watcher: Watcher) -> bool:
        for step in self._steps:
            step()
            return True
        raise Gone


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[tuple[Channel, Watcher]]:
    """The supervisor's end, and a watcher that watches tmp_path."""
    ours, theirs = channel_pair()
    (tmp_path / "views.py").write_text("")
    (tmp_path / "site.env").write_text("")
    scope = {"directories": [str(tmp_path)], "settings": [str(tmp_path / "site.env")]}
    ours.send({"scope": scope, "since": time.time() + 1})
    yield ours, Watcher(theirs)
    ours.close()
    theirs.close()


def run(supervisor: tuple[Channel, Watcher], *steps: Callable[[], object]) -> list[dict[str, Any]]:
    """What the watcher has said."""
    with pytest.raises(Gone):
        supervisor[1].run(Steps(*steps))
    found = []
    while (message := supervisor[0].receive()) is not None:
        found.append(message[0])
    return found


def test_a_change_is_told_and_no_change_is_not(supervisor: tuple[Channel, Watcher], tmp_path: Path) -> None:
    found = run(supervisor, lambda: None, lambda: (tmp_path / "views.py").write_text("new"), lambda: None)
    assert found == [{"changed": [str(tmp_path / "views.py")], "count": 1, "settings": False}]


def test_many_changes_are_one(supervisor: tuple[Channel, Watcher], tmp_path: Path) -> None:
    def check_out() -> None:
        for number in range(500):
            (tmp_path / f"module{number}.py").write_text("")

    (found,) = run(supervisor, check_out)
    assert found["count"] == 500
    assert len(found["changed"]) == 3


def test_changes_are_told_when_no_more_come(
    supervisor: tuple[Channel, Watcher], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The editor saves three files, one after the other."""
    others = iter(("a.py", "b.py"))

    def sleep(seconds: float) -> None:
        for name in others:
            (tmp_path / name).write_text("")
            return

    monkeypatch.setattr(watchers.time, "sleep", sleep)
    (found,) = run(supervisor, lambda: (tmp_path / "views.py").write_text("new"))
    assert found["count"] == 3


def test_what_changes_for_ever_is_told_at_last(
    supervisor: tuple[Channel, Watcher], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter(range(10_000))
    monkeypatch.setattr(watchers.time, "monotonic", lambda: next(times))
    monkeypatch.setattr(watchers.time, "sleep", lambda _: (tmp_path / f"{next(times)}.py").write_text(""))
    assert run(supervisor, lambda: (tmp_path / "views.py").write_text("new"))


def test_a_change_of_the_servers_settings_is_told_as_such(supervisor: tuple[Channel, Watcher], tmp_path: Path) -> None:
    (found,) = run(supervisor, lambda: (tmp_path / "site.env").write_text("A=1"))
    assert found["settings"]


def test_what_was_saved_while_it_was_loaded_is_told(supervisor: tuple[Channel, Watcher], tmp_path: Path) -> None:
    supervisor[0].send({"scope": {"directories": [str(tmp_path)]}, "since": time.time() - 60})
    (tmp_path / "views.py").write_text("")
    os.utime(tmp_path / "views.py", (time.time() - 30,) * 2)
    (tmp_path / "old.py").write_text("")
    os.utime(tmp_path / "old.py", (time.time() - 90,) * 2)
    (tmp_path / "of_another_clock.py").write_text("")
    os.utime(tmp_path / "of_another_clock.py", (time.time() + 900,) * 2)
    (found,) = run(supervisor)
    assert found["changed"] == [str(tmp_path / "views.py")]


def test_what_workers_have_loaded_from_elsewhere_is_watched_too(
    supervisor: tuple[Channel, Watcher], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    library, single = elsewhere / "library", elsewhere / "single.py"
    library.mkdir()
    single.write_text("")
    more = {"directories": [str(library), str(tmp_path)], "files": [str(single), str(tmp_path / "views.py")]}
    found = run(
        supervisor,
        lambda: supervisor[0].send({"more": more, "since": time.time() + 1}),
        lambda: (library / "new.py").write_text(""),
        lambda: single.write_text("new"),
        lambda: (elsewhere / "another.py").write_text(""),
    )
    assert [each["changed"] for each in found] == [[str(library / "new.py")], [str(single)]]


def test_events_that_do_not_concern_the_application_are_not_worth_a_look(
    supervisor: tuple[Channel, Watcher], tmp_path: Path
) -> None:
    _, watcher = supervisor
    watcher.hear()
    events: list[list[tuple[int, str]]] = []
    made: list[tuple[str, ...]] = []

    def watch(*directories: str, **_: object) -> Iterator[list[tuple[int, str]]]:
        made.append(directories)
        while True:
            yield events.pop(0) if events else []

    waiter = Notified(watch)
    assert waiter.wait(watcher), "the first time: something may have happened before it was listened to"
    events += [[(1, str(tmp_path / "debug.log"))], [(1, str(tmp_path / "debug.log")), (2, str(tmp_path / "views.py"))]]
    assert not waiter.wait(watcher)
    assert waiter.wait(watcher)
    assert not waiter.wait(watcher)
    (tmp_path / "package").mkdir()
    events.append([(1, str(tmp_path / "package"))])
    assert waiter.wait(watcher)
    watcher.look()
    waiter.wait(watcher)
    assert made == [(str(tmp_path),), (str(tmp_path), str(tmp_path / "package"))]


def test_without_events_the_clock_is_looked_at_and_the_log_says_so(
    supervisor: tuple[Channel, Watcher], tmp_path: Path
) -> None:
    class Refused:
        def wait(self, watcher: Watcher) -> bool:
            (tmp_path / "views.py").write_text("new")
            supervisor[0].close()
            raise OSError("OS file watch limit reached")

    told: list[dict[str, Any]] = []
    watcher = supervisor[1]
    watcher._send = told.append  # type: ignore[method-assign]
    with pytest.raises(Gone):
        watcher.run(Refused())
    assert "limit reached" in told[0]["say"][1]
    assert told[1]["count"] == 1


def test_how_it_watches_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def say(level: str, text: str) -> None:
        said.append(text)

    monkeypatch.delenv(FORCE_POLLING, raising=False)
    assert isinstance(best_waiter(say), Notified)
    monkeypatch.setenv(FORCE_POLLING, "true")
    assert isinstance(best_waiter(say), Polling)
    monkeypatch.delenv(FORCE_POLLING)
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    assert isinstance(best_waiter(say), Polling)
    assert FORCE_POLLING in said[1]
    assert "pip install watchfiles" in said[2]
    assert len(said) == 3
