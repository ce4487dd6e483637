"""The hub: what runs next, and what the others wait for. One for each OS thread that blocks, made at its first wait.

Strategy. scheduler.py has the ready queue, and parked greenlets; io.py what is waited for with the poller. Here
is the loop that runs between two rounds (timers, then the poller, in which it sleeps when nothing is ready), and a
hub's life: made for an OS thread, closed with it, begun afresh in a forked child.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from time import sleep as _sleep  # captured: patching must not give the hub its own green twin
from typing import Any

import greenlet as _greenlet
from greenlet import getcurrent as _getcurrent

from greenserve.errors import HubError
from greenserve.hub.core import deadlock, fork, greenlets, shutdown, signals
from greenserve.hub.core import originals as _thread
from greenserve.hub.core.background import Background
from greenserve.hub.core.greenlets import Carrier, Job, adopt, raise_pending
from greenserve.hub.core.io import Descriptor, Descriptors, Watch
from greenserve.hub.core.poller import READ, WRITE, Poller, default_poller
from greenserve.hub.core.ready import MARK, TIMED_OUT, Call, HubCall, Throw, wake
from greenserve.hub.core.scheduler import Scheduler
from greenserve.hub.core.timers import DUE, Timer, Token

__all__ = [
    "MARK",
    "TIMED_OUT",
    "Call",
    "Carrier",
    "Descriptor",
    "Descriptors",
    "Greenlet",
    "Hub",
    "HubCall",
    "Job",
    "Throw",
    "Timer",
    "Token",
    "Watch",
    "adopt",
    "all_hubs",
    "current_hub",
    "raise_pending",
    "running",
    "stand_in",
    "use_hub",
    "wake",
]

ROUNDS_BETWEEN_POLLS = 16  # with green threads ready: a poll costs as much as four switches
SECONDS_BETWEEN_POLLS = 0.001  # and yet no descriptor waits longer than this, and one round, for its turn
SECONDS_BETWEEN_SHARES = 0.005  # as often as the interpreter lets OS threads take turns (sys.getswitchinterval)
SECONDS_FOR_OS_THREADS = 0.00005  # what the scheduler takes to wake an OS thread: one per cent of the time
SECONDS_OF_DOUBT = 0.2  # before a deadlock is one
MAX_SLEEP = 86400.0  # seconds at a time: pollers refuse what does not fit into their integers, infinity above all


class Greenlet(greenlets.Greenlet):
    """What `running` returns: a greenlet that the hub can park. For type checkers; nothing is made of this class."""

    hub: Hub


class Hub(Scheduler):
    """One OS thread's scheduler. `current_hub()` gives the running thread's, which is made when it is first needed.

    clock: gives monotonic seconds; poller: see poller.py. Both can be given for tests. io: waiting for descriptors.
    """

    __slots__ = ("__weakref__", "_doubt_ends", "_doubted", "_sharing_time", "adopted", "heir", "io")

    def __init__(self, clock: Callable[[], float] = time.monotonic, poller: Poller | None = None) -> None:
        super().__init__(clock)
        self.io = Descriptors(self, poller or default_poller())
        self.adopted: weakref.WeakSet[Any] = weakref.WeakSet()  # the user's own greenlets that have parked here
        self._sharing_time = 0.0  # when other OS threads get the interpreter's lock next, if the hub does not sleep
        self._doubted = -1  # the last round at which nothing seemed possible any more
        self._doubt_ends = 0.0
        self.heir: fork.Heir | None = None  # in a child forked in a green thread: that one

    # -- the loop

    def _run(self) -> None:
        while True:
            failed: BaseException | None = None
            try:
                while True:  # again at once: should another error come while one is dealt with, the outer loop is there
                    try:
                        if failed is not None:
                            error, failed = failed, None
                            self._recover(error)
                        self._serve()
                    except _greenlet.GreenletExit as exit_:
                        if self.closed:
                            return
                        failed = exit_
                    except BaseException as error:
                        failed = error
            except BaseException as error:
                self.ready += (Call(self._recover, (error,)),)

    def _recover(self, error: BaseException) -> None:
        """Go on after an error that does not belong to a green thread: main gets it, and no thread is lost by it.

        It was raised by a callback (SystemExit, say; GreenletExit, which ends nothing but the callback), or by a signal
        handler before any instruction of the hub's: events that the poller has reported may be lost, and so are asked
        for again.
        """
        if MARK not in self.ready:
            self.ready.append(MARK)
        self.io.report_again()
        if not isinstance(error, _greenlet.GreenletExit):
            self.throw_into_main(error)

    def _serve(self) -> None:
        ready = self.ready
        item: Any = MARK
        try:
            while True:
                item = ready[0]
                ready.popleft()
                if item is not MARK:
                    item.switch()
                    continue
                self._between_rounds()
        except BaseException as error:
            if self._unfinished(item, error):
                return
            raise

    def _unfinished(self, item: Any, error: BaseException) -> bool:
        """See to what the hub was about to switch to. Returns whether that was all there is to do about `error`."""
        if isinstance(item, Carrier):
            if isinstance(error, MemoryError) and not item and not item.dead:  # so it could not be started
                item.job.fail(error)
                return True
            self.ready.append(item)
        elif item is not MARK and (not isinstance(item, HubCall) or item.unbegun()):
            self.ready.append(item)
        return False

    def _between_rounds(self) -> None:
        """Descriptors, then timers; sleep when nothing is ready. Puts the MARK back."""
        self.rounds += 1
        ready = self.ready
        heap = self.timers.heap
        clock = self.clock
        now = clock()
        if now >= self.poll_time or self.rounds >= self.poll_round or not (ready or (heap and heap[0][DUE] <= now)):
            now = self._poll()
        ready.append(MARK)  # before the timers' callbacks, which may switch to a green thread
        if heap and heap[0][DUE] <= now:
            self.timers.fire(now, self)

    def _poll(self) -> float:
        """Ask the poller, and sleep in it when nothing is ready. Returns the time."""
        timeout: float | None = 0.0
        if not self.ready:
            timeout = self._sleep_time()
            if timeout is None and deadlock.nothing_can_happen(self):
                timeout = self._doubt()
        # Another OS thread appends to `ready` and then looks at `sleeping`; we set it and then look at `ready`.
        self.sleeping = True
        if self.ready:
            timeout = 0.0
        try:
            events = self.io.poller.wait(timeout)
        finally:
            self.sleeping = False
        if events:
            self.io.dispatch(events)
        now = self.clock()
        if timeout == 0.0 and now >= self._sharing_time and _thread._count() > deadlock.bystanders.count:
            now = self._let_os_threads_run()
        self.poll_time = now + SECONDS_BETWEEN_POLLS
        self.poll_round = self.rounds + ROUNDS_BETWEEN_POLLS
        return now

    def _let_os_threads_run(self) -> float:
        """Give up the interpreter's lock for long enough that a waiting OS thread gets it. Returns the time.

        A hub that never sleeps gives it up only while the poller looks. That wakes an OS thread that waits for the
        lock, which finds it taken again, and begins anew to wait for as long as the interpreter's switch interval.
        """
        _sleep(SECONDS_FOR_OS_THREADS)
        now = self.clock()
        self._sharing_time = now + SECONDS_BETWEEN_SHARES
        return now

    def _doubt(self) -> float | None:
        """How long to sleep when it seems that no greenlet can ever be resumed; when that has lasted, main is told.

        The first look may deceive: an OS thread that was just started is not counted before it runs. A stray wake-up
        does not shorten the doubt.
        """
        now = self.clock()
        if self._doubted != self.rounds - 1:
            self._doubt_ends = now + SECONDS_OF_DOUBT
        self._doubted = self.rounds
        if now < self._doubt_ends:
            return self._doubt_ends - now
        if self.heir is not None:
            self.heir.leave_if_done()
        if self.main.token and not signals.may_come() and not deadlock.foreign_threads():
            self.throw_into_main(deadlock.deadlock(self))
        return None

    def _sleep_time(self) -> float | None:
        """Seconds until something is to be done; None: until something happens."""
        deadline = self.timers.next_deadline()
        timeout = None if deadline is None else min(max(0.0, deadline - self.clock()), MAX_SLEEP)
        return self.io.look_for_closed(timeout)

    def throw_into_main(self, error: BaseException) -> None:
        """Raise `error` in main, at once if it is parked. What a green thread does that it ends."""
        if self.heir is not None:
            self.heir.leave_if_done(error)
        self.throw(self.main, error)

    # -- descriptors

    def wait_readable(self, fd: int, deadline: float | None = None) -> None:
        """Park until any descriptor, whatever its owner, is readable: now or later.

        deadline: absolute seconds of the clock. Raises TimeoutError; OSError EBADF when it is closed meanwhile;
        AlreadyWaiting. May return early; so try again, in a loop.
        """
        descriptor = self.io.level_triggered(fd)
        if descriptor is not None:
            self.io.wait_read(descriptor, deadline)

    def wait_writable(self, fd: int, deadline: float | None = None) -> None:
        """Park until any descriptor is writable: now or later. Raises as `wait_readable` does."""
        descriptor = self.io.level_triggered(fd)
        if descriptor is not None:
            self.io.wait_write(descriptor, deadline)

    def on_readable(self, fd: int, callback: Callable[..., object], *args: Any) -> Watch:
        """Call, in the hub's greenlet, as often as fd is found readable; until `cancel` on what is returned.

        Raises OSError (EBADF; EPERM: a regular file, which is always ready); AlreadyWaiting.
        """
        return self.io.watch(fd, READ, callback, args)

    def on_writable(self, fd: int, callback: Callable[..., object], *args: Any) -> Watch:
        """Call as often as fd is found writable; see `on_readable`."""
        return self.io.watch(fd, WRITE, callback, args)

    # -- the end

    def abandon(self) -> None:
        """In a forked child: give back the descriptors that it shares with the parent."""
        self.sleeping = False
        self.io.poller.close()
        self.wakeup.close(lock=False)

    def close(self) -> None:
        """End the green threads that are left, and give the descriptors back. The hub cannot be used afterwards.

        In each of them GreenletExit is raised, at every park, until it ends; one that swallows a hundred is given up.
        To be called in main. Raises HubError elsewhere.
        """
        if self.closed:
            return
        ours = _thread.get_ident() == self.thread_id and not sys.is_finalizing()
        if ours:
            if _getcurrent() is not self.main:
                raise HubError("a hub can be closed only in its OS thread's main greenlet")
            self.closed = True
            shutdown.end_green_threads(self)
            self.loop.throw()
        self.closed = True
        self.sleeping = False
        signals.release(self)
        self.io.poller.close()
        self.wakeup.close(lock=ours)  # a forked child has lost the OS threads, and perhaps with one of them the lock

    def forget_all(self) -> None:
        """Forget every green thread and timer."""
        for known in (self.adopted, self.carriers, self.idle_carriers, self.ready, self.timers):
            known.clear()
        self.ready.append(MARK)
        self.background = Background(self)


def running() -> Greenlet:
    """The running greenlet, with the attributes that parking needs. Raises BlockingInHub in a hub's own greenlet."""
    greenlet: Any = _getcurrent()
    try:
        greenlet.hub  # noqa: B018 - one attribute look-up is the cheapest question
    except AttributeError:
        _adopt(greenlet)
    return greenlet  # type: ignore[no-any-return]  # a root greenlet is given a Greenlet's attributes


def _adopt(greenlet: Any) -> None:
    hub = current_hub()
    if greenlet is not hub.main:
        adopt(greenlet, hub)
        hub.adopted.add(greenlet)


def current_hub() -> Hub:
    """This OS thread's hub, made at the first call.

    >>> event = greenserve.Event()
    >>> timer = greenserve.current_hub().call_later(0.01, event.send, "called back")
    >>> event.wait()
    'called back'
    """
    try:
        return _threads.holder.hub
    except AttributeError:
        return use_hub(Hub())


def hub_here() -> Hub | None:
    """This OS thread's hub, if it has one and its code may wait in it: so not in the hub's own greenlet."""
    try:
        hub = _threads.holder.hub
        return None if _getcurrent() is hub.loop else hub
    except (AttributeError, RuntimeError):  # RuntimeError: a finaliser's call, while the interpreter ends
        return None


def use_hub(hub: Hub) -> Hub:
    """Make `hub` this OS thread's, e.g. one with a virtual clock. The one before it is closed, and its green threads
    end.
    """
    before: _Holder | None = getattr(_threads, "holder", None)
    if before is not None and before.hub is not hub:
        before.hub.close()
    _threads.holder = _Holder(hub)
    adopt(hub.main, hub)
    signals.claim(hub)
    with _all_hubs_lock:
        _all_hubs.add(hub)
    return hub


@contextlib.contextmanager
def stand_in(hub: Hub) -> Iterator[Hub]:
    """Make `hub` this OS thread's for a `with` block in main; the one before, and its green threads, go on afterwards.

    `hub` is closed at the end, and its green threads end. Raises HubError elsewhere than in main.
    """
    before: _Holder | None = getattr(_threads, "holder", None)
    main: Any = hub.main
    if _getcurrent() is not hub.main:
        raise HubError("another hub can stand in only in the OS thread's main greenlet")
    if before is not None:
        pending = main.pending
        del _threads.holder  # not closed, since we have it
    use_hub(hub)
    try:
        yield hub
    finally:
        hub.close()
        del _threads.holder
        if before is not None:
            _threads.holder = before
            adopt(main, before.hub)
            main.pending = pending
            signals.claim(before.hub)
        else:
            del main.hub  # or main would go on to park in the one that is closed


def all_hubs() -> list[Hub]:
    """Those of all OS threads."""
    with _all_hubs_lock:
        return [hub for hub in _all_hubs if not hub.closed]


_all_hubs: weakref.WeakSet[Hub] = weakref.WeakSet()
_all_hubs_lock = _thread.RLock()  # one that is held at a fork is replaced in the child


class _Holder:
    """Ends with its OS thread, and closes the hub then."""

    __slots__ = ("hub",)

    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    def __del__(self, finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if not finalizing():
            with shutdown.leaving():
                self.hub.close()


class _Threads(threading.local):
    holder: _Holder


_threads = _Threads()


def _after_fork_in_child() -> None:
    global _all_hubs_lock  # noqa: PLW0603 - see there
    _all_hubs_lock = _thread.RLock()
    deadlock.bystanders.count = 0
    shutdown.begin_afresh()
    holder: _Holder | None = getattr(_threads, "holder", None)
    for hub in list(_all_hubs):
        if (holder is None or hub is not holder.hub) and not hub.closed:
            hub.abandon()
            hub.closed = True
    if holder is not None:
        fork.begin_afresh(holder.hub)


os.register_at_fork(after_in_child=_after_fork_in_child)

atexit.register(lambda: shutdown.rest(all_hubs()))

if sys.implementation.name != "cpython":
    raise ImportError("greenserve needs CPython, because greenlet does")
