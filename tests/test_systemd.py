"""What a service manager is told, by a real datagram socket in its place."""

from __future__ import annotations

import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.process import systemd
from greenserve.process.systemd import ServiceManager, message


@pytest.fixture
def manager_socket(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10)
        sock.bind(str(tmp_path / "notify"))
        yield sock


def test_a_message_is_a_line_for_each_field(manager_socket):
    ServiceManager(manager_socket.getsockname()).tell(READY=1, STATUS="listening", MAINPID=7)
    assert manager_socket.recv(1000) == b"READY=1\nSTATUS=listening\nMAINPID=7"


@given(st.text())
def test_a_value_never_makes_a_line_of_its_own(value):
    (line,) = message({"STATUS": value}).split(b"\n")
    assert line.startswith(b"STATUS=")


def test_an_abstract_socket_is_told():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10)
        sock.bind("")  # the kernel finds a name, unix(7)
        name = sock.getsockname()
        ServiceManager("@" + name[1:].decode()).tell(READY=1)
        assert sock.recv(1000) == b"READY=1"


def test_without_a_manager_nothing_happens():
    assert ServiceManager.take({}).tell(READY=1) == ""


@pytest.mark.parametrize(
    ("variables", "address", "watchdog"),
    [
        ({"NOTIFY_SOCKET": "/a"}, "/a", 0),
        ({"NOTIFY_SOCKET": "/a", "WATCHDOG_USEC": "3000000"}, "/a", 3),
        ({"NOTIFY_SOCKET": "@a", "WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, "@a", 0.5),
        ({"NOTIFY_SOCKET": "/a", "WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getppid())}, "/a", 0),
        ({"NOTIFY_SOCKET": "/a", "WATCHDOG_USEC": "soon"}, "/a", 0),
        ({"NOTIFY_SOCKET": "/a", "WATCHDOG_USEC": "-1"}, "/a", 0),
        ({"WATCHDOG_USEC": "3000000"}, "", 0),
        ({"NOTIFY_SOCKET": "vsock:2:1234", "WATCHDOG_USEC": "3000000"}, "", 0),
        ({"NOTIFY_SOCKET": "vsock-stream:2:1234"}, "", 0),
    ],
)
def test_the_variables_are_read_and_removed(variables, address, watchdog):
    environ = variables | {"HOME": "/root"}
    manager = ServiceManager.take(environ)
    assert (manager.address, manager.watchdog) == (address, watchdog)
    assert environ == {"HOME": "/root"}


@pytest.mark.parametrize("address", ["/nowhere/notify", "@greenserve-nowhere", "relative", "/" + "a" * 200])
def test_a_socket_that_is_not_there_is_one_warning(address):
    manager = ServiceManager(address)
    warning, *others = [manager.tell(WATCHDOG=1) for _ in range(3)]
    assert f"NOTIFY_SOCKET={address} cannot be told" in warning
    assert others == ["", ""]


def test_a_manager_that_reads_nothing_is_one_warning_and_no_endless_wait(manager_socket, monkeypatch):
    monkeypatch.setattr(systemd, "SEND_SECONDS", 0.01)
    manager = ServiceManager(manager_socket.getsockname())
    assert any(manager.tell(WATCHDOG=1) for _ in range(100_000))
    assert manager.tell(WATCHDOG=1) == ""
    while manager_socket.recv(1000) == b"WATCHDOG=1":
        manager_socket.setblocking(False)
        try:
            manager_socket.recv(1000, socket.MSG_PEEK)
        except BlockingIOError:
            break
    manager_socket.settimeout(10)
    manager.tell(READY=1)
    assert manager_socket.recv(1000) == b"READY=1", "it is told again when it reads again"
