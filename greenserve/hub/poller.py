"""Readiness of file descriptors: epoll, kqueue, select behind the same few methods.

Law: a poller only reports; who waits for what is the hub's business. `add` outlives a wait. An edge-triggered poller (epoll,
kqueue) reports a change once and needs nothing more: one-shot registration would cost a system call for every read. A
level-triggered one (select) reports as long as a thing is ready, so the hub tells it through `arm` and `disarm` what somebody
waits for; the edge-triggered ones make these no-ops.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
from typing import Any, Protocol

READ = 1
WRITE = 2
HANGUP = 4  # the peer has closed its side, or the descriptor is in error: whoever waits should look


class Poller(Protocol):
    """What the hub needs of an operating system's readiness interface."""

    def add(self, fd: int) -> None:
        """Begin to report on fd. Raises OSError (EBADF; EPERM for a regular file)."""

    def rearm(self, fd: int) -> None:
        """Report again what is ready now. Raises OSError (ENOENT: the number is another file's by now)."""

    def remove(self, fd: int) -> None:
        """Report on fd no more. Harmless for one that is not known, or closed."""

    def arm(self, fd: int, direction: int) -> None:
        """Somebody waits for `direction` (READ or WRITE)."""

    def disarm(self, fd: int, direction: int) -> None:
        """Nobody waits for `direction` any more."""

    def wait(self, timeout: float | None) -> list[tuple[int, int]]:
        """Wait at most `timeout` seconds (None: for ever). Returns (fd, mask of READ, WRITE, HANGUP) pairs."""

    def close(self) -> None:
        """Give the poller's own descriptor back."""


if sys.platform == "linux":
    _HANGUP = select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP
    _INTEREST = select.EPOLLIN | select.EPOLLOUT | select.EPOLLPRI | select.EPOLLRDHUP | select.EPOLLET

    # epoll's masks are few: a table beats three tests for each event.
    _MASKS = {
        mask: (READ if mask & (select.EPOLLIN | select.EPOLLPRI | _HANGUP) else 0)
        | (WRITE if mask & (select.EPOLLOUT | select.EPOLLHUP | select.EPOLLERR) else 0)
        | (HANGUP if mask & _HANGUP else 0)
        for mask in range(0x40)
        for mask in (mask, mask | select.EPOLLRDHUP)
    }

    class EpollPoller:
        """Linux: epoll, edge-triggered, each descriptor registered once."""

        def __init__(self) -> None:
            self._epoll = select.epoll()

        def add(self, fd: int) -> None:
            """Begin to report on fd."""
            try:
                self._epoll.register(fd, _INTEREST)
            except FileExistsError:  # a duplicate of the number's previous file keeps that registration alive
                self._epoll.modify(fd, _INTEREST)

        def rearm(self, fd: int) -> None:
            """Report again what is ready now."""
            self._epoll.modify(fd, _INTEREST)

        def remove(self, fd: int) -> None:
            """Report on fd no more; needed even before a close, since a duplicate would keep the registration alive."""
            with contextlib.suppress(OSError, ValueError):
                self._epoll.unregister(fd)

        def arm(self, fd: int, direction: int) -> None:
            """Nothing to do: registered for both."""

        def disarm(self, fd: int, direction: int) -> None:
            """Nothing to do: an edge comes once."""

        def wait(self, timeout: float | None) -> list[tuple[int, int]]:
            """Wait for edges."""
            masks = _MASKS
            return [
                (fd, masks.get(mask, READ | WRITE | HANGUP))
                for fd, mask in self._epoll.poll(-1 if timeout is None else timeout)
            ]

        def close(self) -> None:
            """Close the epoll descriptor."""
            self._epoll.close()


if sys.platform == "darwin" or "bsd" in sys.platform:

    class KqueuePoller:
        """macOS and the BSDs: kqueue with EV_CLEAR, which is edge-triggered."""

        def __init__(self) -> None:
            self._kqueue = select.kqueue()

        def add(self, fd: int) -> None:
            """Begin to report on fd. A descriptor that has no write side (a pipe's end) is watched for reading alone."""
            flags = select.KQ_EV_ADD | select.KQ_EV_CLEAR
            self._kqueue.control([select.kevent(fd, select.KQ_FILTER_READ, flags)], 0, 0)
            with contextlib.suppress(OSError):
                self._kqueue.control([select.kevent(fd, select.KQ_FILTER_WRITE, flags)], 0, 0)

        def rearm(self, fd: int) -> None:
            """Report again what is ready now: adding anew does it."""
            self.add(fd)

        def remove(self, fd: int) -> None:
            """Report on fd no more."""
            for direction in (select.KQ_FILTER_READ, select.KQ_FILTER_WRITE):
                with contextlib.suppress(OSError):
                    self._kqueue.control([select.kevent(fd, direction, select.KQ_EV_DELETE)], 0, 0)

        def arm(self, fd: int, direction: int) -> None:
            """Nothing to do: registered for both."""

        def disarm(self, fd: int, direction: int) -> None:
            """Nothing to do: an edge comes once."""

        def wait(self, timeout: float | None) -> list[tuple[int, int]]:
            """Wait for edges."""
            found = []
            for event in self._kqueue.control(None, 512, timeout):
                mask = WRITE if event.filter == select.KQ_FILTER_WRITE else READ
                if event.flags & (select.KQ_EV_EOF | select.KQ_EV_ERROR):
                    mask |= HANGUP
                found.append((event.ident, mask))
            return found

        def close(self) -> None:
            """Close the kqueue descriptor."""
            self._kqueue.close()


class SelectPoller:
    """Everywhere: select, level-triggered, with the limit of FD_SETSIZE descriptors. The last resort, and a test of the rest."""

    def __init__(self) -> None:
        self._armed: dict[int, set[int]] = {READ: set(), WRITE: set()}

    def add(self, fd: int) -> None:
        """Check that fd is one that can be waited for."""
        os.fstat(fd)

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
            readable, writable, failed = select.select(
                self._armed[READ], self._armed[WRITE], self._armed[READ] | self._armed[WRITE], timeout
            )
        except (OSError, ValueError):
            return self._bad_ones()
        found: dict[int, int] = {}
        for fds, mask in ((readable, READ), (writable, WRITE), (failed, READ | WRITE | HANGUP)):
            for fd in fds:
                found[fd] = found.get(fd, 0) | mask
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


def default_poller() -> Poller:
    """The best poller of this platform."""
    here: dict[str, Any] = globals()
    kind = here.get("EpollPoller") or here.get("KqueuePoller") or SelectPoller
    poller: Poller = kind()
    return poller
