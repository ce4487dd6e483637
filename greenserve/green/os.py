"""Green `os`: waiting for children, and reading and writing pipes.

Strategy: a child is awaited by its pidfd, which becomes readable when it ends; where there is none, by an OS thread
that looks without reaping. A descriptor's flags are never changed, since it may be shared with other processes: before
a read or a write that could block we wait until it would not, and write no more at a time than a pipe takes at once.
Files never block in this sense.
"""

from __future__ import annotations

import errno as _errno
import fcntl as _fcntl
import os as _original
import select as _select
import stat as _stat
from collections.abc import Callable as _Callable
from typing import Any

from greenlet import getcurrent as _getcurrent

from greenserve.errors import AlreadyWaiting as _AlreadyWaiting
from greenserve.green.fcntl import lock_file as _lock_file
from greenserve.hub import threadpool as _threadpool
from greenserve.hub.core.busy_wait import relax as _relax
from greenserve.hub.core.greenlets import Loop as _Loop
from greenserve.hub.core.hub import hub_here as _hub_here
from greenserve.hub.core.hub import running as _running
from greenserve.patching.rebind import complete

_read = _original.read
_write = _original.write
_readv = _original.readv
_system = _original.system
_lockf = _original.lockf
_waitpid = _original.waitpid
_wait4 = _original.wait4
_waitid: Any = getattr(_original, "waitid", None)
_pidfd_open: Any = getattr(_original, "pidfd_open", None)
_poll = _select.poll

# Of their own, for one waits until a child has ended, however soon its caller has left. As many as there are different
# questions: any child, one of a group, and where there is no pidfd a certain one.
_children = _threadpool.ThreadPool(256, "greenserve-child")
_awaited: dict[tuple[Any, int, int], _threadpool.Call[Any]] = {}


# -- children


def system(command: Any) -> int:
    """As `os.system`; only the calling green thread waits."""
    if _hub_here() is None:
        return _system(command)
    return _threadpool.execute(_system, command)


def waitpid(pid: int, options: int, /) -> tuple[int, int]:
    """As `os.waitpid`; only the calling green thread waits."""
    found: tuple[int, int] = _reap(_waitpid, wait_for_child, options, pid)
    return found


def wait() -> tuple[int, int]:
    """As `os.wait`; only the calling green thread waits."""
    return waitpid(-1, 0)


def wait3(options: int) -> Any:
    """As `os.wait3`; only the calling green thread waits."""
    return wait4(-1, options)


def wait4(pid: int, options: int) -> Any:
    """As `os.wait4`; only the calling green thread waits."""
    return _reap(_wait4, wait_for_child, options, pid)


def waitid(idtype: Any, ident: int, options: int, /) -> Any:
    """As `os.waitid`; only the calling green thread waits."""
    return _reap(_waitid, lambda kind, number: _wait_elsewhere(kind, number, options), options, idtype, ident)


def _reap(ask: _Callable[..., Any], wait: _Callable[..., None], options: int, *which: Any) -> Any:
    """What `ask(*which, options)` says, which blocks unless WNOHANG is among the options: `wait(*which)` does, here.

    A child's pid is the answer's first item; of no child it is 0, or the answer is None.
    """
    while not ((found := ask(*which, options | _original.WNOHANG)) and found[0]):
        if options & _original.WNOHANG:
            return ask(*which, options) if _relax() else found
        wait(*which)
    return found


def wait_for_child(pid: int, deadline: float | None = None) -> None:
    """Park until a child (a pid, or -1, 0, or a negated group: as for waitpid) has ended, without reaping it.

    deadline: absolute monotonic seconds. Raises TimeoutError; ChildProcessError when there is no such child.
    """
    if pid > 0 and _pidfd_open is not None:
        try:
            fd = _pidfd_open(pid)
        except ProcessLookupError:
            raise ChildProcessError(_errno.ECHILD, _original.strerror(_errno.ECHILD)) from None
        except OSError:  # a kernel before 5.3
            pass
        else:
            io = _running().hub.io
            descriptor = io.register(fd)
            try:
                io.wait_read(descriptor, deadline)
            finally:
                io.unregister(descriptor)
                _original.close(fd)
            return
    kinds = {-1: (_original.P_ALL, 0), 0: (_original.P_PGID, _original.getpgrp())}
    kind, ident = kinds.get(pid) or ((_original.P_PID, pid) if pid > 0 else (_original.P_PGID, -pid))
    _wait_elsewhere(kind, ident, _original.WEXITED, deadline)


def _wait_elsewhere(kind: Any, ident: int, options: int, deadline: float | None = None) -> None:
    """Wait in an OS thread, which callers that wait for the same share. WNOWAIT: it must not take the status, since
    the caller may have been killed meanwhile.
    """
    question = (kind, ident, options | _original.WNOWAIT)
    call = _awaited.get(question)
    if call is None or not call.under_way:
        for answered in [each for each, other in list(_awaited.items()) if not other.under_way]:
            _awaited.pop(answered, None)
        call = _awaited[question] = _children.submit(_waitid, *question)
    call.wait(deadline)


# -- pipes


def read(fd: int, length: int, /) -> bytes:
    """As `os.read`; where nothing can be read yet, only the calling green thread waits."""
    data: bytes = _when_readable(_read, fd, length)
    return data


def readv(fd: int, buffers: Any, /) -> int:
    """As `os.readv`; where nothing can be read yet, only the calling green thread waits."""
    count: int = _when_readable(_readv, fd, buffers)
    return count


def _when_readable(operation: _Callable[[int, Any], Any], fd: int, argument: Any) -> Any:
    _await(fd, _select.POLLIN | _select.POLLPRI)
    try:
        return operation(fd, argument)
    except BlockingIOError:
        _relax()
        raise


def write(fd: int, data: Any, /) -> int:
    """As `os.write`; where it would block, only the calling green thread waits.

    All of the data is written, as a blocking descriptor would; when an error comes after some of it, how much that was.
    """
    if not _may_block(fd):
        try:
            return _write(fd, data)
        except BlockingIOError:
            _relax()
            raise
    written = 0
    with memoryview(data) as view, view.cast("B") as rest:
        while True:
            try:
                _await(fd, _select.POLLOUT)
                # What POLLOUT promises of a pipe is room for PIPE_BUF bytes (POSIX); a longer write would block.
                written += _write(fd, rest[written : written + _select.PIPE_BUF])
            except OSError:
                if written:
                    return written
                raise
            if written >= len(rest):
                return written


def _may_block(fd: int) -> bool:
    """Whether a call on this descriptor may have to wait, and is allowed to."""
    mode = _original.fstat(fd).st_mode
    if _stat.S_ISREG(mode) or _stat.S_ISDIR(mode) or _stat.S_ISBLK(mode):
        return False
    try:
        return _original.get_blocking(fd) and not isinstance(_getcurrent(), _Loop)
    except RuntimeError:  # a finaliser's call, while the interpreter ends
        return False


def _await(fd: int, events: int) -> None:
    if not _may_block(fd):
        return
    poller = _poll()
    poller.register(fd, events)
    # The wrong end of a pipe is never ready: the call itself says what is wrong with it.
    wrong = _original.O_RDONLY if events & _select.POLLOUT else _original.O_WRONLY
    while not poller.poll(0) and _fcntl.fcntl(fd, _fcntl.F_GETFL) & _original.O_ACCMODE != wrong:
        hub: Any = _running().hub
        wait = hub.wait_writable if events & _select.POLLOUT else hub.wait_readable
        try:
            wait(fd)
        except _AlreadyWaiting:
            # OS threads may write to one pipe together, so green threads may: each waits by a number of its own.
            own = _original.dup(fd)
            try:
                wait(own)
            finally:
                hub.io.unregister_fd(own)
                _original.close(own)


# -- locks on files


def lockf(fd: int, command: int, length: int, /) -> None:
    """As `os.lockf`; only the calling green thread waits."""
    if command in (_original.F_LOCK, _original.F_TLOCK):
        _lock_file(_lockf, fd, command, _original.F_TLOCK, length)
    else:
        _lockf(fd, command, length)


__getattr__ = complete(globals(), _original)
