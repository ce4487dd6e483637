"""Bringing the hubs of other OS threads to rest before the interpreter ends.

An OS thread that asks for the interpreter's lock during finalization is ended by pthread_exit, which unwinds its C
stack; and where that leads through a greenlet, its destructors touch objects without holding the lock, and crash. So a
hub that would wake up then (its thread is a daemon, and a timer is set) is given a call that never returns.
"""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic
from typing import Any

from greenserve.hub import native as _thread
from greenserve.hub.parking import Parking

SECONDS = 0.1  # for all to come to their hub; one that computes, or is blocked elsewhere, does not come


def rest(hubs: Iterable[Parking]) -> None:
    """Stop these hubs, but not the running OS thread's, for good."""
    arrivals = [_come_to_rest(hub) for hub in hubs if hub.thread_id != _thread.get_ident()]
    deadline = monotonic() + SECONDS
    for arrival in arrivals:
        arrival.acquire(timeout=max(0, deadline - monotonic()))


def _come_to_rest(hub: Parking) -> Any:
    """Ask a hub to stop; the lock that is returned is released when it has come so far."""
    arrival = _thread.allocate_lock()
    arrival.acquire()

    def stop() -> None:
        arrival.release()
        never = _thread.allocate_lock()
        never.acquire()
        never.acquire()

    hub.call_soon_threadsafe(stop)
    return arrival
