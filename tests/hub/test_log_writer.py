"""Log text that waits for its descriptor: nothing waits for it, nothing is torn, and what is lost is counted."""

from __future__ import annotations

import errno
import os
import threading
import time

import pytest

from greenserve.hub.core import log_writer
from greenserve.hub.core.log_writer import LogWriter
from tests.hub.support import run
from tests.waiting import until_blocking


@pytest.fixture
def pipe():
    """A pipe that is full already: reader, writer's descriptor, and what fills it."""
    reader, end = os.pipe()
    os.set_blocking(end, False)
    filler = 0
    try:
        while True:
            filler += os.write(end, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(end, True)
    yield reader, end, filler
    os.close(reader)


def read(fd, count):
    data = b""
    while len(data) < count:
        piece = os.read(fd, count - len(data))
        assert piece, "the other end is closed"
        data += piece
    return data


def lines(count, start=0):
    return [b"line %07d\n" % number for number in range(start, start + count)]


def test_lines_are_written_in_their_order(tmp_path):
    path = tmp_path / "log"
    writer = LogWriter(str(path))
    for line in lines(10_000):
        writer.put(line)
    writer.close()
    assert path.read_bytes() == b"".join(lines(10_000))
    assert (writer.dropped, writer.error) == (0, None)


def test_a_full_pipe_holds_up_nobody_and_loses_nothing(pipe):
    reader, end, filler = pipe
    writer = LogWriter(end)
    for line in lines(1000):
        writer.put(line)
        writer.put_at_once(line.upper())
    expected = b"".join(line + line.upper() for line in lines(1000))
    assert read(reader, filler + len(expected))[filler:] == expected
    writer.close()
    assert writer.dropped == 0


def test_what_finds_the_queue_full_is_counted_and_told(pipe):
    reader, end, filler = pipe
    told = []
    writer = LogWriter(end, 1000, told.append)
    for line in lines(300):
        writer.put(line)
    left = b"".join(lines(76))  # 13 bytes each
    assert writer.dropped == 224
    assert told == []
    assert read(reader, filler + len(left))[filler:] == left
    assert writer.flush()
    assert told == [224]
    writer.put(b"later\n")
    assert read(reader, 6) == b"later\n"
    writer.close()
    assert told == [224]


def test_closing_waits_for_a_stuck_reader_no_longer_than_it_is_told(pipe):
    reader, end, _filler = pipe
    writer = LogWriter(end)
    writer.put(b"first\n")
    writer.put(b"second\n")
    begun = time.monotonic()
    assert not writer.flush(0.05)
    writer.close(0.05)
    assert time.monotonic() - begun < 5
    writer.put(b"too late\n")
    assert writer.dropped == 3
    while os.read(reader, 65536):  # until the OS thread, no longer stuck, has closed it
        pass


def test_a_descriptor_that_is_non_blocking_is_waited_for(pipe):
    reader, end, filler = pipe
    os.set_blocking(end, False)
    writer = LogWriter(end)
    writer.put(b"line\n")
    assert not writer.flush(0.05)
    assert read(reader, filler + 5)[filler:] == b"line\n"
    writer.close()


class Disk:
    """Stands for write(2) on a disk with `room` bytes."""

    def __init__(self, room):
        self.room = room
        self.failed = threading.Event()

    def write(self, fd, data):
        if self.room <= 0:
            self.failed.set()
            raise OSError(errno.ENOSPC, "No space left on device")
        count = os.write(fd, data[: self.room])
        self.room -= count
        return count


@pytest.fixture
def disk(monkeypatch):
    disk = Disk(1 << 30)
    monkeypatch.setattr(log_writer, "write", disk.write)
    monkeypatch.setattr(log_writer, "RETRY_SECONDS", 0.01)
    return disk


def test_a_line_that_a_full_disk_has_cut_is_completed_when_there_is_room(tmp_path, disk):
    path = tmp_path / "log"
    writer = LogWriter(str(path))
    disk.room = 4
    writer.put(b"first line\n")
    writer.put(b"second line\n")
    assert disk.failed.wait(10)
    writer.put_at_once(b"third line\n")
    assert path.read_bytes() == b"firs"
    disk.room = 1 << 20
    until_blocking(writer.flush)
    writer.close()
    assert path.read_bytes() == b"first line\nsecond line\nthird line\n"
    assert (writer.dropped, writer.error) == (0, None)


def test_what_is_put_at_once_and_cut_by_a_full_disk_goes_on_where_it_was_cut(tmp_path, disk):
    path = tmp_path / "log"
    writer = LogWriter(str(path))
    disk.room = 4
    writer.put_at_once(b"first line\n")
    assert path.read_bytes() == b"firs"
    assert disk.failed.wait(10)
    disk.room = 1 << 20
    until_blocking(writer.flush)
    writer.close()
    assert path.read_bytes() == b"first line\n"


def test_a_cut_line_begins_anew_in_the_file_that_takes_the_place_of_a_rotated_one(tmp_path, disk):
    path = tmp_path / "log"
    writer = LogWriter(str(path))
    disk.room = 15
    for line in (b"first line\n", b"second line\n", b"third line\n"):
        writer.put(line)
    assert disk.failed.wait(10)
    path.rename(tmp_path / "log.1")
    disk.room = 1 << 20
    until_blocking(writer.flush)
    writer.close()
    assert (tmp_path / "log.1").read_bytes() == b"first line\nseco"
    assert path.read_bytes() == b"second line\nthird line\n"


def test_a_file_that_ends_within_a_line_is_gone_on_with_on_a_new_one(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"cut by a full di")
    for line in (b"first\n", b"second\n"):
        writer = LogWriter(str(path))
        writer.put(line)
        writer.close()
    assert path.read_bytes() == b"cut by a full di\nfirst\nsecond\n"


def test_a_full_disk_costs_what_the_limit_does_not_hold(disk, tmp_path):
    path = tmp_path / "log"
    writer = LogWriter(str(path), 130)
    disk.room = 0
    for line in lines(20):
        writer.put(line)
    assert disk.failed.wait(10)
    assert writer.dropped == 10
    writer.close(0)
    assert writer.dropped == 20
    assert isinstance(writer.error, OSError)


@pytest.mark.parametrize("loss", ["renamed", "removed", "directory removed"])
def test_a_file_that_is_gone_is_made_again(tmp_path, monkeypatch, loss):
    monkeypatch.setattr(log_writer, "RETRY_SECONDS", 0.01)
    directory = tmp_path / "logs"
    directory.mkdir()
    path = directory / "log"
    writer = LogWriter(str(path))
    writer.put(b"first\n")
    assert writer.flush(10)
    if loss == "renamed":
        path.rename(tmp_path / "old")
        assert (tmp_path / "old").read_bytes() == b"first\n"
    else:
        path.unlink()
    if loss == "directory removed":
        directory.rmdir()
    writer.put(b"second\n")
    if loss == "directory removed":
        until_blocking(lambda: isinstance(writer.error, FileNotFoundError))
        directory.mkdir()
        until_blocking(writer.flush)
    writer.close()
    assert path.read_bytes() == b"second\n"


def test_a_file_that_was_renamed_is_made_again_without_a_line_when_that_is_asked_for(tmp_path):
    path = tmp_path / "log"
    writer = LogWriter(str(path))
    path.rename(tmp_path / "old")
    writer.reopen()
    assert writer.flush(10)
    assert path.read_bytes() == b""
    writer.close()


def test_a_fifo_that_nobody_reads_yet_is_opened(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    writer = LogWriter(str(path))
    writer.put(b"line\n")
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    assert writer.flush(10)
    assert os.read(reader, 100) == b"line\n"
    writer.close()
    os.close(reader)


def test_a_forked_child_writes_only_what_is_its_own():
    done = run(
        """
        import os
        from greenserve.hub.core.log_writer import standard_error
        standard_error.put(b"parent\\n")
        pid = os.fork()
        if not pid:
            standard_error.put(b"child\\n")
            standard_error.flush()
            os._exit(0)
        os.waitpid(pid, 0)
    """.replace("import os\n", "import os, warnings; warnings.simplefilter('ignore')\n")
    )
    assert sorted(done.stderr.splitlines()) == ["child", "parent"]


def test_the_end_of_the_process_writes_what_waits():
    done = run("""
        from greenserve.hub.core.log_writer import standard_error
        for number in range(1000):
            standard_error.put(b"%d\\n" % number)
    """)
    assert done.stderr.splitlines() == [str(number) for number in range(1000)]


def test_a_writer_at_work_gives_no_hope_to_who_waits_for_ever():
    """The OS thread that waits for a reader resumes nobody: a deadlock is one all the same."""
    done = run("""
        import os, greenserve
        from greenserve.errors import Deadlock
        from greenserve.hub.core.log_writer import LogWriter
        reader, end = os.pipe()
        LogWriter(end).put(b"x" * 100_000)
        try:
            greenserve.Event().wait()
        except Deadlock:
            print("deadlock")
    """)
    assert done.stdout == "deadlock\n"


def test_a_dying_green_threads_traceback_waits_for_nobody():
    """Standard error is a pipe that is full and that nobody reads: the others go on, and the process ends."""
    done = run(
        """
        import os, sys, time, greenserve
        reader, end = os.pipe()
        os.set_blocking(end, False)
        try:
            while True:
                os.write(end, b"x" * 4096)
        except BlockingIOError:
            os.set_blocking(end, True)
        os.dup2(end, 2)

        def fail():
            raise RuntimeError("nobody will read this")

        for _ in range(100):
            greenserve.spawn(fail)
        greenserve.sleep(0.01)
        print("alive")
        """,
        timeout=20,
    )
    assert done.stdout == "alive\n"


def test_a_fifo_whose_reader_goes_and_comes_again(tmp_path, monkeypatch):
    monkeypatch.setattr(log_writer, "RETRY_SECONDS", 0.01)
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = LogWriter(str(path))
    writer.put(b"first\n")
    assert writer.flush(10)
    assert os.read(reader, 100) == b"first\n"
    os.close(reader)
    writer.put(b"second\n")
    until_blocking(lambda: isinstance(writer.error, BrokenPipeError))
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    until_blocking(writer.flush)
    assert os.read(reader, 100) == b"second\n"
    writer.close()
    os.close(reader)


def test_what_is_given_up_at_the_end_is_told(pipe):
    _, end, _ = pipe
    told = []
    writer = LogWriter(end, tell=told.append)
    for line in lines(10):
        writer.put(line)
    assert not writer.flush(0.05)
    writer.give_up()
    assert sum(told) >= 9  # the first may be under way
