"""Binding a Unix-domain socket: nothing is removed but what is stale, and only those connect who may."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from contextlib import closing
from socket import AF_UNIX, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM, socket

import pytest

from greenserve import net
from greenserve.errors import BindError
from greenserve.net.listener import open_listener
from greenserve.net.unix_path import is_there, remove
from greenserve.net.unix_socket import bind
from greenserve.settings import Access, FdAddress, UnixAddress

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root")


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "socket")


def a_file(path):
    with open(path, "w") as file:
        file.write("precious")


def a_link_to_a_stale_socket(path):
    a_stale_socket(path + ".target")
    os.symlink(path + ".target", path)


def a_stale_socket(path):
    with socket(AF_UNIX) as sock:
        sock.bind(path)


def a_socket_of_kind(kind):
    def make(path):
        sock = socket(AF_UNIX, kind)
        sock.bind(path)
        if kind != SOCK_DGRAM:
            sock.listen(1)
        return sock

    return make


def a_full_listener(path):
    sock = socket(AF_UNIX)
    sock.bind(path)
    sock.listen(0)
    clients = [socket(AF_UNIX) for _ in range(3)]
    for client in clients:
        client.setblocking(False)
        client.connect_ex(path)
    return [sock, *clients]


THERE = {
    "a file": a_file,
    "a directory": os.mkdir,
    "a FIFO": os.mkfifo,
    "a link to a stale socket": a_link_to_a_stale_socket,
    "a link to nothing": lambda path: os.symlink("nothing", path),
    "a listener": a_socket_of_kind(SOCK_STREAM),
    "a listener whose queue is full": a_full_listener,
    "a datagram socket": a_socket_of_kind(SOCK_DGRAM),
    "a listener for packets": a_socket_of_kind(SOCK_SEQPACKET),
}


@pytest.mark.parametrize("how", ["the server", "net.listen"])
@pytest.mark.parametrize("there", THERE)
def test_what_is_no_stale_socket_is_left_as_it_is(path, there, how):
    kept = THERE[there](path)
    before = os.lstat(path)
    with pytest.raises(BindError) as caught:
        open_listener(UnixAddress(path), 1) if how == "the server" else net.listen(path)
    assert caught.value.errno == errno.EADDRINUSE
    assert os.lstat(path).st_ino == before.st_ino
    for sock in kept if isinstance(kept, list) else [kept] if isinstance(kept, socket) else []:
        sock.close()


def test_a_live_socket_is_refused_and_its_process_is_named(path):
    kept = a_socket_of_kind(SOCK_STREAM)(path)
    with closing(kept), pytest.raises(BindError, match=rf"in use by pid {os.getpid()} \(.*choose another address"):
        open_listener(UnixAddress(path), 1)
    with pytest.raises(BindError, match="remove it, or name another path"):
        open_listener(UnixAddress(__file__), 1)


@pytest.mark.parametrize("how", ["the server", "net.listen"])
def test_a_stale_socket_is_replaced(path, how):
    a_stale_socket(path)
    listener = open_listener(UnixAddress(path), 1) if how == "the server" else net.listen(path)
    with closing(listener), socket(AF_UNIX) as client:
        client.connect(path)


def test_only_ones_own_path_is_removed(path):
    with socket(AF_UNIX) as ours, socket(AF_UNIX) as theirs:
        made = bind(ours, path)
        assert is_there(path, made)
        os.unlink(path)
        theirs.bind(path)
        assert not is_there(path, made)
        remove(path, made)
        assert os.path.exists(path)


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666, 0o777, 0o007])
@pytest.mark.parametrize("umask", [0o022, 0o077, 0])
def test_a_mode_holds_whatever_the_umask(path, mode, umask):
    before = os.umask(umask)
    try:
        with closing(open_listener(UnixAddress(path), 1, Access(mode))):
            assert stat.S_IMODE(os.stat(path).st_mode) == mode
        assert os.umask(umask) == umask
    finally:
        os.umask(before)


def test_an_addresss_own_mode_and_group_win_over_those_of_all(path):
    address = UnixAddress(path, Access(mode=0o606, group=str(os.getegid())))
    with closing(open_listener(address, 1, Access(mode=0o660, group="no-such-group"))):
        there = os.stat(path)
        assert (stat.S_IMODE(there.st_mode), there.st_gid) == (0o606, os.getegid())
    with pytest.raises(BindError, match="no group"):
        open_listener(UnixAddress(path, Access(mode=0o606)), 1, Access(group="no-such-group"))


def test_without_a_mode_the_umask_decides(path):
    before = os.umask(0o027)
    try:
        with closing(open_listener(UnixAddress(path), 1)):
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o750
    finally:
        os.umask(before)


class Watched(socket):
    """Says what the path was like when connecting became possible."""

    def listen(self, backlog):
        there = os.stat(self.getsockname())
        self.at_listen = stat.S_IMODE(there.st_mode), there.st_gid
        super().listen(backlog)


def test_nobody_can_connect_before_mode_and_group_hold(path):
    with Watched(AF_UNIX) as sock, socket(AF_UNIX) as early:
        bind(sock, path, Access(0o600, group=str(os.getegid())))
        with pytest.raises(ConnectionRefusedError):
            early.connect(path)
        sock.listen(1)
        assert sock.at_listen == (0o600, os.getegid())


@as_root
def test_root_may_give_a_socket_to_others(path):
    nobody, group = pwd.getpwnam("nobody"), grp.getgrall()[-1]
    with closing(open_listener(UnixAddress(path), 1, Access(0o660, "nobody", group.gr_name))):
        there = os.stat(path)
        assert (there.st_uid, there.st_gid) == (nobody.pw_uid, group.gr_gid)
    with closing(open_listener(UnixAddress(path), 1, Access(None, "12345", "54321"))):
        there = os.stat(path)
        assert (there.st_uid, there.st_gid) == (12345, 54321)


@pytest.mark.parametrize(
    ("access", "words"),
    [
        (Access(user="no-such-user"), "this machine has no user 'no-such-user'"),
        (Access(group="no-such-group"), "this machine has no group 'no-such-group'"),
    ],
)
def test_a_name_that_is_not_known_is_named_and_leaves_nothing(path, access, words):
    with pytest.raises(BindError, match=words):
        open_listener(UnixAddress(path), 1, access)
    assert not os.path.exists(path)


def test_who_may_not_give_a_socket_away_is_told(path, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    with pytest.raises(BindError, match="only root may give a socket"):
        open_listener(UnixAddress(path), 1, Access(group=str(os.getegid())))
    assert not os.path.exists(path)


def test_an_inherited_socket_stays_as_it_is(path):
    with socket(AF_UNIX) as sock:
        sock.bind(path)
        sock.listen(1)
        os.chmod(path, 0o604)
        open_listener(FdAddress(sock.fileno()), 1, Access(0o666, group="1234")).close()
        there = os.stat(path)
        assert stat.S_IMODE(there.st_mode) == 0o604
        assert there.st_gid == os.getegid()
