"""Rooms of several workers, by the installed command: blocked, killed and replaced workers, and a killed broker."""

from __future__ import annotations

import errno
import json
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from greenserve.settings import Settings
from greenserve.workers import private_directory
from greenserve.workers.run import rooms_of
from tests.e2e.server_process import ServerProcess
from tests.rooms.brokers import words
from tests.waiting import until_blocking

APPLICATION = """
import json, os

import greenserve
from greenserve import rooms, websocket

block = greenserve.original("time").sleep
room = rooms.get("lobby")
changes = []
rooms.on_join(lambda room, member: changes.append(["join", member.id]))
rooms.on_leave(lambda room, member: changes.append(["leave", member.id]))


@websocket.handler
def chat(ws):
    with room.joined(ws, os.getpid()) as member:
        for message in ws:
            if message == "who":
                everybody = sorted(each.info for each in room.members)
                ws.send_json({"pid": os.getpid(), "id": member.id, "all": everybody, "changes": changes})
            elif message == "block":
                ws.send("blocked")
                while not os.path.exists("go-on"):
                    block(0.01)
            else:
                room.broadcast(message)


def app(environ, start_response):
    if environ["PATH_INFO"] == "/chat":
        return chat(environ, start_response)
    if environ["PATH_INFO"] == "/say":
        room.broadcast(environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "application.py").write_text(APPLICATION)
    (tmp_path / "t").mkdir()
    return tmp_path


@pytest.fixture
def clients() -> Iterator[Callable[..., dict[int, ClientConnection]]]:
    """`clients(server, 4)`: one in each of so many workers, by their pids, each of which knows of all."""
    with ExitStack() as stack:

        def of(server: ServerProcess, count: int) -> dict[int, ClientConnection]:
            url = server.url.replace("http://", "ws://") + "/chat"
            found: dict[int, ClientConnection] = {}
            deadline = time.monotonic() + 20
            while len(found) < count:
                assert time.monotonic() < deadline
                client = stack.enter_context(connect(url, proxy=None, close_timeout=1))
                pid = who(client)["pid"]
                if pid in found:
                    client.close()
                else:
                    found[pid] = client
            everybody_knows(found)
            return found

        yield of


def who(client: ClientConnection) -> dict[str, Any]:
    """What the client's worker knows of the room."""
    client.send("who")
    while True:
        message = client.recv(timeout=20)
        if message[:1] == "{":
            return json.loads(message)  # type: ignore[no-any-return]


def everybody_knows(clients: dict[int, ClientConnection]) -> None:
    """Wait until each worker knows of all these, and of no others."""
    until_blocking(lambda: all(who(client)["all"] == sorted(clients) for client in clients.values()))


def hears(client: ClientConnection, end: str) -> list[str]:
    """The messages up to `end`."""
    messages: list[str] = []
    while not messages or messages[-1] != end:
        messages.append(str(client.recv(timeout=20)))
    return messages


def serve(place: Path, *arguments: str, workers: int = 4, **env: str) -> ServerProcess:
    env = {"TMPDIR": str(place / "t"), **env}
    return ServerProcess("application:app", "--workers", str(workers), *arguments, cwd=place, env=dict(env))


def broker_below(directory: Path) -> int:
    """The pid of the broker whose socket is there; 0: there is none."""
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        command = words(pid)
        if any(word.startswith(str(directory)) for word in command) and "broker/__main__.py" in " ".join(command):
            return pid
    return 0


def test_workers_share_rooms_by_themselves_whatever_becomes_of_one_of_them_and_of_their_broker(
    place: Path, clients: Callable[..., dict[int, ClientConnection]]
) -> None:
    with serve(place) as server:
        assert broker_below(place) == 0  # a server without rooms has no further process
        requests.get(f"{server.url}/say?nobody", timeout=20)
        members = clients(server, 4)
        [directory] = (place / "t").iterdir()
        assert directory.stat().st_mode & 0o777 == 0o700

        # Each message reaches each member once, in its sender's order.
        expected = []
        for pid, client in members.items():
            for number in range(50):
                client.send(f"{pid} {number}")
                expected.append(f"{pid} {number}")
        for client in members.values():
            found = [str(client.recv(timeout=20)) for _ in expected]
            assert sorted(found) == sorted(expected)
            for pid in members:
                assert [each for each in found if each.startswith(str(pid))] == [f"{pid} {n}" for n in range(50)]
        requests.get(f"{server.url}/say?from-a-request", timeout=20)
        for client in members.values():
            assert hears(client, "from-a-request") == ["from-a-request"]

        # One that is blocked delays none of the others.
        (blocked, sleeper), (_, speaker), *others = members.items()
        sleeper.send("block")
        assert hears(sleeper, "blocked") == ["blocked"]
        speaker.send("awake")
        for client in (speaker, *(client for _, client in others)):
            assert hears(client, "awake") == ["awake"]
        (place / "go-on").touch()
        assert hears(sleeper, "awake") == ["awake"]

        # The broker is killed under traffic: nothing comes twice, and rooms heal.
        os.kill(broker_below(place), signal.SIGKILL)
        heard = []
        number = 0
        while not heard:
            speaker.send(f"after {number}")
            number += 1
            try:
                heard.append(str(sleeper.recv(timeout=0.05)))
            except TimeoutError:
                pass
        speaker.send("healed")
        heard += hears(sleeper, "healed")
        assert len(set(heard)) == len(heard)
        everybody_knows(members)

        # A worker is killed: its member is gone at once, and the others are told once.
        gone = ["leave", who(sleeper)["id"]]
        os.kill(blocked, signal.SIGKILL)
        del members[blocked]
        everybody_knows(members)
        for client in members.values():
            until_blocking(lambda: gone in who(client)["changes"])  # noqa: B023 - called at once
            assert who(client)["changes"].count(gone) == 1
        server.wait_for_line(rf"pid {blocked}\) was killed by SIGKILL")  # else it was killed by the stop, as it seems
        assert server.stop() == 0
    assert not directory.exists()
    until_blocking(lambda: not broker_below(place))
    assert "Traceback" not in server.output


def test_members_of_old_and_new_code_meet_and_leave_with_their_workers(
    place: Path, clients: Callable[..., dict[int, ClientConnection]]
) -> None:
    with serve(place, "--graceful-timeout", "20", workers=2) as server:
        old = clients(server, 2)
        for number, line in ((signal.SIGHUP, "reloaded"), (signal.SIGUSR2, "generation 3")):
            server.send_signal(number)
            server.wait_for_line(line, timeout=20)
            for client in old.values():
                with pytest.raises(ConnectionClosed):
                    hears(client, "nothing more")
            new = clients(server, 2)
            assert not set(new) & set(old)
            client = next(iter(new.values()))
            client.send("hello")
            for each in new.values():
                assert hears(each, "hello")[-1] == "hello"
            old = new
        assert server.stop() == 0
    assert list((place / "t").iterdir()) == []


def test_without_rooms_each_worker_has_its_own(place: Path) -> None:
    with serve(place, "--rooms", "none", workers=2) as server, ExitStack() as stack:
        url = server.url.replace("http://", "ws://") + "/chat"
        known: dict[int, set[int]] = {}
        while len(known) < 2:
            found = who(stack.enter_context(connect(url, proxy=None)))
            known.setdefault(found["pid"], set()).update(found["all"])
        assert known == {pid: {pid} for pid in known}
        assert broker_below(place) == 0


def test_where_nothing_can_be_written_workers_go_on_without_and_say_so(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(**_: str) -> str:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    assert private_directory.make(None) is None
    assert rooms_of(Settings(), "") is None
    assert "name a socket (--rooms unix:PATH)" in caplog.text
    assert rooms_of(Settings.from_kwargs(rooms="unix:/a/b"), "/c") == "unix:/a/b"
    assert rooms_of(Settings.from_kwargs(rooms=None), "/c") is None
    assert rooms_of(Settings(), "/c") == "unix:/c/rooms"
