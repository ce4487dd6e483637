"""Readiness of file descriptors: epoll, kqueue, select behind the same few methods.

Invariant: a poller only reports; the hub knows the waiters. `add` outlives a wait. An edge-triggered poller
(epoll, kqueue) reports a change once and needs nothing more: one-shot registration would cost a system call for every
read. A level-triggered one (select) reports as long as a thing is ready, so the hub tells it through `arm` and `disarm`
what is waited for; the edge-triggered ones make these no-ops.

What `wait` reports are the system's own bits, lest each event be translated: `readable`, `writable` and `hangup` name
them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import stat
import sys
from typing import Any, Protocol

READ = 1
WRITE = 2
HANGUP = 4  # the peer has closed its side, or has sent an urgent byte, or the descriptor is in error: look, do not wait

MAX_SELECT = 1024  # FD_SETSIZE: select.select refuses a number that is not below it


class Poller(Protocol):
    """What the hub needs of an operating system's readiness interface."""

    edges: bool  # a change is reported once, and `arm` and `disarm` do nothing
    readable: int  # the bits of an event that concern a reader (the end of the stream among them),
    writable: int  # a writer,
    hangup: int  # and that say that there may be something to read of which no other event will tell

    def add(self, fd: int) -> None:
        """Begin to report on fd. Raises OSError (EBADF; EPERM for a regular file; EMFILE for a number that is too
        large).
        """

    def rearm(self, fd: int) -> None:
        """Report again what is ready now. Raises OSError (ENOENT: the number is another file's by now)."""

    def remove(self, fd: int) -> None:
        """Report on fd no more. Harmless for one that is not known, or closed."""

    def arm(self, fd: int, direction: int) -> None:
        """A thread waits for `direction` (READ or WRITE)."""

    def disarm(self, fd: int, direction: int) -> None:
        """No thread waits for `direction` any more."""

    def wait(self, timeout: float | None) -> list[tuple[int, int]]:
        """Wait at most `timeout` seconds (None: for ever). Returns (fd, bits) pairs."""

    def close(self) -> None:
        """Give the poller's own descriptor back."""


if sys.platform == "linux":

    class EpollPoller:
        """Linux: epoll, edge-triggered, each descriptor registered once."""

        edges = True
        readable = select.EPOLLIN | select.EPOLLPRI | select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
        writable = select.EPOLLOUT | select.EPOLLHUP | select.EPOLLERR
        hangup = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR | select.EPOLLPRI

        _interest = select.EPOLLIN | select.EPOLLPRI | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
        _make = select.epoll  # captured: patching must not give the hub its own green twin

        def __init__(self) -> None:
            self._epoll = self._make()
            self.wait = self._epoll.poll  # as `Poller` says, without a call's cost

        def add(self, fd: int) -> None:
            """Begin to report on fd."""
            try:
                self._epoll.register(fd, self._interest)
            except FileExistsError:  # the number was closed and is the same file's again, by way of a duplicate
                self._epoll.modify(fd, self._interest)

        def rearm(self, fd: int) -> None:
            """Report again what is ready now."""
            self._epoll.modify(fd, self._interest)

        def remove(self, fd: int) -> None:
            """Report on fd no more; needed even before a close, since a duplicate would keep the registration alive."""
            try:
                self._epoll.unregister(fd)
            except (OSError, ValueError):  # not suppress(): SIGINT's handler could not tell it from the program's code
                pass

        def arm(self, fd: int, direction: int) -> None:
            """Nothing to do: registered for both."""

        def disarm(self, fd: int, direction: int) -> None:
            """Nothing to do: an edge comes once."""

        def close(self) -> None:
            """Close the epoll descriptor."""
            self._epoll.close()


if sys.platform == "darwin" or "bsd" in sys.platform:
    _kernel: Any = select  # a type checker knows of the module what its own platform has

    class KqueuePoller:
        """macOS and the BSDs: kqueue with EV_CLEAR, which is edge-triggered."""

        edges = True
        readable = READ
        writable = WRITE
        hangup = HANGUP

        _make = _kernel.kqueue  # captured, as above
        _filters = (_kernel.KQ_FILTER_READ, _kernel.KQ_FILTER_WRITE)

        def __init__(self) -> None:
            self._kqueue = self._make()

        def add(self, fd: int) -> None:
            """Begin to report on fd: on both directions, or on the one that it has (a pipe's end)."""
            _refuse_files(fd)
            failures = []
            for direction in self._filters:
                event = _kernel.kevent(fd, direction, _kernel.KQ_EV_ADD | _kernel.KQ_EV_CLEAR)
                try:
                    self._kqueue.control([event], 0, 0)
                except OSError as error:
                    failures.append(error)
            if len(failures) == len(self._filters):
                raise failures[0]

        def rearm(self, fd: int) -> None:
            """Report again what is ready now: adding anew does it."""
            self.add(fd)

        def remove(self, fd: int) -> None:
            """Report on fd no more."""
            for direction in self._filters:
                with contextlib.suppress(OSError, ValueError):
                    self._kqueue.control([_kernel.kevent(fd, direction, _kernel.KQ_EV_DELETE)], 0, 0)

        def arm(self, fd: int, direction: int) -> None:
            """Nothing to do: registered for both."""

        def disarm(self, fd: int, direction: int) -> None:
            """Nothing to do: an edge comes once."""

        def wait(self, timeout: float | None) -> list[tuple[int, int]]:
            """Wait for edges."""
            found = []
            for event in self._kqueue.control(None, 512, timeout):
                mask = WRITE if event.filter == _kernel.KQ_FILTER_WRITE else READ
                if event.flags & (_kernel.KQ_EV_EOF | _kernel.KQ_EV_ERROR):
                    mask |= HANGUP
                found.append((event.ident, mask))
            return found

        def close(self) -> None:
            """Close the kqueue descriptor."""
            self._kqueue.close()


class SelectPoller:
    """Everywhere: select, level-triggered, with the limit of FD_SETSIZE descriptors. The last resort, and a test of the
    rest.
    """

    edges = False
    readable = READ
    writable = WRITE
    hangup = HANGUP

    _select = staticmethod(select.select)  # captured, as above

    def __init__(self) -> None:
        self._armed: dict[int, set[int]] = {READ: set(), WRITE: set()}

    def add(self, fd: int) -> None:
        """Check that fd is one that can be waited for."""
        _refuse_files(fd)
        if fd >= MAX_SELECT:
            raise OSError(errno.EMFILE, f"select cannot wait for a descriptor above {MAX_SELECT - 1}")

    def rearm(self, fd: int) -> None:
        """Level-triggered: always armed afresh."""
        os.fstat(fd)

    def remove(self, fd: int) -> None:
        """Report on fd no more."""
        for armed in self._armed.values():
            armed.discard(fd)

    def arm(self, fd: int, direction: int) -> None:
        """Report `direction` until disarmed."""
        self._armed[direction].add(fd)

    def disarm(self, fd: int, direction: int) -> None:
        """Stop reporting `direction`."""
        self._armed[direction].discard(fd)

    def wait(self, timeout: float | None) -> list[tuple[int, int]]:
        """Wait for readiness; a descriptor that went bad is reported as HANGUP, once."""
        try:
            # An error makes both ready. The third list is for urgent bytes, and these stay ready after a look.
            readable, writable, _ = self._select(self._armed[READ], self._armed[WRITE], (), timeout)
        except (OSError, ValueError):
            return self._bad_ones()
        found = dict.fromkeys(readable, READ)
        for fd in writable:
            found[fd] = found.get(fd, 0) | WRITE
        return list(found.items())

    def close(self) -> None:
        """Nothing to give back."""

    def _bad_ones(self) -> list[tuple[int, int]]:
        bad: list[tuple[int, int]] = []
        for fd in self._armed[READ] | self._armed[WRITE]:
            try:
                os.fstat(fd)
            except (OSError, ValueError):
                self.remove(fd)
                bad.append((fd, READ | WRITE | HANGUP))
        return bad


def _refuse_files(fd: int) -> None:
    """Files and directories are always ready; epoll refuses them, and so do all, so that no thread waits for what never
    comes.
    """
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


def default_poller() -> Poller:
    """The best poller of this platform."""
    here: dict[str, Any] = globals()
    kind = here.get("EpollPoller") or here.get("KqueuePoller") or SelectPoller
    poller: Poller = kind()
    return poller
