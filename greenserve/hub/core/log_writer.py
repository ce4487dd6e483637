"""Log text for a descriptor whose reader may be slow, stuck or gone, written where it can hold up no green thread.

Strategy. `put` appends to a queue that is bounded in bytes. An OS thread takes what has gathered for some milliseconds
and writes it with few calls: so a line costs its hub less than a write(2) of its own would, and it is in the file that
much later. The thread begins with the first line and ends when there is nothing left.

Invariants. `put` neither blocks nor raises; what finds the queue full is dropped and counted. What is put at once is
written whole or, when the disk is full, waits for room: a line is never cut in two by another one. All primitives are
the interpreter's own, for patched ones would wait in a hub.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import stat
import weakref
from collections import deque
from collections.abc import Callable
from os import close, fstat, write  # captured: patching must not give these green twins
from select import POLLOUT, poll
from time import monotonic, sleep

from greenserve.hub.core.originals import RLock, allocate_lock, start_new_thread

LIMIT = 8 << 20  # bytes: at 40,000 lines a second a reader may pause for two seconds and lose nothing
GATHER_SECONDS = 0.01  # a hundred writes a second at the most; what dies with a killed process is no older
RETRY_SECONDS = 1.0  # after an error: a full disk may have room again
FLUSH_SECONDS = 1.0  # the longest that the end of a process waits for a stuck reader
PIPE_PIECE = (
    4096  # PIPE_BUF on Linux: lines of several processes do not mix in a pipe, and POLLOUT promises room for it
)
FILE_PIECE = 1 << 16

_writers: weakref.WeakSet[LogWriter] = weakref.WeakSet()


class LogWriter:
    """Writes to `target`: a descriptor, or the path of a file, which is made or appended to. Raises OSError.

    limit: bytes that may wait; an attribute, too. tell: called with the number of lines that were dropped, as soon as
    there is room again. A file that was renamed or removed is opened again by its path, so that log rotation needs no
    signal.
    """

    def __init__(self, target: int | str, limit: int = LIMIT, tell: Callable[[int], object] | None = None) -> None:
        self.dropped = 0  # lines
        self.error: Exception | None = None  # why what waits cannot be written just now
        self._path = target if isinstance(target, str) else None
        self._fd = target if isinstance(target, int) else _open(target)
        self.limit = limit
        self._tell = tell
        self._told = 0
        self._closed = False
        self._start_afresh()
        if self._path is not None and _is_cut(self._path):
            self.put(b"\n")
        _writers.add(self)

    def _start_afresh(self) -> None:
        """With nothing to write: in a forked child, where what waits is its parent's."""
        self._lock = RLock()  # reentrant: signal handlers and finalisers log
        self._pieces: deque[bytes] = deque()
        self._size = 0  # bytes in _pieces and _chunk that are not written
        self._chunk = b""  # what is being written
        self._written = 0  # bytes of it
        self._busy = False  # whether the OS thread is there
        self._idle = allocate_lock()  # held while it is

    def put(self, data: bytes) -> None:
        """Have `data`, one line or several, written soon."""
        size = len(data)
        with self._lock:
            if self._size + size > self.limit or self._closed:
                lines = data.count(b"\n") or 1
                self.dropped += lines
                return
            self._pieces.append(data)
            self._size += size
            if not self._busy:
                self._start()

    def put_at_once(self, data: bytes) -> None:
        """`put`; but what the descriptor takes without waiting is written before this returns.

        For what is rare, and should be there when the process dies in the next moment.
        """
        with self._lock:
            try:
                while data and not self._size and _takes_more(self._fd):
                    data = data[write(self._fd, data[:PIPE_PIECE]) :]
            except OSError:  # the OS thread will see it as well
                pass
            if data:
                self.put(data)

    def reopen(self) -> None:
        """Look now whether the file was renamed or removed."""
        with self._lock:
            if self._path is not None and not self._busy:
                self._start()

    def flush(self, seconds: float = FLUSH_SECONDS) -> bool:
        """Wait, with the whole OS thread, until everything is written; no longer than `seconds`, nor after an error.

        Returns whether everything is written.
        """
        if self.error is None and self._busy and self._idle.acquire(timeout=max(0.0, seconds)):
            self._idle.release()
        return not self._size

    def close(self, seconds: float = FLUSH_SECONDS) -> None:
        """Flush, give up what is left, and close the descriptor; where a reader is stuck, as soon as it is not."""
        self.flush(seconds)
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self.give_up()
            if not self._busy:
                self._close_descriptor()

    def give_up(self) -> None:
        """Drop what waits, except the line that is being written."""
        with self._lock:
            left = [self._chunk[self._written :], *self._pieces]
            lines = b"".join(left).count(b"\n")
            self.dropped += lines
            self._pieces.clear()
            self._size = len(left[0])
            self._tell_dropped()

    def _tell_dropped(self) -> None:
        dropped, self._told = self.dropped - self._told, self.dropped
        if dropped and self._tell is not None:
            self._tell(dropped)

    # -- in the OS thread

    def _start(self) -> None:
        self._busy = True
        self._idle.acquire()
        try:
            start_new_thread(self._work, ())
        except RuntimeError:  # no more OS threads, or the interpreter ends: the next line tries again
            self._stop()

    def _stop(self) -> None:
        self._busy = False
        self._idle.release()

    def _work(self) -> None:
        sleep(GATHER_SECONDS)
        while not self._try():
            pass

    def _try(self) -> bool:
        """Write what there is. Returns whether the OS thread has nothing left to do; waits before it says no."""
        pause = GATHER_SECONDS
        try:
            self._follow_rotation()
            while self._take():
                self._write()
            self.error = None
        except BlockingIOError:  # the owner of the descriptor has it non-blocking
            _takes_more(self._fd, 1000)
        except Exception as error:  # whatever it is: a thread that ended by it would never write again
            self.error = error
            pause = RETRY_SECONDS
        with self._lock:
            if not self._size or self._closed:
                if self._closed:
                    self._close_descriptor()
                self._stop()
                return True
        sleep(pause)
        return False

    def _take(self) -> bool:
        """Have something in `_chunk` that is not written. Returns whether there is."""
        if self._written < len(self._chunk):
            return True
        limit = FILE_PIECE if stat.S_ISREG(fstat(self._fd).st_mode) else PIPE_PIECE
        taken: list[bytes] = []
        with self._lock:
            while self._pieces and (not taken or len(self._pieces[0]) <= limit):
                taken.append(self._pieces.popleft())
                limit -= len(taken[-1])
            self._chunk, self._written = b"".join(taken), 0
        return bool(taken)

    def _write(self) -> None:
        count = write(self._fd, self._chunk[self._written :])
        with self._lock:
            self._written += count
            self._size -= count
            if self.dropped > self._told and self._size <= self.limit // 2:
                self._tell_dropped()

    def _follow_rotation(self) -> None:
        """Open the file again if its path means another one by now; a line that was cut there begins anew."""
        if self._path is None:
            return
        with contextlib.suppress(FileNotFoundError):
            there, ours = os.stat(self._path), fstat(self._fd)  # noqa: PTH116 - the original
            if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                return
        fresh = _open(self._path)
        with self._lock:
            self._close_descriptor()
            self._fd = fresh
            if self._written < len(self._chunk):
                begin = self._chunk.rfind(b"\n", 0, self._written) + 1
                self._size += self._written - begin
                self._written = begin

    def _close_descriptor(self) -> None:
        with contextlib.suppress(OSError):
            close(self._fd)


def threads() -> int:
    """How many OS threads write just now: they resume no thread, and the program did not start them."""
    return sum(writer._busy for writer in list(_writers))


def flush_all(seconds: float = FLUSH_SECONDS) -> None:
    """Before the process ends: write what waits, where that takes no longer than `seconds`; tell what is lost."""
    deadline = monotonic() + seconds
    for writer in sorted(_writers, key=lambda writer: writer is standard_error):  # to which the others tell
        if not writer.flush(deadline - monotonic()):
            writer.give_up()


def _open(path: str) -> int:
    flags = os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    if not _is(stat.S_ISFIFO, path):
        return os.open(path, os.O_WRONLY | flags, 0o644)
    try:  # without O_NONBLOCK opening a FIFO would wait for its reader (fifo(7))
        return os.open(path, os.O_WRONLY | os.O_NONBLOCK | flags)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | flags)  # not read yet: what is written waits there


def _is(kind: Callable[[int], bool], path: str) -> bool:
    try:
        return kind(os.stat(path).st_mode)  # noqa: PTH116 - in the hub, without its objects
    except OSError:
        return False


def _is_cut(path: str) -> bool:
    """Whether a file ends within a line, as one does whose writer died when the disk was full."""
    if not _is(stat.S_ISREG, path):
        return False
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - as above
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except OSError:  # empty, or not to be read
        return False


def _takes_more(fd: int, milliseconds: int = 0) -> bool:
    """Whether a descriptor takes PIPE_PIECE bytes without waiting: at once, or within some time."""
    poller = poll()
    poller.register(fd, POLLOUT)
    return any(events & POLLOUT for _, events in poller.poll(milliseconds))


def _start_all_afresh() -> None:
    for writer in list(_writers):
        writer._start_afresh()


atexit.register(flush_all)
os.register_at_fork(after_in_child=_start_all_afresh)


def dropped_notice(lines: int, what: str) -> bytes:
    """The line that says what was dropped."""
    return f"greenserve: {lines} lines of {what} were dropped: they could not be written fast enough\n".encode()


def _tell(lines: int) -> None:
    standard_error.put_at_once(dropped_notice(lines, "standard error"))


standard_error = LogWriter(2, tell=_tell)
