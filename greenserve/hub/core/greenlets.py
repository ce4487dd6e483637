"""The greenlets that run under a hub: carriers, which run jobs; the visitor, which runs main's signal handlers; and the
hub's own, the loop.

Invariant: a green thread is its job, never the carrier that runs it, which runs others afterwards.
"""

from __future__ import annotations

from typing import Any, NoReturn, Protocol

import greenlet as _greenlet
from greenlet import getcurrent as _getcurrent

from greenserve.errors import BlockingInHub
from greenserve.hub.core.ready import Token

MAX_IDLE_CARRIERS = 256  # parked for reuse; about 5 KiB each. A new greenlet costs ten times as much as a reused one


class Job(Protocol):
    """What a carrier runs: `run` raises nothing."""

    def run(self) -> None:
        """Do the work."""

    def fail(self, error: BaseException) -> None:
        """End the work by `error`: it could not be begun for want of memory, or `run` has raised after all."""


class Greenlet(_greenlet.greenlet):
    """A greenlet that the hub can park: the attributes that every greenlet has which runs under a hub."""

    # Not __slots__: a thread's root greenlet is made by the greenlet library, and is given the same names as
    # attributes.
    hub: Any
    job: Any  # the Job in progress; of the root greenlet: None
    token: Token  # the claim of the present (or last) park
    outcome: Any  # what the claimer handed over
    pending: list[BaseException] | None  # to raise at the next park; of main also [] while signal handlers wait for it
    thread: Any  # the GreenThread that the job is, or that stands for it; None until it is asked for


class Carrier(Greenlet):
    """A greenlet that runs one job after another.

    Since CPython 3.11 a new greenlet costs a mapped block of memory for its frames (10 µs and a page fault); a carrier
    that has done its job is parked for the next one instead of ending. What identifies a thread is its job, never its
    carrier.
    """

    __slots__ = ("hub", "job", "outcome", "pending", "thread", "token")

    def __init__(self, hub: Any) -> None:
        super().__init__(None, hub.loop)
        adopt(self, hub)

    @staticmethod  # a bound method's call would be one more frame in C, and all that is in C is copied at each switch
    def run() -> None:
        """Run jobs until there are enough idle carriers without this one."""
        self: Any = _getcurrent()
        hub = self.hub
        hub.carriers.add(self)
        idle_carriers = hub.idle_carriers
        try:
            while True:
                try:
                    self.job.run()
                except BaseException as error:  # a job's last catch
                    hub.escaped(self.job, error)
                self.job = self.thread = self.pending = self.outcome = self.gr_context = None
                if len(idle_carriers) >= hub.max_idle_carriers:
                    break
                idle_carriers.append(self)
                while self.job is None:  # not `if`: a resumption may be spurious
                    try:
                        hub.switch_away()
                    except BaseException as error:  # a signal handler's, or the hub is closed
                        if hub.closed:
                            raise
                        hub.throw_into_main(error)
        except BaseException:
            if self in idle_carriers:  # a signal handler has ended it
                idle_carriers.remove(self)
            raise
        finally:
            hub.carriers.discard(self)


class Visitor(_greenlet.greenlet):
    """Runs signal handlers while main is parked: to the program it is main, to the hub a greenlet of its own."""

    def __init__(self, hub: Any) -> None:
        super().__init__(hub.run_interruptions, hub.main)
        self.hub = hub
        self.job = hub.main.job or hub.main  # the owner of its locks
        self.token: Token = []
        self.outcome: Any = None
        self.pending: list[BaseException] | None = None
        self.gr_context = hub.main.gr_context

    @property
    def thread(self) -> Any:
        """Main's."""
        return self.hub.main.thread


class Loop(_greenlet.greenlet):
    """The hub's own greenlet. It has no `hub` to park in, and says so."""

    @property
    def hub(self) -> NoReturn:
        """Always an error."""
        raise BlockingInHub(
            "a blocking call was made in the hub's own greenlet (a callback of call_soon, call_later or on_readable), "
            "where nothing could resume it: let the callback spawn a green thread that makes the call"
        )


def raise_pending(greenlet: Greenlet) -> None:
    """Make the calls and raise the first exception that came while `greenlet` was not parked. Not while it may be
    claimed: what it is handed would be lost.
    """
    hub = greenlet.hub
    if hub.interruptions and greenlet is hub.main:
        hub.run_interruptions()
    pending = greenlet.pending
    greenlet.pending = None
    if pending:
        greenlet.pending = pending[1:] or None
        raise pending.pop(0)  # so that our frame, which will be in its traceback, does not hold it: a circle


def adopt(greenlet: Any, hub: Any) -> None:
    """Give a greenlet (a new carrier, a thread's root, or a user's own) what parking needs."""
    greenlet.hub = hub
    greenlet.job = None
    greenlet.token = []
    greenlet.outcome = None
    greenlet.pending = None
    greenlet.thread = None
