"""Rooms that two server processes share, as processes: over a Unix socket, and over a real Redis; both with deaths."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.conftest import missing
from tests.e2e.conftest import StartServer
from tests.e2e.server_process import ServerProcess
from tests.rooms.brokers import broker
from tests.rooms.redis_server import RedisServer

APP = "tests.e2e.rooms_app:app"
PATIENCE = 20.0  # seconds

Connect = Callable[..., ClientConnection]


@pytest.fixture
def connected() -> Iterator[Connect]:
    """`connected(server, "/room")`: a client; closed at the end."""
    with ExitStack() as stack:

        def open_one(server: ServerProcess, path: str = "/a") -> ClientConnection:
            url = server.url.replace("http://", "ws://") + path
            return stack.enter_context(connect(url, proxy=None, close_timeout=1))

        yield open_one


def sizes(client: ClientConnection) -> list[int]:
    """[members in that process, members in all], as the process of this client knows it."""
    client.send("who")
    while True:
        message = client.recv(timeout=PATIENCE)
        if isinstance(message, str) and message.startswith("["):
            return json.loads(message)  # type: ignore[no-any-return]


def until_sizes(client: ClientConnection, expected: list[int]) -> None:
    deadline = time.monotonic() + PATIENCE
    while (found := sizes(client)) != expected:
        assert time.monotonic() < deadline, f"{found} instead of {expected}"


def heard(client: ClientConnection, end: str) -> list[str | bytes]:
    """Messages up to `end`."""
    messages: list[str | bytes] = []
    while not messages or messages[-1] != end:
        messages.append(client.recv(timeout=PATIENCE))
    return messages


@pytest.fixture
def unix(tmp_path: Path) -> str:
    return f"unix:{tmp_path / 'rooms.sock'}"


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    if find_spec("redis") is None:
        missing("the package redis is not installed")
    with RedisServer() as server:
        yield server


def test_two_processes_share_their_rooms_over_a_unix_socket(
    start_server: StartServer, connected: Connect, unix: str
) -> None:
    one, two = start_server(APP, "--rooms", unix), start_server(APP, "--rooms", unix)
    ada, grace, alan = connected(one), connected(two), connected(two, "/b")
    until_sizes(ada, [1, 2])
    until_sizes(grace, [1, 2])
    until_sizes(alan, [1, 1])
    for number in range(100):
        ada.send(str(number))
    expected = [str(number) for number in range(100)]
    assert heard(grace, "99") == heard(ada, "99") == expected
    grace.send(b"\x00\xff")
    assert ada.recv(timeout=PATIENCE) == grace.recv(timeout=PATIENCE) == b"\x00\xff"
    grace.close()
    until_sizes(ada, [1, 1])
    assert sizes(alan) == [1, 1]
    assert one.stop() == two.stop() == 0
    assert "Traceback" not in one.output + two.output


def test_another_broker_is_started_when_it_is_killed(start_server: StartServer, connected: Connect, unix: str) -> None:
    one = start_server(APP, "--rooms", unix)
    two, three = start_server(APP, "--rooms", unix), start_server(APP, "--rooms", unix)
    ada, grace, alan = connected(one), connected(two), connected(three)
    for client in (ada, grace, alan):
        until_sizes(client, [1, 3])
    one.kill()  # with its process group, of which the broker is not
    until_sizes(grace, [1, 2])
    os.kill(broker(unix.removeprefix("unix:")), signal.SIGKILL)
    for server in (two, three):
        server.wait_for_line(r"connected to unix:\S+ again after")
    deadline = time.monotonic() + PATIENCE
    arrived: list[str | bytes] = []
    number = 0
    while not arrived:  # until both have connected again, what is said is lost
        assert time.monotonic() < deadline
        grace.send(f"m{number}")
        number += 1
        try:
            arrived.append(alan.recv(timeout=0.1))
        except TimeoutError:
            pass
    grace.send("end")
    arrived += heard(alan, "end")
    assert len(set(arrived)) == len(arrived)  # nothing twice
    assert arrived == [f"m{first}" for first in range(number - len(arrived) + 1, number)] + ["end"]
    until_sizes(grace, [1, 2])
    until_sizes(alan, [1, 2])
    four = start_server(APP, "--rooms", unix)
    until_sizes(connected(four), [1, 3])


def test_two_processes_share_their_rooms_over_redis_which_is_killed_and_comes_back(
    start_server: StartServer, connected: Connect, redis: RedisServer
) -> None:
    one, two = start_server(APP, "--rooms", redis.url), start_server(APP, "--rooms", redis.url)
    ada, grace = connected(one), connected(two)
    until_sizes(ada, [1, 2])
    until_sizes(grace, [1, 2])
    ada.send("before")
    assert heard(grace, "before") == heard(ada, "before") == ["before"]
    redis.kill()
    for server in (one, two):
        server.wait_for_line(r"no connection to redis://127\.0\.0\.1:\d+/3")
    ada.send("alone")
    assert heard(ada, "alone") == ["alone"]
    redis.start()
    for server in (one, two):
        server.wait_for_line("again after")
    late = connected(two)
    until_sizes(late, [2, 3])
    until_sizes(ada, [1, 3])
    ada.send("after")
    assert heard(grace, "after") == ["after"]  # and what was said meanwhile is lost, not late
    assert heard(late, "after") == ["after"]
    one.wait_for_line("1 broadcasts did not leave this process")
    assert one.stop() == two.stop() == 0
    assert "Traceback" not in one.output + two.output


def test_the_members_of_a_process_that_is_killed_are_gone_in_the_others(
    start_server: StartServer, connected: Connect, unix: str
) -> None:
    one, two = start_server(APP, "--rooms", unix), start_server(APP, "--rooms", unix)
    ada, grace = connected(one), connected(two)
    until_sizes(ada, [1, 2])
    until_sizes(grace, [1, 2])
    two.kill()
    until_sizes(ada, [1, 1])


def test_without_a_bus_each_process_is_on_its_own(start_server: StartServer, connected: Connect) -> None:
    one, two = start_server(APP), start_server(APP)
    ada, grace = connected(one), connected(two)
    assert sizes(ada) == sizes(grace) == [1, 1]


def test_the_password_of_a_bus_is_not_shown(start_server: StartServer) -> None:
    url = "redis://ada:secret@127.0.0.1:1/0"
    server = start_server(APP, "--rooms", url, "--log-level", "debug")
    server.wait_for_line(r"no connection to redis://127\.0\.0\.1:1/0")
    assert "secret" not in server.output
