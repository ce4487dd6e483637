"""The request pool: at most `size` jobs are in progress, each in a green thread; further ones wait in line.

The green thread is a carrier of the hub, lent for as long as there is something to do; so the pool is a count and a
queue. The queue is the back-pressure: a waiting connection is not read, its client's window fills, and the kernel tells
the client. A green thread that is done takes the job that is next in the hub's own order, if a job it is: between two
requests there is then no switch at all, and no job is overtaken.
"""

from __future__ import annotations

import mmap
from collections import deque
from typing import Any

from greenlet import GreenletExit, getcurrent

from greenserve.hub.core.hub import Carrier, Hub, HubCall

RETRY_LATER = (("Retry-After", "10"),)  # seconds (RFC 9110 §10.2.3); by then what is silent has met header_timeout
CROWD = 3  # an eighth of the green threads, as a power of two
RESERVE = 1 << 20  # bytes of address space, untouched, for the errors that the want of memory makes


def _make_reserve() -> mmap.mmap | None:
    try:
        return mmap.mmap(-1, RESERVE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, MemoryError):
        return None


class Killed(GreenletExit):
    """The server ends a request. Of another class than what an application may raise, so that it can be told apart."""


class PoolJob(HubCall):
    """Something that a green thread of the pool does, and that can be made ready by the poller again and again."""

    __slots__ = ("detached", "greenlet")

    greenlet: Carrier | None  # that does it at present
    detached: bool  # its green thread is no longer one of the pool

    def begin(self) -> bool:
        """Called when it is ready, before it gets a green thread. Returns whether it needs one."""
        raise NotImplementedError

    def run(self) -> None:
        """Do it, in a green thread. Raises nothing."""
        raise NotImplementedError

    def refuse(self, why: str) -> None:
        """It can get no green thread: end it. Called in the hub's greenlet; raises nothing."""
        raise NotImplementedError

    def fail(self, error: BaseException) -> None:
        """`run` has raised after all (a signal handler has, say): end it."""
        raise NotImplementedError


class RequestPool:
    """The jobs with a green thread, and those that wait for one. Also the job that the hub's carriers see."""

    __slots__ = ("_hub", "_most", "_most_waiting", "_reserve", "_size", "busy", "detached", "waiting")

    def __init__(self, hub: Hub, size: int, most_waiting: int | None = None) -> None:
        self._hub = hub
        self._most_waiting = most_waiting
        self._most = self._size = size
        self._reserve: mmap.mmap | None = _make_reserve()
        self.busy = 0  # how many green threads there are
        self.detached = 0  # how many have left the pool with a job that goes on and on
        self.waiting: deque[PoolJob] = deque()

    @property
    def is_crowded(self) -> bool:
        """Whether so many are in progress that green threads are to be spared. So a client cannot hold most of them."""
        return self.busy > self._size >> CROWD

    def admit(self, job: PoolJob) -> None:
        """Start `job` at once, or put it in line, or refuse it. In the hub's greenlet only."""
        if self.busy >= self._size:
            if self._most_waiting is None or len(self.waiting) < self._most_waiting:
                self.waiting.append(job)
            else:
                job.refuse(f"max_queue ({self._most_waiting}) requests wait already")
            return
        self.busy += 1
        try:
            carrier = self._hub.take_carrier(self)
            carrier.outcome = job
            carrier.switch()
        except MemoryError:
            if job.greenlet is not None:  # it has begun, and is parked: whose error this is we cannot know
                raise
            self.busy -= 1
            self.run_short()
            job.refuse("there is no memory for a green thread")

    def run_short(self) -> None:
        """Memory has run out: give back the reserve, and start no more green threads than there are for now."""
        if self._reserve is not None:
            self._reserve.close()
            self._reserve = None
        self._size = max(1, self.busy)

    def restock(self) -> None:
        """If memory had run out and there is some again, go on as before. In the hub's greenlet, now and then."""
        if self._reserve is None:
            self._reserve = _make_reserve()
        if self._reserve is not None and self._size < self._most:
            self._size = self._most
            while self.waiting and self.busy < self._size:
                self.admit(self.waiting.popleft())

    def fail(self, error: BaseException) -> None:
        """Nothing: the job in progress is what fails, and `admit` has seen to one that could not be begun."""

    def run(self) -> None:
        """A green thread's life: one job after another, as long as they are at hand."""
        carrier: Any = getcurrent()
        job: PoolJob | None = carrier.outcome
        waiting, take_first = self.waiting, self._hub.take_first
        try:
            while job is not None:
                carrier.job = job
                job.greenlet = carrier
                job.run()
                job.greenlet = None
                if job.detached:
                    break
                if waiting:
                    job = waiting.popleft()
                else:
                    job = take_first(PoolJob)
                    if job is not None and not job.begin():
                        job = None
        finally:  # an error, too, gives the place back: there are only so many
            if job is not None:
                job.greenlet = None
            if job is not None and job.detached:
                job.detached = False
                self.detached -= 1
            else:
                self.busy -= 1

    def detach(self, job: PoolJob) -> None:
        """Let `job` go on outside the pool (a WebSocket, which may live for days); its place is free for others."""
        if job.greenlet is not None and not job.detached:
            job.detached = True
            self.detached += 1
            self.busy -= 1
            if self.waiting:
                self._hub.call_soon(self.admit, self.waiting.popleft())

    def kill(self, job: PoolJob) -> None:
        """Raise Killed in the green thread that has `job`, where it waits."""
        if job.greenlet is not None:
            self._hub.throw(job.greenlet, Killed())
