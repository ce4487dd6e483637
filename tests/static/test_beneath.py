"""Nothing outside a directory is ever opened."""

from __future__ import annotations

import errno
import os
import socket
import threading
from pathlib import Path

import pytest

from greenserve.static.beneath import open_beneath
from tests.static.support import Site, write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, "outside/secret", b"secret")
    write(tmp_path, "root/file", b"file")
    write(tmp_path, "root/a/b/file", b"deep")
    return tmp_path / "root"


def read(root: Path, path: str) -> bytes:
    fd = open_beneath(os.fsencode(root), [os.fsencode(name) for name in path.split("/")])
    try:
        return os.read(fd, 100)
    finally:
        os.close(fd)


def test_a_file_at_any_depth(root):
    assert (read(root, "file"), read(root, "a/b/file")) == (b"file", b"deep")


@pytest.mark.parametrize(
    ("link", "target", "path"),
    [
        ("link", "file", "link"),
        ("link", "a/b/file", "link"),
        ("a/link", "../file", "a/link"),
        ("a/b/link", "../../a/../file", "a/b/link"),
        ("link", "a/b", "link/file"),
        ("link", "./a//b/", "link/file"),
        ("a/up", "..", "a/up/file"),
        ("a/here", ".", "a/here/b/file"),
        ("link", "{root}/a/b/file", "link"),
        ("link", "{root}/a", "link/b/file"),
        ("link", "{root}", "link/file"),
        ("a/link", "{root}/a/b/../b", "a/link/file"),
    ],
)
def test_a_link_leads_anywhere_beneath(root, link, target, path):
    (root / link).symlink_to(target.format(root=root))
    assert read(root, path) == (root / path).read_bytes()


def test_links_as_kubernetes_makes_them_lead_through_hidden_directories(root):
    """A volume's files are links through `..data`, which is swapped when they change."""
    write(root, "..2026_11_27/app.js", b"new")
    (root / "..data").symlink_to("..2026_11_27")
    (root / "app.js").symlink_to("..data/app.js")
    assert Site(f"/={root}").ask("/app.js").body == b"new"
    assert Site(f"/={root}").ask("/..data/app.js").is_the_applications


def test_the_directory_itself_may_be_a_link(root):
    other = root.parent / "current"
    other.symlink_to(root)
    (root / "link").symlink_to(root / "a/b/file")  # with the directory's real name
    (root / "second").symlink_to(other / "file")
    assert (read(other, "link"), read(other, "second")) == (b"deep", b"file")


@pytest.mark.parametrize(
    ("link", "target", "path"),
    [
        ("link", "../outside/secret", "link"),
        ("link", "../outside", "link/secret"),
        ("a/link", "../../outside/secret", "a/link"),
        ("link", "..", "link/outside/secret"),
        ("link", "{outside}/secret", "link"),
        ("link", "{root}/../outside/secret", "link"),
        ("link", "/", "link/etc/passwd"),
        ("link", "/proc/self/cwd", "link"),
        ("link", "{root}ed/secret", "link"),
        ("link", "a/../../root/file", "link"),  # back again, but by the parent
    ],
)
def test_a_link_leads_nowhere_else(root, link, target, path):
    write(root.parent, "rooted/secret", b"secret")
    (root / link).symlink_to(target.format(root=root, outside=root.parent / "outside"))
    with pytest.raises(OSError, match="leads out of the directory") as caught:
        read(root, path)
    assert caught.value.errno == errno.EXDEV
    assert Site(f"/={root}").ask(f"/{path}").is_the_applications


def test_links_in_a_circle_end(root):
    (root / "one").symlink_to("two")
    (root / "two").symlink_to("one")
    (root / "self").symlink_to("self/self/self/self")
    for path in ("one", "two/file", "self"):
        with pytest.raises(OSError, match=r"symbolic links|Not a directory"):
            read(root, path)
        assert Site(f"/={root}").ask(f"/{path}").is_the_applications


def test_many_names_hold_few_descriptors(root, monkeypatch):
    (root / "here").symlink_to(".")
    held, most = set(), 0
    original_open, original_close = os.open, os.close

    def open_counted(*args, **kwargs):
        nonlocal most
        fd = original_open(*args, **kwargs)
        held.add(fd)
        most = max(most, len(held))
        return fd

    def close_counted(fd):
        held.discard(fd)
        original_close(fd)

    monkeypatch.setattr(os, "open", open_counted)
    monkeypatch.setattr(os, "close", close_counted)
    assert read(root, "/".join(["here"] * 39 + ["file"])) == b"file"
    assert (most, held) == (1, set())
    with pytest.raises(OSError, match=r"symbolic links|Not a directory"):
        read(root, "/".join(["here"] * 41 + ["file"]))
    assert not held


def test_a_fifo_a_socket_and_a_device_are_not_waited_for(root):
    """Opening a FIFO without a writer blocks for ever where it is not asked not to."""
    os.mkfifo(root / "fifo")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(root / "socket"))
    server.close()
    site = Site(f"/={root}")
    for name in ("fifo", "socket"):
        assert site.ask(f"/{name}").is_the_applications
    assert Site("/=/dev").ask("/null").is_the_applications
    assert Site("/=/dev").ask("/tty").is_the_applications


def test_what_changes_meanwhile_leads_nowhere_else(root):
    """A directory that is swapped for a link to the outside, again and again, while it is read."""
    target, spare = root / "a", root / "spare"
    write(root, "a/secret", b"public")
    (root / "out").symlink_to("../outside")
    done = threading.Event()

    def swap():
        while not done.is_set():
            target.rename(spare)
            (root / "out").rename(target)
            target.rename(root / "out")
            spare.rename(target)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        found = set()
        for _ in range(3000):
            try:
                found.add(read(root, "a/secret"))
            except OSError as error:
                found.add(error.errno)
    finally:
        done.set()
        thread.join()
    assert found <= {b"public", errno.ENOENT, errno.EXDEV, errno.EINVAL}
    assert b"public" in found


def test_a_directory_that_is_moved_away_while_it_is_walked_leads_nowhere(root, monkeypatch):
    """ ".." of a link's target goes back to the directory that was walked, not to the parent it has by then."""
    (root / "a/b/up").symlink_to("../../file")
    original = os.readlink

    def moved_first(name, *, dir_fd):
        (root / "a/b").rename(root.parent / "outside/b")
        write(root.parent, "file", b"not to be seen")
        return original(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "readlink", moved_first)
    assert read(root, "a/b/up") == b"file"
