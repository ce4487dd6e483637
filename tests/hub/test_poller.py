"""Pollers by themselves; test_descriptors.py has their behaviour in the hub. kqueue is tried with a record of calls."""

from __future__ import annotations

import importlib.util
import os
import select
import socket
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from greenserve.hub.core import poller
from greenserve.hub.core.poller import HANGUP, READ, WRITE, SelectPoller, default_poller


def test_the_default_is_the_best_of_the_platform():
    made = default_poller()
    assert type(made).__name__ == {"linux": "EpollPoller", "darwin": "KqueuePoller"}.get(sys.platform, "SelectPoller")
    made.close()


def test_removing_what_is_not_known_or_closed_is_harmless():
    for made in (default_poller(), SelectPoller()):
        reader, writer = os.pipe()
        made.remove(reader)
        made.add(reader)
        os.close(reader)
        made.remove(reader)
        os.close(writer)
        with pytest.raises(OSError):
            made.rearm(reader)
        made.close()


def test_select_forgets_a_descriptor_that_went_bad_after_saying_so_once():
    made = SelectPoller()
    reader, writer = os.pipe()
    made.add(reader)
    made.arm(reader, READ)
    os.close(reader)
    assert made.wait(0) == [(reader, READ | WRITE | HANGUP)]
    assert made.wait(0) == []
    os.close(writer)


def test_select_reports_both_directions_as_one_event():
    made = SelectPoller()
    left, right = socket.socketpair()
    with left, right:
        right.send(b"x")
        made.arm(left.fileno(), READ)
        made.arm(left.fileno(), WRITE)
        assert made.wait(0) == [(left.fileno(), READ | WRITE)]
        made.disarm(left.fileno(), READ)
        assert made.wait(0) == [(left.fileno(), WRITE)]


class FakeKqueue:
    """Records what it is told; reports what it is given; refuses the filters in `refused`."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int, int]] = []
        self.refused: set[tuple[int, int]] = set()
        self.events: list[Any] = []
        self.timeouts: list[float | None] = []
        self.closed = False

    def control(self, changes: list[Any] | None, max_events: int, timeout: float | None = None) -> list[Any]:
        for change in changes or ():
            if (change.ident, change.filter) in self.refused:
                raise OSError(22, "Invalid argument")
            self.calls.append((change.ident, change.filter, change.flags))
        if changes is None:
            assert max_events > 0
            self.timeouts.append(timeout)
        return self.events if changes is None else []

    def close(self) -> None:
        self.closed = True


def kevent(ident: int, filter: int, flags: int) -> types.SimpleNamespace:
    return types.SimpleNamespace(ident=ident, filter=filter, flags=flags)


@pytest.fixture
def kqueue(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """poller.py as it is on macOS."""
    fake = types.ModuleType("select")
    constants = {"FILTER_READ": -1, "FILTER_WRITE": -2, "EV_ADD": 1, "EV_DELETE": 2, "EV_CLEAR": 32}
    for name, value in {**constants, "EV_EOF": 0x8000, "EV_ERROR": 0x4000}.items():
        setattr(fake, f"KQ_{name}", value)
    fake.kqueue, fake.kevent, fake.select = FakeKqueue, kevent, select.select  # type: ignore[attr-defined]
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setitem(sys.modules, "select", fake)
    specification = importlib.util.spec_from_file_location("poller_on_macos", Path(str(poller.__file__)))
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def fd():
    reader, writer = os.pipe()
    yield reader
    os.close(reader)
    os.close(writer)


def test_kqueue_is_the_default_there_and_watches_both_directions_edge_triggered(kqueue: Any, fd: int):
    made = kqueue.default_poller()
    assert type(made).__name__ == "KqueuePoller"
    assert made.edges
    made.add(fd)
    assert made._kqueue.calls == [(fd, -1, 1 | 32), (fd, -2, 1 | 32)]
    made.arm(fd, READ)
    made.disarm(fd, READ)
    assert len(made._kqueue.calls) == 2
    made.rearm(fd)
    assert made._kqueue.calls[2:] == made._kqueue.calls[:2]
    made.close()
    assert made._kqueue.closed


def test_kqueue_watches_the_one_direction_that_a_pipes_end_has(kqueue: Any, fd: int):
    for refused, watched in ((-2, -1), (-1, -2)):
        made = kqueue.KqueuePoller()
        made._kqueue.refused.add((fd, refused))
        made.add(fd)
        assert made._kqueue.calls == [(fd, watched, 1 | 32)]


def test_kqueue_passes_on_that_neither_direction_can_be_watched(kqueue: Any, fd: int):
    made = kqueue.KqueuePoller()
    made._kqueue.refused.update({(fd, -1), (fd, -2)})
    with pytest.raises(OSError, match="Invalid argument"):
        made.add(fd)


def test_kqueue_refuses_regular_files_as_epoll_does(kqueue: Any, tmp_path: Path):
    with (tmp_path / "file").open("w") as file, pytest.raises(PermissionError):
        kqueue.KqueuePoller().add(file.fileno())


def test_kqueue_removes_both_directions_whether_or_not_they_were_there(kqueue: Any):
    made = kqueue.KqueuePoller()
    made._kqueue.refused.add((7, -1))
    made.remove(7)
    assert made._kqueue.calls == [(7, -2, 2)]


def test_kqueue_translates_events(kqueue: Any):
    made = kqueue.KqueuePoller()
    made._kqueue.events = [kevent(7, -1, 0), kevent(7, -2, 0), kevent(8, -1, 0x8000), kevent(9, -2, 0x4000)]
    assert made.wait(1.5) == [(7, READ), (7, WRITE), (8, READ | HANGUP), (9, WRITE | HANGUP)]
    assert made._kqueue.timeouts == [1.5]
