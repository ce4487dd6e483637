"""Green children and pipes."""

from __future__ import annotations

import os as real_os
import signal
import subprocess as real_subprocess
import sys

import pytest

from greenserve.green import os, subprocess
from greenserve.hub import Timeout, sleep, spawn, threadpool


def test_run_waits_while_others_run():
    done = spawn(subprocess.run, ["sh", "-c", "read line; echo $line"], input=b"hello\n", capture_output=True)
    sleep(0)
    assert not done.dead
    assert done.wait().stdout == b"hello\n"


def test_communicate_moves_more_than_a_pipe_holds():
    data = bytes(1_000_000)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.communicate(data, timeout=30)[0] == data


def test_pipes_are_files():
    with subprocess.Popen(
        ["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, encoding="utf-8"
    ) as process:
        reader = spawn(process.stdout.readline)
        sleep(0)
        process.stdin.write("line\n")
        assert reader.wait() == "line\n"
        process.stdin.close()
        assert process.stdout.read() == ""


def test_one_childs_output_is_anothers_input():
    with subprocess.Popen(["sh", "-c", "sleep 0.02; echo b; echo a"], stdout=subprocess.PIPE) as first:
        assert real_os.get_blocking(first.stdout.fileno())
        assert subprocess.check_output(["sort"], stdin=first.stdout) == b"a\nb\n"


def test_a_timeout_is_the_real_modules():
    with pytest.raises(real_subprocess.TimeoutExpired):
        subprocess.run(["sleep", "100"], timeout=0.02)
    process = subprocess.Popen(["sleep", "100"])
    with pytest.raises(real_subprocess.TimeoutExpired):
        process.wait(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL


def test_errors_are_the_real_modules():
    with pytest.raises(real_subprocess.CalledProcessError):
        subprocess.check_call([sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(FileNotFoundError):
        subprocess.Popen(["/no/such/program"])


def test_several_may_wait_for_one_child():
    process = subprocess.Popen(["sh", "-c", "sleep 0.02; exit 7"])
    waiters = [spawn(process.wait) for _ in range(3)]
    assert [waiter.wait() for waiter in waiters] == [7, 7, 7]


@pytest.mark.parametrize("how", ["pid", "any", "group", "wait"])
def test_children_are_awaited_without_blocking(how):
    child = real_os.posix_spawn("/bin/sh", ["sh", "-c", "sleep 0.02; exit 5"], real_os.environ)
    waiter = {
        "pid": lambda: os.waitpid(child, 0),
        "any": lambda: os.waitpid(-1, 0),
        "group": lambda: os.waitpid(0, 0),
        "wait": os.wait,
    }[how]
    waiting = spawn(waiter)
    sleep(0)
    assert not waiting.dead
    pid, status = waiting.wait()
    assert (pid, real_os.waitstatus_to_exitcode(status)) == (child, 5)


def test_a_child_that_is_none_is_an_error():
    with pytest.raises(ChildProcessError):
        os.waitpid(1, 0)


def test_a_killed_waiter_leaves_the_status_to_the_next():
    child = real_os.posix_spawn("/bin/sh", ["sh", "-c", "sleep 0.05; exit 5"], real_os.environ)
    waiting = spawn(os.waitpid, -1, 0)
    sleep(0)
    waiting.kill()
    assert os.waitpid(child, 0)[0] == child


def test_waitid_and_wait4():
    child = real_os.posix_spawn("/bin/sh", ["sh", "-c", "exit 6"], real_os.environ)
    assert os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT).si_status == 6
    pid, status, usage = os.wait4(child, 0)
    assert (pid, real_os.waitstatus_to_exitcode(status)) == (child, 6)
    assert usage.ru_maxrss >= 0


def test_a_pipe_keeps_its_flags_and_blocks_only_its_reader():
    read_fd, write_fd = real_os.pipe()
    reader = spawn(os.read, read_fd, 100)
    sleep(0)
    assert not reader.dead
    assert os.write(write_fd, b"late") == 4
    assert reader.wait() == b"late"
    assert real_os.get_blocking(read_fd)
    assert real_os.get_blocking(write_fd)
    real_os.close(read_fd)
    real_os.close(write_fd)


def test_several_may_read_from_one_pipe_or_write_to_it():
    """As OS threads may: none is refused, and nothing is lost."""
    read_fd, write_fd = real_os.pipe()
    readers = [spawn(os.read, read_fd, 1) for _ in range(3)]
    sleep(0)
    assert os.write(write_fd, b"abc") == 3
    assert sorted(reader.wait() for reader in readers) == [b"a", b"b", b"c"]
    writers = [spawn(os.write, write_fd, bytes([65 + number]) * 200_000) for number in range(3)]
    sleep(0)
    got = b""
    while len(got) < 600_000:
        got += os.read(read_fd, 65536)
    assert [writer.wait() for writer in writers] == [200_000] * 3
    assert {letter: got.count(letter) for letter in (b"A", b"B", b"C")} == dict.fromkeys((b"A", b"B", b"C"), 200_000)
    real_os.close(read_fd)
    real_os.close(write_fd)


def test_the_wrong_end_of_a_pipe_is_an_error_at_once():
    read_fd, write_fd = real_os.pipe()
    for call in (
        lambda: os.write(read_fd, b"x"),
        lambda: os.read(write_fd, 1),
        lambda: os.readv(write_fd, [bytearray(1)]),
    ):
        with pytest.raises(OSError, match="Bad file descriptor"):
            call()
    real_os.close(read_fd)
    real_os.close(write_fd)


def test_a_long_write_blocks_only_its_writer():
    read_fd, write_fd = real_os.pipe()
    data = bytes(500_000)
    writer = spawn(os.write, write_fd, data)
    sleep(0)
    assert not writer.dead
    received = 0
    while received < len(data):
        received += len(os.read(read_fd, 65536))
    assert writer.wait() == len(data)
    real_os.close(read_fd)
    real_os.close(write_fd)


def test_a_non_blocking_descriptor_does_not_wait():
    read_fd, write_fd = real_os.pipe2(real_os.O_NONBLOCK)
    with pytest.raises(BlockingIOError):
        os.read(read_fd, 1)
    real_os.close(read_fd)
    real_os.close(write_fd)


def test_files_never_wait(tmp_path):
    path = tmp_path / "file"
    fd = real_os.open(path, real_os.O_RDWR | real_os.O_CREAT)
    assert os.write(fd, b"content") == 7
    real_os.lseek(fd, 0, 0)
    assert os.read(fd, 100) == b"content"
    real_os.close(fd)


@pytest.fixture
def child():
    with real_subprocess.Popen(["sleep", "60"], start_new_session=True) as child:
        yield child
        if child.returncode is None:
            child.kill()


@pytest.mark.parametrize(
    "wait",
    [lambda _: os.waitpid(-1, 0), lambda _: os.wait(), lambda child: os.waitpid(-child.pid, 0)],
    ids=["any", "wait", "group"],
)
def test_waits_for_any_child_that_are_given_up_take_one_thread_together(wait, child, monkeypatch):
    monkeypatch.setattr(os, "_children", threadpool.ThreadPool())
    monkeypatch.setattr(os, "_awaited", {})
    for _ in range(40):
        with Timeout(0.001, False):
            wait(child)
            pytest.fail("the child has ended")
    assert os._children.outstanding == os._children.threads == 1
    thread = spawn(wait, child)
    sleep()
    child.kill()
    assert thread.wait() == (child.pid, signal.SIGKILL)
    child.returncode = -signal.SIGKILL


def test_several_that_wait_for_any_child_get_one_each():
    children = [real_subprocess.Popen(["sleep", "0.05"]) for _ in range(3)]
    threads = [spawn(os.wait) for _ in range(3)]
    assert {thread.wait()[0] for thread in threads} == {child.pid for child in children}
    for child in children:
        child.returncode = 0
