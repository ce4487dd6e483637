"""Block other threads' hubs for good before the interpreter finalizes: greenlets crash if they need the GIL then.

An OS thread that asks for the interpreter's lock during finalization is ended by pthread_exit, which unwinds its C
stack; and where that leads through a greenlet, its destructors touch objects without holding the lock, and crash. So a
hub that would wake up then (its thread is a daemon, and a timer is set) is given a call that never returns; an OS
thread that ends just then, and so ends its green threads, is waited for; and one that would begin to do so is stopped.

Invariant: an OS thread enters `_leaving` before it looks whether the rest has begun, and `rest` says so before it looks
at `_leaving`: so one of the two sees the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

from greenlet import GreenletExit

from greenserve.hub.core import originals as _thread
from greenserve.hub.core.greenlets import Carrier
from greenserve.hub.core.ready import MARK
from greenserve.hub.core.scheduler import Scheduler

SECONDS = 0.1  # for all to come to their hub; one that computes, or is blocked elsewhere, does not come
MAX_EXITS = 100  # how many GreenletExits a green thread may swallow when its hub is closed
SECONDS_TO_LEAVE = 5.0  # for an OS thread that ends to run the `finally` blocks of its green threads

_leaving: list[Any] = []  # locks; each is released when an OS thread has ended its green threads
_begun: list[int] = []  # the number of the OS thread that ends the interpreter


@contextmanager
def leaving() -> Iterator[None]:
    """Around the end of an OS thread's green threads. Never returns when the interpreter ends already."""
    done = _thread.allocate_lock()
    done.acquire()
    _leaving.append(done)
    try:
        if _begun and _thread.get_ident() not in _begun:
            done.release()
            _stop()
        yield
    finally:
        _leaving.remove(done)
        done.release()


def end_green_threads(hub: Any) -> None:
    """Raise GreenletExit in those of a `Hub` that is closed, at every park, until each has ended. In its main."""
    hub.max_idle_carriers = 0
    for item in list(hub.ready):
        # Not begun: its waiters must not wait forever.
        beginning = item.job if isinstance(item, Carrier) and not item else item
        cancel = getattr(beginning, "cancel", None)
        if cancel is not None:
            cancel()
    greenlets = [*hub.adopted, *hub.carriers]
    for greenlet in greenlets:
        greenlet.parent = hub.main  # where its end brings us back
        greenlet.pending = [GreenletExit()] * MAX_EXITS
    hub.ready.clear()
    hub.ready.append(MARK)
    for greenlet in greenlets:
        if greenlet:
            greenlet.token.clear()
            greenlet.throw()
    hub.forget_all()


def begin_afresh() -> None:
    """In a forked child, where the parent's other OS threads do not exist."""
    _leaving.clear()


def rest(hubs: Iterable[Scheduler]) -> None:
    """Stop these hubs, but not the running OS thread's, for good."""
    _begun.append(_thread.get_ident())
    for done in list(_leaving):
        done.acquire(timeout=SECONDS_TO_LEAVE)
    arrivals = [_come_to_rest(hub) for hub in hubs if hub.thread_id != _thread.get_ident()]
    deadline = monotonic() + SECONDS
    for arrival in arrivals:
        arrival.acquire(timeout=max(0, deadline - monotonic()))


def _come_to_rest(hub: Scheduler) -> Any:
    """Ask a hub to stop; the lock that is returned is released when it has come so far."""
    arrival = _thread.allocate_lock()
    arrival.acquire()

    def stop() -> None:
        arrival.release()
        _stop()

    hub.call_soon_threadsafe(stop)
    return arrival


def _stop() -> None:
    never = _thread.allocate_lock()
    never.acquire()
    never.acquire()
