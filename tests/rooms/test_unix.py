"""The Unix bus on real sockets: several members of it in one process, as the broker tells them apart by connection."""

from __future__ import annotations

import fcntl
import itertools
import os
import signal
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import greenserve
from greenserve.errors import ConfigurationError
from greenserve.green.socket import socket as GreenSocket
from greenserve.rooms import bus as buses
from greenserve.rooms.protocol.framing import Op, frame
from greenserve.rooms.registry import make_bus
from greenserve.rooms.unix import bus as unix_buses
from greenserve.rooms.unix import start as starting
from greenserve.rooms.unix.bus import UnixBus
from tests.rooms.brokers import broker, brokers
from tests.rooms.listening import Recorder
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("hub")


@pytest.fixture(autouse=True)
def short_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "LINGER_SECONDS", 0.05)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "rooms.sock")


def broker_of(path: str) -> int:
    """Its pid."""
    until(lambda: broker(path))
    return broker(path)


@pytest.fixture
def members(path: str) -> Iterator[list[Recorder]]:
    """Three on one bus; the first has started the broker."""
    first = Recorder(UnixBus(path))
    until(lambda: first.bus.connected)
    found = [first, Recorder(UnixBus(path)), Recorder(UnixBus(path))]
    until(lambda: all(each.bus.connected for each in found))
    yield found
    for each in found:
        each.bus.close()


def test_what_one_publishes_all_others_hear_once_and_in_order(members: list[Recorder]) -> None:
    one, two, three = members
    two.hears("a")
    three.hears("a")
    one.hears("a")
    payloads = [str(number).encode() * 100 for number in range(500)]
    for payload in payloads:
        assert one.bus.publish("a", payload)
    until(lambda: len(two.heard) + len(three.heard) == 2 * len(payloads))
    assert two.payloads("a") == three.payloads("a") == payloads
    assert one.heard == []


def test_who_has_unsubscribed_or_never_subscribed_hears_nothing(members: list[Recorder]) -> None:
    one, two, three = members
    two.hears("a")
    two.bus.unsubscribe("a")
    two.hears("b")
    three.hears("a")
    one.bus.publish("a", b"1")
    one.bus.publish("b", b"2")
    until(lambda: two.heard and three.heard)
    assert two.heard == [("b", b"2")]
    assert three.heard == [("a", b"1")]


def test_a_large_payload_arrives_whole(members: list[Recorder]) -> None:
    one, two, _ = members
    two.hears("ü")
    payload = os.urandom(5_000_000)
    assert one.bus.publish("ü", payload)
    until(lambda: two.heard)
    assert two.heard == [("ü", payload)]


def test_another_broker_is_started_when_it_is_killed(members: list[Recorder], path: str) -> None:
    one, two, three = members
    for each in members:
        each.hears("a")
    for times in (2, 3):
        os.kill(broker_of(path), signal.SIGKILL)
        until(lambda: all(each.subscribed.count("a") == times for each in members))  # noqa: B023 - called at once
        assert broker_of(path)
    assert two.bus.publish("a", b"again")
    until(lambda: three.heard and one.heard)
    assert three.heard == one.heard == [("a", b"again")]
    assert two.heard == []


def test_a_broker_goes_on_when_the_process_that_started_it_leaves(members: list[Recorder], path: str) -> None:
    one, two, three = members
    two.hears("a")
    before = broker_of(path)
    one.bus.close()
    until(lambda: three.bus.publish("a", b"still") and two.heard)
    assert broker_of(path) == before
    assert two.subscribed == ["a"]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_all_processes_of_a_server_finds_the_broker_at_work_until_they_have_ended(
    members: list[Recorder], path: str, signum: signal.Signals
) -> None:
    one, two, _ = members
    two.hears("a")
    pid = broker_of(path)
    os.kill(pid, signum)
    for number in range(5):
        one.bus.publish("a", b"%d" % number)
        until(lambda: len(two.heard) == number + 1)  # noqa: B023 - called at once
    assert broker_of(path) == pid


def test_a_broker_ends_when_nobody_needs_it_and_takes_its_socket_along(members: list[Recorder], path: str) -> None:
    for each in members:
        each.bus.close()
    until(lambda: not Path(path).exists())
    until(lambda: not brokers(path))
    late = Recorder(UnixBus(path))
    late.hears("a")
    late.bus.close()


def test_a_broker_holds_nothing_of_the_process_that_started_it(path: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.set_inheritable(True)  # as some applications do
        recorder = Recorder(UnixBus(path))
        recorder.hears("a")
        pid = broker_of(path)
        port = listener.getsockname()[1]
    descriptors = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    assert sorted(each for each in descriptors if not each.startswith(("socket:", "anon_inode:"))) == [
        *["/dev/null"] * 3,
        f"{path}.lock",
    ]
    assert sum(each.startswith("socket:") for each in descriptors) == 2  # it listens, and has one client
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", port)) != 0
    assert os.getsid(pid) != os.getsid(0)
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert not [child for child in children() if child == os.getsid(pid)]  # it has started the broker, and was reaped
    recorder.bus.close()


def children() -> list[int]:
    """Of this process; those that have ended included."""
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def test_a_broker_that_cannot_be_started_is_said_once_and_tried_again(
    path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/nowhere/python")
        recorder = Recorder(UnixBus(path))
        until(lambda: caplog.records)
        assert not recorder.bus.publish("a", b"lost")
        greenserve.sleep(0.1)
        [told] = [record.getMessage() for record in caplog.records]
        assert "/nowhere/python: No such file or directory" in told
        assert not Path(path).exists()
    recorder.hears("a")
    recorder.bus.close()


def test_what_is_published_before_there_is_a_connection_for_the_first_time_is_not_lost(path: str) -> None:
    one = Recorder(UnixBus(path))
    one.hears("a")
    two = Recorder(UnixBus(path))
    assert two.bus.publish("a", b"first")
    until(lambda: one.heard)
    assert one.heard == [("a", b"first")]
    one.bus.close()
    two.bus.close()


def test_the_others_are_told_when_one_has_gone_without_a_word(members: list[Recorder]) -> None:
    one, two, three = members
    two.hears("will")
    three.bus.close()
    until(lambda: two.heard)
    assert two.heard == [("will", b"gone")]
    assert one.heard == []


def test_without_a_connection_publishing_says_that_it_did_not_work(path: str) -> None:
    bus = UnixBus(path)
    assert not bus.publish("a", b"1")


def test_a_socket_file_that_a_dead_process_left_is_replaced(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    recorder = Recorder(UnixBus(path))
    until(lambda: recorder.bus.connected)
    recorder.bus.close()
    until(lambda: not Path(path).exists())


def test_while_another_has_the_lock_nobody_else_starts_a_broker(
    path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(unix_buses, "START_SECONDS", 0.05)
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    recorder = Recorder(UnixBus(path))
    until(lambda: caplog.records)
    assert not Path(path).exists()
    os.close(lock)
    until(lambda: recorder.bus.connected)
    recorder.bus.close()
    told = [record.getMessage() for record in caplog.records]
    assert [line for line in told if "broadcasts stay in this process" in line] == told[:1]
    assert "again after" in told[1]


def test_only_the_owner_may_connect(members: list[Recorder], path: str) -> None:
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    assert stat.S_IMODE(Path(f"{path}.lock").stat().st_mode) == 0o600


def test_a_socket_of_another_user_is_not_trusted(
    path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket(socket.AF_UNIX) as strange:
        strange.bind(path)
        strange.listen()
        uid = Path(path).stat().st_uid
        monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
        os.chown(path, uid + 2, -1) if uid == 0 else None
        recorder = Recorder(UnixBus(path))
        until(lambda: caplog.records)
        assert "another user's" in caplog.text
        recorder.bus.close()


def test_what_is_no_frame_is_cut_off_and_the_others_go_on(members: list[Recorder], path: str) -> None:
    one, two, _ = members
    two.hears("a")
    with GreenSocket(socket.AF_UNIX) as strange:
        strange.connect(path)
        strange.settimeout(10)
        strange.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert strange.recv(100) == b""
    one.bus.publish("a", b"1")
    until(lambda: two.heard)


def test_a_process_that_does_not_read_is_cut_off_and_delays_nobody(path: str, caplog: pytest.LogCaptureFixture) -> None:
    one, two = Recorder(UnixBus(path)), Recorder(UnixBus(path))
    until(lambda: one.bus.connected and two.bus.connected)
    two.hears("a")
    with GreenSocket(socket.AF_UNIX) as deaf:
        deaf.connect(path)
        deaf.sendall(frame(Op.SUBSCRIBE, b"a"))
        count = 0
        while "cut off" not in caplog.text:
            assert one.bus.publish("a", bytes(1_000_000))
            count += 1
            until(lambda: len(two.heard) >= count - 4)  # noqa: B023 - called at once
            assert count < 100
        until(lambda: len(two.heard) == count)
    assert len(caplog.records) == 1  # one of the clients says it
    one.bus.close()
    two.bus.close()


def test_what_waits_to_be_sent_has_a_limit(members: list[Recorder]) -> None:
    one, *_ = members
    payload = bytes(buses.MAX_BACKLOG // 4)
    taken = [one.bus.publish("a", payload) for _ in range(8)]
    assert taken[0]
    assert not taken[-1]


def test_a_forked_child_keeps_neither_the_lock_nor_the_connections(path: str) -> None:
    one, two = Recorder(UnixBus(path)), Recorder(UnixBus(path))
    until(lambda: one.bus.connected and two.bus.connected)
    two.hears("will")
    before = [os.readlink(entry) for entry in Path("/proc/self/fd").iterdir() if entry.exists()]
    assert not [each for each in before if each.startswith(path)]  # the broker's alone
    one.bus.abandon()  # as a child does; here it is the parent's descriptors that go
    until(lambda: two.heard)
    assert two.heard == [("will", b"gone")]
    two.bus.close()
    one.bus.close()


# -- the files are removed


def speaks_to(one: Recorder, other: Recorder) -> None:
    """Wait until what `one` publishes reaches `other`."""
    tried = 0

    def heard() -> bool:
        nonlocal tried
        tried += 1
        one.bus.publish("a", b"try %d" % tried)
        return bool(other.payloads("a"))

    other.heard.clear()
    until(heard)


def remove_socket(path: str) -> None:
    Path(path).unlink()


def remove_both(path: str) -> None:
    Path(path).unlink()
    Path(f"{path}.lock").unlink()


def remove_lock(path: str) -> None:
    Path(f"{path}.lock").unlink()


def remove_directory(path: str) -> None:
    remove_both(path)
    Path(path).parent.rmdir()
    greenserve.sleep(3 * starting.CHECK_SECONDS)
    Path(path).parent.mkdir()


def replace_by_a_dead_socket(path: str) -> None:
    Path(path).unlink()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)


REMOVALS = [remove_socket, remove_both, remove_lock, remove_directory, replace_by_a_dead_socket]


@pytest.mark.parametrize("removal", REMOVALS)
@pytest.mark.parametrize("newcomer", ["at once", "later"])
def test_members_and_newcomers_get_together_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removal: Callable[[str], None], newcomer: str
) -> None:
    """A newcomer at once may be quicker than the broker, and become one itself: then the broker steps down."""
    monkeypatch.setattr(starting, "CHECK_SECONDS", 0.05)
    directory = tmp_path / "run"
    directory.mkdir()
    path = str(directory / "rooms.sock")
    one = Recorder(UnixBus(path))
    until(lambda: one.bus.connected)
    two = Recorder(UnixBus(path))
    until(lambda: two.bus.connected)
    removal(path)
    if newcomer == "later":
        until(lambda: Path(path).exists() and Path(f"{path}.lock").exists())
    three = Recorder(UnixBus(path))
    for each in (one, two, three):
        until(lambda: each.bus.connected)  # noqa: B023 - called at once
        each.hears("a")
    for speaker, listener in itertools.permutations((one, two, three), 2):
        speaks_to(speaker, listener)
    for each in (one, two, three):
        each.bus.close()
    until(lambda: not Path(path).exists())


def test_a_file_in_the_place_of_the_socket_is_left_as_it_is_and_members_go_on(
    path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(starting, "CHECK_SECONDS", 0.05)
    one = Recorder(UnixBus(path))
    until(lambda: one.bus.connected)
    two = Recorder(UnixBus(path))
    two.hears("a")
    Path(path).unlink()
    Path(path).write_text("precious")
    until(lambda: "no further process can join" in caplog.text)
    speaks_to(one, two)
    three = Recorder(UnixBus(path))
    until(lambda: "is not a socket, and is left as it is" in caplog.text)
    three.bus.close()
    two.bus.close()
    one.bus.close()
    assert Path(path).read_text() == "precious"


def test_a_path_that_is_not_a_socket_is_refused(path: str) -> None:
    Path(path).write_text("precious")
    with pytest.raises(ConfigurationError, match="not a socket, and is left as it is"):
        make_bus(f"unix:{path}")
    assert Path(path).read_text() == "precious"


def test_the_broker_removes_only_its_own_socket(path: str) -> None:
    one = Recorder(UnixBus(path))
    until(lambda: one.bus.connected)
    broker_of(path)
    Path(path).unlink()
    with socket.socket(socket.AF_UNIX) as strange:
        strange.bind(path)
        one.bus.close()
        until(lambda: not brokers(path))
        assert Path(path).exists()
