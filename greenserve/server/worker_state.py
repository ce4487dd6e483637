"""How far a worker's life has come, and what may follow. worker.py's `_enter` is the one way to the next state."""

from __future__ import annotations

from enum import Enum


class WorkerState(Enum):
    """What a worker does with new connections and requests. NEXT says what may follow."""

    SERVING = "serving"
    LAME_DUCK = "lame duck"  # the drain delay: accepts and answers, each request with `Connection: close`
    DRAINING = "draining"  # accepts nothing; requests in progress finish
    STOPPED = "stopped"


NEXT: dict[WorkerState, frozenset[WorkerState]] = {
    WorkerState.SERVING: frozenset({WorkerState.LAME_DUCK, WorkerState.DRAINING, WorkerState.STOPPED}),
    WorkerState.LAME_DUCK: frozenset({WorkerState.DRAINING, WorkerState.STOPPED}),
    WorkerState.DRAINING: frozenset({WorkerState.STOPPED}),
    WorkerState.STOPPED: frozenset(),
}
