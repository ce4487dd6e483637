"""The hub: who runs next, and what the others wait for. One for each OS thread that blocks, made at its first wait.

Strategy. `ready` is one deque: greenlets to resume, callables wrapped as `HubCall`, and one MARK, which ends a round. A greenlet
that parks switches straight to the next ready one; only what is not a started greenlet (a new carrier, a call, the MARK) takes
the way through the hub's own greenlet, which between rounds serves timers and the poller. So a switch costs one switch, not two,
and a loop of sleep(0) cannot keep the hub from I/O. A new greenlet is started by the hub alone: started from another
greenlet it would lie on top of that one's C stack, and a hundred thousand of these would overflow it.

Laws.
* A parked greenlet is resumed by whoever claims its *token*, the list [greenlet], by popping it: list.pop is atomic, so of a
  release, a timer, a close and a kill, in whatever OS thread, exactly one wins. The losers find the list empty and go on to the
  next waiter; hence no wake-up is lost, none comes twice, and a resumption that hands something over is never overtaken.
* An exception for a greenlet that is not parked on a token waits in `pending` until its next park.
* `Hub.park` and `Hub.pause` are the only places where a greenlet yields.
"""

from __future__ import annotations

import _thread
import collections
import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import greenlet as _greenlet
from greenlet import getcurrent as _getcurrent

from greenserve.errors import AlreadyWaiting, BlockingInHub
from greenserve.hub import idle
from greenserve.hub.poller import HANGUP, READ, WRITE, Poller, default_poller
from greenserve.hub.timers import Timer, Timers, Token
from greenserve.hub.wakeup import Wakeup

MAX_IDLE_CARRIERS = 256  # parked for reuse; about 5 KiB each. A new greenlet costs ten times as much as a reused one
ROUNDS_BETWEEN_POLLS = 16  # with green threads ready: a poll costs as much as four switches
SECONDS_BETWEEN_POLLS = 0.001  # and yet no descriptor waits longer than this, and one round, for its turn

TIMED_OUT: Any = type("TimedOut", (), {"__repr__": lambda _: "TIMED_OUT", "__bool__": lambda _: False})()
"""The outcome of a park that its deadline ended."""


class Job(Protocol):
    """What a carrier runs: `run` raises nothing."""

    def run(self) -> None:
        """Do the work."""


class HubCall:
    """Something in the ready queue that is not a greenlet: the hub calls `switch` in its own greenlet. Must not block."""

    __slots__ = ()

    def __bool__(self) -> bool:
        """False, which sends a parking greenlet through the hub instead of straight here."""
        return False

    def switch(self) -> None:
        """Do it."""
        raise NotImplementedError


class Call(HubCall):
    """A function call that the hub makes once."""

    __slots__ = ("_args", "_callback")

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._callback = callback
        self._args = args

    def switch(self) -> None:
        """Make the call."""
        self._callback(*self._args)


class Throw(HubCall):
    """Resumes a claimed greenlet by an exception."""

    __slots__ = ("_error", "_greenlet")

    def __init__(self, target: Greenlet, error: BaseException) -> None:
        self._greenlet = target
        self._error = error

    def switch(self) -> None:
        """Throw it."""
        error, self._error = self._error, _NO_ERROR
        self._greenlet.throw(error)


_NO_ERROR = RuntimeError()
MARK = HubCall()


class Greenlet(_greenlet.greenlet):
    """A greenlet that the hub can park: the attributes that every greenlet has which runs under a hub."""

    # Not __slots__: a thread's root greenlet is made by the greenlet library, and is given the same names as attributes.
    hub: Hub
    job: Any  # the Job in progress; of the root greenlet: None
    token: Token  # the claim of the present (or last) park
    outcome: Any  # what the claimer handed over
    pending: list[BaseException] | None  # exceptions to raise at the next park
    thread: Any  # the GreenThread that the job is, or that stands for it; None until somebody asks


class Carrier(Greenlet):
    """A greenlet that runs one job after another.

    Since CPython 3.11 a new greenlet costs a mapped block of memory for its frames (10 µs and a page fault); a carrier that has
    done its job is parked for the next one instead of ending. What identifies a thread is its job, never its carrier.
    """

    __slots__ = ("hub", "job", "outcome", "pending", "thread", "token")

    def __init__(self, hub: Hub) -> None:
        super().__init__(None, hub.loop)
        self.hub = hub
        self.job = None
        self.token = []
        self.outcome = None
        self.pending = None
        self.thread = None

    def run(self) -> None:
        """Run jobs until there are enough idle carriers without this one."""
        hub = self.hub
        hub.carriers.add(self)
        idle_carriers = hub.idle_carriers
        while True:
            self.job.run()
            self.job = self.thread = self.pending = self.outcome = None
            if len(idle_carriers) >= MAX_IDLE_CARRIERS:
                break
            idle_carriers.append(self)
            hub.switch_away()
        hub.carriers.discard(self)


class Loop(_greenlet.greenlet):
    """The hub's own greenlet. It has no `hub` to park in, and says so."""

    @property
    def hub(self) -> Hub:
        """Always an error."""
        raise BlockingInHub(
            "a blocking call was made in the hub's own greenlet (a callback of call_soon, call_later, on_readable or link), "
            "where nothing could resume it: let the callback spawn a green thread that makes the call"
        )


class Descriptor:
    """One registered file descriptor: who waits to read and who to write.

    A waiter is a token, or a `HubCall` that is made ready at the next event. `hangup` stays set once the peer has closed or
    the descriptor has failed: there will be no other edge, so whoever would wait must look instead.
    """

    __slots__ = ("fd", "hangup", "hub", "reader", "writer")

    def __init__(self, hub: Hub, fd: int) -> None:
        self.hub = hub
        self.fd = fd
        self.reader: Token | HubCall | None = None
        self.writer: Token | HubCall | None = None
        self.hangup = False


class Hub:
    """One OS thread's scheduler. `current_hub()` gives the running thread's, which is made when it is first needed.

    clock: gives monotonic seconds; poller: see poller.py. Both can be given for tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, poller: Poller | None = None) -> None:
        self.clock = clock
        self.ready: collections.deque[Any] = collections.deque([MARK])
        self.timers = Timers()
        self.descriptors: dict[int, Descriptor] = {}
        self.carriers: set[Carrier] = set()
        self.idle_carriers: list[Carrier] = []
        self.sleeping = False
        self.external = 0  # operations under way elsewhere that will call back (an OS thread pool's)
        self.thread_id = _thread.get_ident()
        self.main: Any = _root_greenlet()
        self.loop = Loop(self._run, self.main)
        self.interrupt: BaseException | None = None  # the last SIGINT, on its way to main
        self._open(poller or default_poller())
        self._rounds = 0
        self._last_poll = 0.0
        adopt(self.main, self)

    def _open(self, poller: Poller) -> None:
        self.poller = poller
        self.wakeup = Wakeup()
        self.poller.add(self.wakeup.fd)
        self.poller.arm(self.wakeup.fd, READ)
        if self.wakeup.watch_signals() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._on_sigint)

    def _on_sigint(self, signum: int, frame: object) -> None:
        """KeyboardInterrupt belongs to main, not to whichever green thread runs just now.

        A second one, while the first has not got through (main is not reached because somebody computes), hits that somebody.
        """
        on_its_way = self.interrupt is not None and self.interrupt.__traceback__ is None
        if on_its_way or _getcurrent() is self.main:
            raise KeyboardInterrupt
        self.interrupt = KeyboardInterrupt()
        self.throw_into_main(self.interrupt)
        if self.sleeping:
            self.wakeup.wake()

    # -- parking and resuming

    def park(self, greenlet: Greenlet, token: Token) -> Any:
        """Yield until somebody claims `token` ([greenlet]). Returns the outcome that the claimer gave to `wake`.

        Raises what was thrown meanwhile, or was pending already; then the token is empty.
        """
        if greenlet.pending:
            token.clear()
            raise_pending(greenlet)
        greenlet.token = token
        ready = self.ready
        following = ready.popleft()
        if following:
            following.switch()
        else:
            ready.appendleft(following)
            self.loop.switch()
        return greenlet.outcome

    def park_until(self, greenlet: Greenlet, token: Token, deadline: float | None) -> Any:
        """`park` with a deadline (None: none): returns TIMED_OUT when it came first."""
        if deadline is None:
            return self.park(greenlet, token)
        self.timers.add(deadline, token)
        try:
            outcome = self.park(greenlet, token)
        except BaseException:
            self.timers.forget()
            raise
        if outcome is not TIMED_OUT:
            self.timers.forget()
        return outcome

    def pause(self, greenlet: Greenlet) -> None:
        """Let every other ready green thread run once."""
        ready = self.ready
        ready.append(greenlet)
        following = ready.popleft()
        if following:
            following.switch()
        else:
            ready.appendleft(following)
            self.loop.switch()
        if greenlet.pending:
            raise_pending(greenlet)

    def switch_away(self) -> None:
        """Run what is next. For a greenlet that somebody already knows to resume."""
        ready = self.ready
        following = ready.popleft()
        if following:
            following.switch()
        else:
            ready.appendleft(following)
            self.loop.switch()

    def throw(self, greenlet: Greenlet, error: BaseException) -> None:
        """Raise `error` in a greenlet of this hub: where it is parked, or else at its next park. This hub's thread only."""
        try:
            greenlet.token.pop()
        except IndexError:
            greenlet.pending = [*(greenlet.pending or ()), error]
        else:
            self.ready.append(Throw(greenlet, error))

    def take_carrier(self, job: Job) -> Carrier:
        """A carrier for `job`, with an empty context, to be appended to `ready` (or, in the hub, switched to)."""
        try:
            carrier = self.idle_carriers.pop()
        except IndexError:
            carrier = Carrier(self)
        carrier.job = job
        return carrier

    def call_soon(self, callback: Callable[..., object], *args: Any) -> None:
        """Call in the hub's greenlet, in this round. The callback must not block. This hub's thread only."""
        self.ready.append(Call(callback, args))

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: Any) -> None:
        """`call_soon` from any OS thread, and from signal handlers."""
        self.ready.append(Call(callback, args))
        if self.sleeping:
            self.wakeup.wake()

    def call_later(self, seconds: float, callback: Callable[..., object], *args: Any) -> Timer:
        """Call in the hub's greenlet after `seconds`. Returns a `Timer` with `cancel`."""
        timer = Timer(self.timers, callback, args)
        self.timers.add(self.clock() + seconds, timer)
        return timer

    # -- descriptors

    def register(self, fd: int) -> Descriptor:
        """Begin to watch a descriptor that the caller has just opened, and owns.

        What is still registered under this number belonged to a file that was closed behind our back: its waiters get EBADF.
        Raises OSError (EPERM: a regular file, which is always ready).
        """
        stale = self.descriptors.get(fd)
        if stale is not None:
            self.unregister(stale)
        self.poller.add(fd)
        descriptor = self.descriptors[fd] = Descriptor(self, fd)
        return descriptor

    def unregister(self, descriptor: Descriptor) -> None:
        """Watch no more; whoever waits gets EBADF. To be called before the descriptor is closed. This hub's thread only."""
        fd = descriptor.fd
        if self.descriptors.get(fd) is descriptor:
            del self.descriptors[fd]
            self.poller.remove(fd)
        for waiter in (descriptor.reader, descriptor.writer):
            if isinstance(waiter, list) and waiter:
                self.throw(waiter[0], OSError(errno.EBADF, "the descriptor was closed by another green thread"))
        descriptor.reader = descriptor.writer = None
        descriptor.hangup = True

    def wait_read(self, descriptor: Descriptor, deadline: float | None = None) -> None:
        """Park until a registered descriptor *becomes* readable, after a system call has said EAGAIN.

        deadline: absolute seconds of the clock. Raises TimeoutError; OSError EBADF when it is closed meanwhile;
        AlreadyWaiting. May return early; so try again, in a loop.
        """
        greenlet = running()
        if descriptor.reader is not None:
            raise _already_waiting(descriptor.fd, "read")
        token: Token = [greenlet]
        descriptor.reader = token
        self.poller.arm(descriptor.fd, READ)
        try:
            outcome = self.park_until(greenlet, token, deadline)
        finally:
            if descriptor.reader is token:
                descriptor.reader = None
                self.poller.disarm(descriptor.fd, READ)
        if outcome is TIMED_OUT:
            raise TimeoutError("timed out")

    def wait_write(self, descriptor: Descriptor, deadline: float | None = None) -> None:
        """Park until a registered descriptor becomes writable; see `wait_read`."""
        greenlet = running()
        if descriptor.writer is not None:
            raise _already_waiting(descriptor.fd, "write")
        token: Token = [greenlet]
        descriptor.writer = token
        self.poller.arm(descriptor.fd, WRITE)
        try:
            outcome = self.park_until(greenlet, token, deadline)
        finally:
            if descriptor.writer is token:
                descriptor.writer = None
                self.poller.disarm(descriptor.fd, WRITE)
        if outcome is TIMED_OUT:
            raise TimeoutError("timed out")

    def wait_readable(self, fd: int, deadline: float | None = None) -> None:
        """Park until any descriptor, whoever owns it, is readable: now or later. Raises as `wait_read` does."""
        descriptor = self._level_triggered(fd)
        if descriptor is not None:
            self.wait_read(descriptor, deadline)

    def wait_writable(self, fd: int, deadline: float | None = None) -> None:
        """Park until any descriptor is writable: now or later. Raises as `wait_read` does."""
        descriptor = self._level_triggered(fd)
        if descriptor is not None:
            self.wait_write(descriptor, deadline)

    def _level_triggered(self, fd: int) -> Descriptor | None:
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
            return self.register(fd)
        except PermissionError:
            return None

    # -- the loop

    def _run(self) -> None:
        while True:
            try:
                self._serve()
            except _greenlet.GreenletExit:
                return
            except (SystemExit, KeyboardInterrupt) as error:
                self.throw_into_main(error)
            except BaseException as error:  # noqa: BLE001 - a callback's error must not stop the others
                idle.print_error("a callback of the hub raised", error)

    def _serve(self) -> None:
        ready = self.ready
        popleft = ready.popleft
        while True:
            item = popleft()
            if item is not MARK:
                item.switch()
                continue
            ready.append(MARK)
            self._end_of_round()

    def _end_of_round(self) -> None:
        """Between two rounds: timers, then descriptors; sleep when nothing is ready."""
        ready = self.ready
        self._rounds += 1
        if self.timers.heap:
            now = self.clock()
            self._fire_timers(now)
            if len(ready) > 1 and self._rounds < ROUNDS_BETWEEN_POLLS and now - self._last_poll < SECONDS_BETWEEN_POLLS:
                return
        elif len(ready) > 1 and self._rounds < ROUNDS_BETWEEN_POLLS and self.clock() - self._last_poll < SECONDS_BETWEEN_POLLS:
            return
        self._poll()

    def _fire_timers(self, now: float) -> None:
        heap = self.timers.heap
        if not heap or heap[0][0] > now:
            return
        for what in self.timers.due(now):
            if isinstance(what, list):
                wake(what, TIMED_OUT)
            else:
                self.ready.append(Call(what.fire, ()))

    def _poll(self) -> None:
        self._rounds = 0
        timeout: float | None = 0.0
        if len(self.ready) == 1:
            deadline = self.timers.next_deadline()
            if deadline is not None:
                timeout = max(0.0, deadline - self.clock())
            elif idle.is_deadlock(self):
                self.throw_into_main(idle.deadlock(self))
                return
            else:
                timeout = None
        # Another OS thread appends to `ready` and then looks at `sleeping`; we set it and then look at `ready`.
        self.sleeping = True
        if len(self.ready) > 1:
            timeout = 0.0
        try:
            events = self.poller.wait(timeout)
        finally:
            self.sleeping = False
        self._last_poll = self.clock()
        for fd, mask in events:
            self._dispatch(fd, mask)

    def _dispatch(self, fd: int, mask: int) -> None:
        descriptor = self.descriptors.get(fd)
        if descriptor is None:
            if fd == self.wakeup.fd:
                self.wakeup.drain()
            return
        if mask & HANGUP:
            descriptor.hangup = True
        if mask & READ:
            waiter = descriptor.reader
            if waiter is not None:
                descriptor.reader = None
                self.poller.disarm(fd, READ)
                if type(waiter) is list:
                    wake(waiter)
                else:
                    self.ready.append(waiter)
        if mask & WRITE:
            waiter = descriptor.writer
            if waiter is not None:
                descriptor.writer = None
                self.poller.disarm(fd, WRITE)
                if type(waiter) is list:
                    wake(waiter)
                else:
                    self.ready.append(waiter)

    def throw_into_main(self, error: BaseException) -> None:
        """Raise `error` in the thread's main greenlet, at once if it is parked."""
        self.throw(self.main, error)

    # -- the end

    def reset(self) -> None:
        """Begin afresh in a forked child: the parent's green threads, timers and descriptors are not ours."""
        self.poller.close()
        self.wakeup.close()
        self.ready.clear()
        self.ready.append(MARK)
        self.timers.clear()
        self.descriptors.clear()
        self.carriers.clear()
        self.idle_carriers.clear()
        self.sleeping = False
        self.external = 0
        self.thread_id = _thread.get_ident()
        self._open(type(self.poller)())

    def close(self) -> None:
        """Give the descriptors back. The hub cannot be used afterwards."""
        self.poller.close()
        self.wakeup.close()


def wake(token: Token, outcome: Any = None) -> bool:
    """Claim a parked greenlet and make it ready: its `park` returns `outcome`. Safe in any OS thread and in signal handlers.

    Returns False when somebody else has claimed it already (it timed out, was killed, was woken).
    """
    try:
        greenlet = token.pop()
    except IndexError:
        return False
    greenlet.outcome = outcome
    hub = greenlet.hub
    hub.ready.append(greenlet)
    if hub.sleeping:
        hub.wakeup.wake()
    return True


def raise_pending(greenlet: Greenlet) -> None:
    """Raise the first exception that came while `greenlet` was not parked."""
    pending = greenlet.pending
    assert pending
    greenlet.pending = pending[1:] or None
    raise pending[0]


def running() -> Greenlet:
    """The running greenlet, with the attributes that parking needs. Raises BlockingInHub in a hub's own greenlet."""
    greenlet: Any = _getcurrent()
    try:
        greenlet.hub  # noqa: B018 - one attribute look-up is the cheapest question
    except AttributeError:
        adopt(greenlet, current_hub())
    return greenlet  # type: ignore[no-any-return]  # a root greenlet is given a Greenlet's attributes


def adopt(greenlet: Any, hub: Hub) -> None:
    """Give a greenlet that is not a carrier (a thread's root, or a user's own) what parking needs."""
    greenlet.hub = hub
    greenlet.job = None
    greenlet.token = []
    greenlet.outcome = None
    greenlet.pending = None
    greenlet.thread = None


def current_hub() -> Hub:
    """This OS thread's hub, made at the first call."""
    try:
        return _threads.holder.hub  # type: ignore[no-any-return]
    except AttributeError:
        return use_hub(Hub())


def use_hub(hub: Hub) -> Hub:
    """Make `hub` this OS thread's, e.g. one with a virtual clock. The one before it is closed."""
    before = getattr(_threads, "holder", None)
    if before is not None:
        before.hub.close()
    _threads.holder = _Holder(hub)
    adopt(hub.main, hub)
    return hub


class _Holder:
    """Ends with its OS thread, and closes the hub's descriptors then."""

    __slots__ = ("hub",)

    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    def __del__(self) -> None:
        self.hub.close()


class _Threads(threading.local):
    holder: _Holder


_threads = _Threads()


def _root_greenlet() -> _greenlet.greenlet:
    greenlet = _getcurrent()
    while greenlet.parent is not None:
        greenlet = greenlet.parent
    return greenlet


def _already_waiting(fd: int, verb: str) -> AlreadyWaiting:
    return AlreadyWaiting(
        f"another green thread already waits to {verb} on descriptor {fd}: let one green thread do all the {verb}ing, "
        "or guard the descriptor with a greenserve.Lock"
    )


def _after_fork_in_child() -> None:
    holder = getattr(_threads, "holder", None)
    if holder is not None:
        holder.hub.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)

if sys.implementation.name != "cpython":
    raise ImportError("greenserve needs CPython, for greenlet's sake")
