"""Parking and resuming: the ready queue of one OS thread, and every way into and out of it.

Strategy. `ready` is one deque: greenlets to resume, `HubCall`s, and one MARK, which ends a round. A greenlet that parks
switches straight to the next ready one; only what is not a started greenlet (a new carrier, a call) takes the way
through the hub's own greenlet, as does the end of a round when timers or descriptors are due. So a switch costs one
switch, not two, and a loop of sleep(0) cannot keep the hub from I/O. A new greenlet is started by the hub alone:
started from another greenlet it would lie on top of that one's C stack, and a hundred thousand of these would overflow
it.

Invariants.
* A parked greenlet is resumed by the claimer of its token (ready.py). Spurious switches
  (a raw greenlet finishing into its parent) are ignored: `park` loops until its token is claimed.
* An exception for a greenlet that is not parked, or is claimed already, waits in `pending` until its next park, lest it
  destroy what the greenlet was handed.
* `park`, `pause` and `switch_away` are the only places where a greenlet yields.
* An exception may come before any instruction (a signal handler that raises), and at every call once the recursion
  limit is near: it is the running greenlet's alone. So what is taken from a queue is named first and removed then,
  and put back without a call (`ready += ...`) when the switch to it did not take place. It may then be in the queue
  twice, which is a resumption without a claim.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import greenlet as _greenlet
from greenlet import getcurrent as _getcurrent

from greenserve.errors import HubError
from greenserve.hub.core import originals as _thread
from greenserve.hub.core import report
from greenserve.hub.core.background import Background
from greenserve.hub.core.greenlets import MAX_IDLE_CARRIERS, Carrier, Greenlet, Job, Loop, Visitor, raise_pending
from greenserve.hub.core.ready import MARK, TIMED_OUT, Call, Throw, Token
from greenserve.hub.core.timers import DUE, Timer, Timers
from greenserve.hub.core.wakeup import Wakeup

T = TypeVar("T")


class Network(Protocol):
    """Makes stream sockets that are not the system's. Both raise OSError."""

    def listen(self, address: Any, backlog: int) -> Any:
        """A listening socket."""

    def connect(self, address: Any, source: Any, deadline: float | None) -> Any:
        """A connected socket."""


class Scheduler:
    """What the hub is to the greenlets that park in it. `main` is its OS thread's root greenlet."""

    # Slots, which a hub's many attributes need: from the thirty-first on, CPython looks them all up in a dict. Where it
    # counts, one that is called is taken out first: `self.clock()` would look for a method before.
    __slots__ = (
        "background",
        "carriers",
        "clock",
        "closed",
        "external",
        "idle_carriers",
        "interruptions",
        "loop",
        "main",
        "make_ready",
        "max_idle_carriers",
        "network",
        "poll_round",
        "poll_time",
        "ready",
        "rounds",
        "sleeping",
        "thread_id",
        "timers",
        "wakeup",
    )

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.take_turns(collections.deque([MARK]))
        self.background = Background(self)  # what goes on when nothing else is ready
        self.timers = Timers()
        self.carriers: set[Carrier] = set()
        self.idle_carriers: list[Carrier] = []
        self.max_idle_carriers = MAX_IDLE_CARRIERS
        self.external = 0  # operations under way elsewhere that will call back (an OS thread pool's)
        self.sleeping = False  # in the poller, for long: another OS thread that makes something ready must use `wakeup`
        self.closed = False
        self.network: Network | None = None  # of a test's, in the place of the system's; see greenserve.testing
        self.interruptions: collections.deque[Callable[[], object]] = collections.deque()  # calls to be made in main
        self.rounds = 0  # ended so far
        self.poll_round = 0  # the poller's turn, however many are ready: at this round
        self.poll_time = 0.0  # or at this time
        self.thread_id = _thread.get_ident()
        self.wakeup = Wakeup()
        self.main: Any = _root_greenlet()
        self.loop = Loop(self._run, self.main)

    def take_turns(self, ready: collections.deque[Any]) -> None:
        """Run what is ready in the order of `ready`, which holds a MARK."""
        self.ready = ready
        # The way in from outside, for this hub's thread: a `HubCall`, or a greenlet that is started and was claimed.
        self.make_ready: Callable[[Any], None] = ready.append

    def _run(self) -> None:
        raise NotImplementedError

    # -- parking

    def park(self, greenlet: Greenlet, token: Token) -> Any:
        """Yield until `token` ([greenlet]) is claimed. Returns the outcome that the claimer gave to `wake`.

        Raises what was thrown meanwhile, or was pending already; then the token is empty.
        """
        greenlet.token = token  # before the look at `pending`: a signal handler between the two finds the token
        ready = self.ready
        if greenlet.pending is not None:
            self._attend(greenlet, token)
        following: Any = greenlet
        try:
            while True:
                following = ready[0]
                if following or (following := self._next_round(following)):
                    ready.popleft()
                else:
                    following = self._last_resort()
                following.switch()
                if not token:
                    break
                if self.interruptions:
                    self._attend(greenlet, token)
                    if not token:
                        break
        except BaseException as error:
            if greenlet.outcome is not error:  # not a Throw: the switch may not have taken place
                del token[:]
                if following and following is not self.loop and not self.closed:
                    ready += (following,)
            greenlet.outcome = None
            raise
        outcome = greenlet.outcome
        greenlet.outcome = None  # the thread may live long, and what it was handed should not
        return outcome

    def park_until(self, greenlet: Greenlet, token: Token, deadline: float | None) -> Any:
        """`park` with a deadline (None: none): returns TIMED_OUT when it came first."""
        if deadline is None:
            return self.park(greenlet, token)
        timers = self.timers
        timers.add(deadline, token)
        try:
            outcome = self.park(greenlet, token)
        except BaseException:
            timers.forget(token)
            raise
        if outcome is not TIMED_OUT:
            timers.forget(token)
        return outcome

    def pause(self, greenlet: Greenlet) -> None:
        """Let every other ready green thread run once."""
        ready = self.ready
        following: Any = greenlet
        try:
            ready.append(greenlet)
            following = ready[0]
            if following or (following := self._next_round(following)):
                ready.popleft()
            else:
                following = self._last_resort()
            following.switch()
        except BaseException:
            if following and following is not self.loop and not self.closed:
                ready += (following,)
            raise
        if greenlet.pending is not None:
            raise_pending(greenlet)

    def turn_is_over(self) -> bool:
        """Whether the running code has held the hub for as long as one turn may last: the poller is due.

        A loop over what a peer has sent asks this now and then (it costs one look at the clock), and then gives way:
        by `give_way` in a green thread, by `background.add` in a callback of the hub's.
        """
        clock = self.clock
        return clock() >= self.poll_time

    def give_way(self, greenlet: Greenlet) -> None:
        """`pause` if the running green thread has held the hub for as long as one turn may last."""
        if self.clock() >= self.poll_time:
            self.pause(greenlet)

    def switch_away(self) -> None:
        """Run what is next. For a greenlet that will be resumed."""
        # `pause` and `park` have the same steps written out: a call would be a tenth of what they cost.
        ready = self.ready
        following: Any = None
        try:
            following = ready[0]
            if following or (following := self._next_round(following)):
                ready.popleft()
            else:
                following = self._last_resort()
            following.switch()
        except BaseException:
            if following and following is not self.loop and not self.closed:
                ready += (following,)
            raise

    def _next_round(self, first: Any) -> Any:
        """End the round here if `first` is the MARK and nothing else is due, since the way through the hub costs two
        switches. Returns what is then first in `ready`; None when that was not possible.
        """
        ready = self.ready
        if first is MARK and self.rounds < self.poll_round and len(ready) > 1:
            clock = self.clock
            now = clock()
            heap = self.timers.heap
            if now < self.poll_time and not (heap and heap[0][DUE] <= now):
                self.rounds += 1
                ready.rotate(-1)
                return ready[0]
        return None

    def _last_resort(self) -> Any:
        """What to switch to when the first in `ready` is not a started greenlet: the hub, which deals with it."""
        if not self.closed:
            return self.loop
        if _getcurrent() is self.main:
            raise HubError("this thread's hub is closed")
        return self.main  # in `close`: it gives up a green thread that has swallowed so many GreenletExits

    # -- what comes in between

    def interrupt(self, call: Callable[[], object]) -> None:
        """Have `call()` made in main: within its present park, or else at its next one. For signal handlers."""
        self.interruptions.append(call)
        if self.main.pending is None:
            self.main.pending = []  # `pause` looks only at this
        self.ready.append(self.main)
        if self.sleeping:
            self.wakeup.wake()

    def run_interruptions(self) -> None:
        """Make the calls that wait for main, which runs this. What one raises is raised; the others then wait."""
        interruptions = self.interruptions
        while interruptions:
            interruptions.popleft()()

    def _attend(self, greenlet: Greenlet, token: Token) -> None:
        """Deal with what has come for a greenlet that is about to park, or was resumed without a claim.

        Raises the first exception that is pending. A greenlet that is claimed is resumed in any case, with what it is
        handed; so then the exception waits for the next park.
        """
        if self.interruptions and greenlet is self.main:
            self._attend_interruptions(greenlet)
            if not token:  # claimed meanwhile; and the switch that belongs to the claim has been used up
                self.ready.append(greenlet)
        if not greenlet.pending:
            greenlet.pending = None
            return
        try:
            del token[0]
        except IndexError:
            return
        raise_pending(greenlet)

    def _attend_interruptions(self, greenlet: Greenlet) -> None:
        """Run main's interruptions in a greenlet on top of main, so that they can park while main can be claimed.

        Raises what was thrown into main meanwhile (they get it first); what they raise is pending afterwards.
        """
        visitor = Visitor(self)
        proceed = visitor.switch
        thrown = raised = None
        while not visitor.dead:
            try:
                proceed()
            except BaseException as error:  # of their end, or thrown into main
                if visitor.dead:
                    raised = error
                else:
                    thrown = error
                    self.throw(visitor, error)
            proceed = self.switch_away
        if thrown is not None:
            raise raised or thrown
        if raised is not None:
            greenlet.pending = [raised, *(greenlet.pending or ())]

    # -- resuming

    def throw(self, greenlet: Any, error: BaseException) -> None:
        """Raise `error` in a greenlet of this hub: where it is parked, or else at its next park. This hub's thread
        only.
        """
        throw = Throw(greenlet, error)
        token = greenlet.token
        ready = self.ready
        try:
            del token[0]
            ready += (throw,)
            if self.sleeping:  # a signal handler's
                self.wakeup.wake()
        except IndexError:
            greenlet.pending = [*(greenlet.pending or ()), error]
        except BaseException:
            if not token:  # it is claimed, so it must be resumed; twice is harmless
                ready += (throw,)
            raise

    def throw_into_main(self, error: BaseException) -> None:
        """Raise `error` in the thread's main greenlet, at once if it is parked."""
        self.throw(self.main, error)

    def take_carrier(self, job: Job) -> Carrier:
        """A carrier for `job`, with an empty context, to be appended to `ready` (or, in the hub, switched to)."""
        try:
            carrier = self.idle_carriers.pop()
        except IndexError:
            carrier = Carrier(self)
        carrier.job = job
        return carrier

    def run_next(self, carrier: Carrier) -> None:
        """Switch to `carrier` as soon as the running `HubCall` has returned."""
        self.ready.appendleft(carrier)

    def take_first(self, kind: type[T]) -> T | None:
        """Take what is first in the ready queue if it is of a `kind` of HubCall: the caller does what it would do."""
        ready = self.ready
        if ready and isinstance(ready[0], kind):
            return ready.popleft()  # type: ignore[no-any-return]  # what we have just looked at
        return None

    def escaped(self, job: Any, error: BaseException) -> None:
        """An error has come up through a job's `run`, which catches all there is to catch."""
        try:
            job.fail(error)
        except BaseException as failed:  # the carrier must go on
            report.print_error(f"uncaught in {type(job).__name__}.fail", failed)
        if isinstance(error, SystemExit | KeyboardInterrupt):
            self.throw_into_main(error)
        elif not isinstance(error, _greenlet.GreenletExit):
            report.print_error(f"uncaught in {job!r}", error)

    def call_soon(self, callback: Callable[..., object], *args: Any) -> None:
        """Call in the hub's greenlet, in this round. The callback must not block. This hub's thread only."""
        self.ready.append(Call(callback, args))

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: Any) -> None:
        """`call_soon` from any OS thread, and from signal handlers."""
        self.ready.append(Call(callback, args))
        if self.sleeping:
            self.wakeup.wake()

    def call_later(self, seconds: float, callback: Callable[..., object], *args: Any) -> Timer:
        """Call in the hub's greenlet after `seconds`. Returns a `Timer` with `cancel`. This hub's thread only."""
        return Timer(self.timers, self.clock() + seconds, callback, args)


def _root_greenlet() -> _greenlet.greenlet:
    greenlet = _getcurrent()
    while greenlet.parent is not None:
        greenlet = greenlet.parent
    return greenlet
