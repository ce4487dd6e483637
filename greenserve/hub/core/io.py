"""File descriptors: their readers and writers that wait, and what becomes of these when a descriptor is closed.

Strategy. A registration with the poller outlives a single wait, so a wait costs no system call of its own; it is made
for a descriptor that its owner has just opened, and ended before the owner closes it. Invariant: a waiter has asked by
a system call first and got EAGAIN; after that every change is an event, whether or not the one before
was waited for.

What was closed behind our back (os.close) no poller reports. The number's next use tells, and so does a look at those
that are waited for, before the hub sleeps.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from typing import Any

from greenlet import getcurrent as _getcurrent

from greenserve.errors import AlreadyWaiting
from greenserve.hub.core.greenlets import Greenlet, adopt
from greenserve.hub.core.poller import READ, WRITE, Poller
from greenserve.hub.core.ready import TIMED_OUT, HubCall, Throw, Token, call_guarded, wake
from greenserve.hub.core.scheduler import Scheduler

SECONDS_BETWEEN_LOOKS = 1.0  # at waited-for descriptors, half a microsecond each;
LOOKS_PER_SECOND = 10_000  # the more there are, the rarer: under 1 % of the time in any case

CLAIMED: Token = []
"""Equal to the token of a green thread that is to be resumed (it timed out, was killed) and has not run yet: it does
not wait any more, though it is still there.
"""


class Descriptor:
    """One registered file descriptor: its waiting readers and writers.

    A waiter is a token, or a `HubCall` that is made ready at the next event (with a poller that has no edges its owner
    must also `arm` it). `hangup` stays set once the peer has closed or the descriptor has failed: there will be no
    other edge, so a waiter must look instead. `drained` is its owner's: a read has taken all that there was, and
    nothing has been reported since, so a reader may wait without a look. It is registered as long as
    `io.descriptors[fd]` is this object.
    """

    __slots__ = ("drained", "fd", "file", "hangup", "io", "reader", "stranger", "writer")

    def __init__(self, io: Descriptors, fd: int) -> None:
        self.io = io
        self.fd = fd
        self.file: tuple[int, int] | None = None  # (st_dev, st_ino), once looked at
        self.reader: Token | HubCall | None = None
        self.writer: Token | HubCall | None = None
        self.hangup = False
        self.drained = False
        self.stranger = False  # registered by us for a number that was named, whatever its owner


class Descriptors:
    """`hub.io`: a hub's descriptors, and waiting for them."""

    __slots__ = (
        "_edges",
        "_hangup",
        "_looked",
        "_looked_round",
        "_readable",
        "_writable",
        "descriptors",
        "hub",
        "poller",
    )

    def __init__(self, hub: Scheduler, poller: Poller) -> None:
        self.hub = hub
        self.descriptors: dict[int, Descriptor] = {}
        self._looked = 0.0  # when we last looked for what was closed behind our back
        self._looked_round = 0
        self.use(poller)

    def use(self, poller: Poller) -> None:
        """Ask `poller` from now on. What is registered with another is not registered with it."""
        self.poller = poller
        self.poller.add(self.hub.wakeup.fd)
        self.poller.arm(self.hub.wakeup.fd, READ)
        self._edges = poller.edges
        self._readable, self._writable, self._hangup = poller.readable, poller.writable, poller.hangup

    # -- registration

    def register(self, fd: int) -> Descriptor:
        """Begin to watch a descriptor that the caller has just opened, and owns.

        What is still registered under this number belonged to a file that was closed behind our back: its waiters get
        EBADF. Raises OSError (EPERM: a regular file, which is always ready).
        """
        stale = self.descriptors.get(fd)
        if stale is not None:
            self.unregister(stale)
        self.poller.add(fd)
        descriptor = self.descriptors[fd] = Descriptor(self, fd)
        return descriptor

    def register_late(self, fd: int) -> Descriptor:
        """`register`, for an owner that has opened the descriptor a while ago: a thread that has waited for its number
        since goes on waiting.
        """
        descriptor = self.descriptors.get(fd)
        if descriptor is not None and descriptor.stranger:
            try:
                self.poller.rearm(fd)
            except OSError:  # another file's by now
                pass
            else:
                descriptor.stranger = False
                return descriptor
        return self.register(fd)

    def unregister(self, descriptor: Descriptor) -> None:
        """Watch no more; the waiters get EBADF. To be called before the descriptor is closed. This hub's thread
        only.
        """
        fd = descriptor.fd
        if self.descriptors.get(fd) is descriptor:
            del self.descriptors[fd]
            self.poller.remove(fd)
        descriptor.hangup = True
        waiters = (descriptor.reader, descriptor.writer)
        descriptor.reader = descriptor.writer = None
        for waiter in waiters:
            if isinstance(waiter, Watch):
                waiter.cancel()
            elif isinstance(waiter, list):
                try:
                    greenlet = waiter[0]
                    del waiter[0]
                except IndexError:  # woken already
                    continue
                self.hub.ready.append(Throw(greenlet, _closed()))

    def unregister_fd(self, fd: int) -> None:
        """`unregister` whatever is registered under a number that is about to be closed, or has been."""
        descriptor = self.descriptors.get(fd)
        if descriptor is not None:
            self.unregister(descriptor)

    # -- waiting

    def wait_read(self, descriptor: Descriptor, deadline: float | None = None) -> None:
        """Park until a registered descriptor *becomes* readable, after a system call has said EAGAIN or has drained it.

        deadline: absolute seconds of the clock. Raises TimeoutError; OSError EBADF when it is closed meanwhile;
        AlreadyWaiting. May return early; so try again, in a loop.
        """
        hub = self.hub
        greenlet: Any = _getcurrent()
        try:
            greenlet.hub  # noqa: B018 - one attribute look-up is the cheapest question
        except AttributeError:
            adopt(greenlet, hub)
        if descriptor.reader is not None and descriptor.reader != CLAIMED:
            raise _already_waiting(descriptor.fd, "read")
        if descriptor.hangup:
            self._refuse_closed(descriptor)
        token: Token = [greenlet]
        descriptor.reader = token
        if not self._edges:
            self.poller.arm(descriptor.fd, READ)
        try:
            outcome = hub.park(greenlet, token) if deadline is None else hub.park_until(greenlet, token, deadline)
        finally:
            if descriptor.reader is token:
                descriptor.reader = None
                self.poller.disarm(descriptor.fd, READ)
        if outcome is TIMED_OUT:
            raise TimeoutError("timed out")

    def wait_write(self, descriptor: Descriptor, deadline: float | None = None) -> None:
        """Park until a registered descriptor becomes writable; see `wait_read`."""
        hub = self.hub
        greenlet = self._running()
        if descriptor.writer is not None and descriptor.writer != CLAIMED:
            raise _already_waiting(descriptor.fd, "write")
        if descriptor.hangup:
            self._refuse_closed(descriptor)
        token: Token = [greenlet]
        descriptor.writer = token
        if not self._edges:
            self.poller.arm(descriptor.fd, WRITE)
        try:
            outcome = hub.park(greenlet, token) if deadline is None else hub.park_until(greenlet, token, deadline)
        finally:
            if descriptor.writer is token:
                descriptor.writer = None
                self.poller.disarm(descriptor.fd, WRITE)
        if outcome is TIMED_OUT:
            raise TimeoutError("timed out")

    def watch(self, fd: int, direction: int, callback: Callable[..., object], args: tuple[Any, ...]) -> Watch:
        """A callback for a direction's readiness: READ or WRITE. Raises as `Hub.on_readable` does."""
        side = "reader" if direction == READ else "writer"
        descriptor = self.level_triggered(fd)
        if descriptor is None:
            raise PermissionError(errno.EPERM, f"descriptor {fd} is a regular file, which is always ready")
        if getattr(descriptor, side) not in (None, CLAIMED):
            raise _already_waiting(fd, "read" if direction == READ else "write")
        watch = Watch(descriptor, side, direction, callback, args)
        watch.arm()
        return watch

    def level_triggered(self, fd: int) -> Descriptor | None:
        """The descriptor of fd, armed to report what is ready now; None for a regular file, which always is.

        We cannot know whether a stranger's number still means the file that it meant the last time: rearming tells.
        """
        descriptor = self.descriptors.get(fd)
        if descriptor is not None:
            try:
                self.poller.rearm(fd)
                return descriptor
            except OSError:
                pass
        try:
            descriptor = self.register(fd)
        except PermissionError:
            return None
        descriptor.stranger = True
        return descriptor

    def _running(self) -> Greenlet:
        greenlet: Any = _getcurrent()
        try:
            greenlet.hub  # noqa: B018 - one attribute look-up is the cheapest question
        except AttributeError:
            adopt(greenlet, self.hub)
        return greenlet  # type: ignore[no-any-return]  # a root greenlet is given a Greenlet's attributes

    def _refuse_closed(self, descriptor: Descriptor) -> None:
        if self.descriptors.get(descriptor.fd) is not descriptor:
            raise _closed()

    # -- events

    def dispatch(self, events: list[tuple[int, int]]) -> None:  # noqa: C901, PLR0912 - a call for each event costs as much
        """Make ready the waiters for what the poller has reported."""
        waiter: Token | HubCall | None = None
        edges, ready, descriptor_of = self._edges, self.hub.ready, self.descriptors.get
        readable, writable, hangup = self._readable, self._writable, self._hangup
        try:
            for fd, bits in events:
                descriptor = descriptor_of(fd)
                if descriptor is None:
                    if fd == self.hub.wakeup.fd:
                        self.hub.wakeup.drain()
                    continue
                if bits & hangup:
                    descriptor.hangup = True
                if bits & readable:
                    descriptor.drained = False
                    waiter = descriptor.reader
                    if waiter is not None:
                        descriptor.reader = None
                        if not edges:
                            self._resume(waiter, fd, READ)
                        elif type(waiter) is list:  # `_resume`, without a call's cost
                            wake(waiter)
                        else:
                            ready.append(waiter)
                if bits & writable:
                    waiter = descriptor.writer
                    if waiter is not None:
                        descriptor.writer = None
                        self._resume(waiter, fd, WRITE)
        except BaseException:  # a signal handler has raised
            if type(waiter) is list:
                wake(waiter)
            elif waiter is not None and waiter not in self.hub.ready:
                self.hub.ready.append(waiter)
            raise

    def report_again(self) -> None:
        """Have the poller report again what is ready of that for which anything waits: reports may have been lost."""
        for fd, descriptor in list(self.descriptors.items()):
            descriptor.drained = False
            if self._edges and (descriptor.reader is not None or descriptor.writer is not None):
                with contextlib.suppress(OSError):  # closed behind our back
                    self.poller.rearm(fd)

    def _resume(self, waiter: Token | HubCall, fd: int, direction: int) -> None:
        if not self._edges:
            self.poller.disarm(fd, direction)
        if type(waiter) is list:
            wake(waiter)
        else:
            self.hub.ready.append(waiter)

    # -- what was closed behind our back

    def look_for_closed(self, timeout: float | None) -> float | None:
        """Before a sleep of `timeout` seconds: give EBADF to the waiters for what is closed, or is another file by
        now.

        At most once a second; where that is not over yet, the sleep is cut to that time. Returns how long to sleep.
        Nothing changes while no thread runs, so a hub that has looked sleeps on.
        """
        rounds = self.hub.rounds
        if rounds - self._looked_round <= 1 or not self.descriptors:
            self._looked_round = rounds
            return timeout
        now = self.hub.clock()
        left = self._looked + SECONDS_BETWEEN_LOOKS + len(self.descriptors) / LOOKS_PER_SECOND - now
        if left > 0:
            return left if timeout is None else min(timeout, left)
        self._looked, self._looked_round = now, rounds
        for descriptor in list(self.descriptors.values()):
            if isinstance(descriptor.reader, list) or isinstance(descriptor.writer, list):
                try:
                    status = os.fstat(descriptor.fd)
                except OSError:
                    self.unregister(descriptor)
                    continue
                file = (status.st_dev, status.st_ino)
                if descriptor.file is None:
                    descriptor.file = file
                elif descriptor.file != file:
                    self.unregister(descriptor)
        return 0.0 if self.hub.ready else timeout


class Watch(HubCall):
    """A callback for a descriptor's readiness, made by `Hub.on_readable` and `on_writable`. `cancel` ends it."""

    __slots__ = ("_args", "_callback", "_descriptor", "_direction", "_side")

    def __init__(
        self, descriptor: Descriptor, side: str, direction: int, callback: Callable[..., object], args: tuple[Any, ...]
    ) -> None:
        self._descriptor: Descriptor | None = descriptor
        self._side = side
        self._direction = direction
        self._callback = callback
        self._args = args

    @property
    def active(self) -> bool:
        """Whether it goes on: not cancelled, and the descriptor not closed."""
        return self._descriptor is not None

    def cancel(self) -> None:
        """Call no more. Harmless when it has ended."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        if getattr(descriptor, self._side) is self:
            setattr(descriptor, self._side, None)
            descriptor.io.poller.disarm(descriptor.fd, self._direction)
        if descriptor.stranger and descriptor.reader in (None, CLAIMED) and descriptor.writer in (None, CLAIMED):
            descriptor.io.unregister(descriptor)

    def arm(self) -> None:
        """Wait for the next event."""
        if self._descriptor is not None:
            setattr(self._descriptor, self._side, self)
            self._descriptor.io.poller.arm(self._descriptor.fd, self._direction)

    def switch(self) -> None:
        """Make the call, then report again what is still ready: a callback reads as much as it likes."""
        descriptor = self._descriptor
        if descriptor is None:
            return
        call_guarded(self._callback, self._args)
        if self._descriptor is None:
            return
        io = descriptor.io
        try:
            waiter = getattr(descriptor, self._side)
            if io.descriptors.get(descriptor.fd) is not descriptor or waiter not in (None, CLAIMED):
                raise _closed()
            io.poller.rearm(descriptor.fd)
        except OSError:  # closed
            self.cancel()
        else:
            self.arm()


def _closed() -> OSError:
    return OSError(errno.EBADF, "the descriptor was closed by another green thread")


def _already_waiting(fd: int, verb: str) -> AlreadyWaiting:
    return AlreadyWaiting(
        f"another green thread already waits to {verb} on descriptor {fd}: let one green thread do all the {verb}ing, "
        "or guard the descriptor with a greenserve.Lock"
    )
