"""Who holds a port is told from /proc where it can be; and every bind error says the mend."""

from __future__ import annotations

import errno
import os
import socket
import sys
from contextlib import closing
from pathlib import Path

import pytest

from greenserve.errors import BindError, GreenserveError
from greenserve.net import bind_errors
from greenserve.net.bind_errors import bind_error, who_listens
from greenserve.net.listener import bind_listener, open_listener, start_listening
from greenserve.settings import Address, FdAddress, TcpAddress, UnixAddress

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc/net/tcp")


def listener(host: str, family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
    return socket.create_server((host, 0), family=family)


@linux
@pytest.mark.parametrize("asked", ["127.0.0.1", "localhost", "0.0.0.0", "::"])
def test_a_listener_of_this_process_is_named_by_pid_and_command(asked: str) -> None:
    with listener("127.0.0.1") as held:
        holder = who_listens(asked, held.getsockname()[1])
    assert holder is not None
    assert holder.startswith(f"pid {os.getpid()} (")


@linux
def test_a_wildcard_listener_stands_in_the_way_of_every_address() -> None:
    with listener("0.0.0.0") as held:
        assert who_listens("127.0.0.1", held.getsockname()[1])
        assert who_listens("192.0.2.1", held.getsockname()[1])


@linux
def test_another_address_or_port_is_not_in_the_way() -> None:
    with listener("127.0.0.1") as held:
        port = held.getsockname()[1]
        assert who_listens("127.0.0.2", port) is None
        assert who_listens("::1", port) is None
    assert who_listens("127.0.0.1", port) is None


@linux
@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_an_ipv6_listener_is_found_too() -> None:
    with listener("::1", socket.AF_INET6) as held:
        port = held.getsockname()[1]
        assert who_listens("::1", port)
        assert who_listens("0:0:0:0:0:0:0:1", port)
        assert who_listens("127.0.0.1", port) is None


def proc(tmp_path: Path, line: str) -> Path:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text("  sl  local_address rem_address   st ...\n" + line + "\n")
    return tmp_path


@linux
def test_a_listener_of_another_user_is_named_by_that_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = "0100007F" if sys.byteorder == "little" else "7F000001"
    line = f"0: {local}:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4711 1"
    monkeypatch.setattr(bind_errors, "_PROC", proc(tmp_path, line))
    assert who_listens("127.0.0.1", 8080) == "a process of user root"


@linux
def test_a_connection_on_the_port_is_no_listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = "0: 0100007F:1F90 0100007F:1234 01 00000000:00000000 00:00000000 00000000 0 0 4711 1"
    monkeypatch.setattr(bind_errors, "_PROC", proc(tmp_path, line))
    assert who_listens("127.0.0.1", 8080) is None


def test_where_there_is_no_proc_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bind_errors, "_PROC", tmp_path / "none")
    with listener("127.0.0.1") as held:
        assert who_listens("127.0.0.1", held.getsockname()[1]) is None


TCP = TcpAddress("127.0.0.1", 80)


@pytest.mark.parametrize(
    ("address", "error", "words"),
    [
        (
            TcpAddress("192.0.2.1", 80),
            OSError(errno.EADDRNOTAVAIL, "x"),
            "no interface of this machine has that address",
        ),
        (TCP, OSError(errno.EACCES, "x"), "permission denied; ports below"),
        (TcpAddress("nowhere.invalid", 80), socket.gaierror(-2, "Name not known"), "the host 'nowhere.invalid' has no"),
        (UnixAddress("/no/x"), OSError(errno.ENOENT, "No such file"), "the directory of the socket must exist"),
        (UnixAddress("/no/x"), OSError(errno.EADDRINUSE, "x"), "in use by another process"),
        (FdAddress(9), OSError(errno.EBADF, "Bad file descriptor"), "cannot listen on fd://9: Bad file descriptor"),
    ],
)
def test_a_bind_error_names_the_address_and_the_mend(address: Address, error: OSError, words: str) -> None:
    failure = bind_error(address, error)
    assert str(failure).startswith(f"cannot listen on {address}: ")
    assert words in str(failure)
    assert failure.errno == error.errno
    assert isinstance(failure, (BindError, GreenserveError, OSError))


@linux
def test_a_port_in_use_names_its_holder() -> None:
    with listener("127.0.0.1") as held:
        address = TcpAddress("127.0.0.1", held.getsockname()[1])
        with pytest.raises(OSError) as caught:
            listener_at(address)
        assert f"in use by pid {os.getpid()} (" in str(bind_error(address, caught.value))


def listener_at(address: TcpAddress) -> None:
    with socket.socket() as probe:
        probe.bind((address.host, address.port))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("file", "is a file, not a socket, and is left as it is; remove it, or name another path"),
        (".", "is a directory; name the socket in it: --bind unix:"),
        ("none/socket", "/none does not exist"),
        ("file/socket", "/file is not a directory"),
        ("dangling", "is a symbolic link to nothing"),
    ],
)
def test_a_path_where_no_socket_can_be_made_is_described(tmp_path: Path, path: str, words: str) -> None:
    (tmp_path / "file").write_text("precious")
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    with pytest.raises(BindError, match=words):
        open_listener(UnixAddress(str(tmp_path / path)), 1)
    assert (tmp_path / "file").read_text() == "precious"


def test_of_two_that_have_bound_a_port_the_first_to_listen_has_it(free_port: int) -> None:
    address = TcpAddress("127.0.0.1", free_port)
    with closing(bind_listener(address)) as one, closing(bind_listener(address)) as two:
        with socket.socket() as client:
            assert client.connect_ex(("127.0.0.1", free_port)) == errno.ECONNREFUSED
        start_listening(one, address, 1)
        start_listening(one, address, 1)
        with pytest.raises(BindError, match=f"cannot listen on 127.0.0.1:{free_port}: .*pid {os.getpid()}"):
            start_listening(two, address, 1)
