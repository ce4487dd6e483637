"""A worker as one of several: its slot in the table, its turn at the listeners they share, its way to the supervisor.

Strategy of the turn. All workers wait for the same listening sockets, and the quickest would take most connections: the
one that has just accepted is awake. So a worker that has clearly more to do than the least busy one gives way for a
moment, in which that one accepts; then it accepts itself, since the other may be held up. A worker whose hub does not
turn counts no more after a second.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from math import inf
from os import sysconf
from pathlib import Path
from random import randint
from time import monotonic_ns
from typing import Any

from greenserve.hub.core.hub import Watch
from greenserve.server.sticky.directory import Sessions
from greenserve.settings import Settings
from greenserve.supervisor.channel import Channel, Gone
from greenserve.supervisor.table import Cell, Slot, State, Table

logger = logging.getLogger("greenserve.server")

BEAT_SECONDS = 0.25
STALE = 1_000_000_000  # nanoseconds without a heartbeat, after which a worker is not waited for
MARGIN = 2  # how much more than the least busy worker one may have
# Where connections end all the time, balance comes by itself; to give way then would leave processors idle.
LIVELY = 2_000_000  # nanoseconds: a worker of which a connection has ended within
LIVELY_MARGIN = 64  # has this margin,
LIVELY_SHARE = 4  # or one part in so many of its connections
YOUNG_SECONDS = (
    5.0  # a worker that takes too much from its beginning is not replaced sooner: its successor takes as much
)
LOOK_PERIOD = 1_000_000_000  # nanoseconds between two looks at what takes time to see
_BEAT = int(BEAT_SECONDS * 1e9)
_PAGE = sysconf("SC_PAGE_SIZE")
_STATM = Path("/proc/self/statm")


@dataclass(frozen=True, slots=True)
class Limits:
    """Of a worker's life. requests: inf for any number; age: seconds; memory: bytes resident."""

    requests: float = inf
    age: float = inf
    memory: float = inf

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """Those of one worker: each has its own chance."""
        requests = (settings.max_requests or inf) + randint(0, settings.max_requests_jitter)  # noqa: S311 - no secret
        return cls(requests, settings.max_worker_age or inf, settings.max_worker_memory or inf)

    def exceeded(self, requests: int, age: float, memory: int) -> str:
        """Which one, in words; "" for none."""
        if requests >= self.requests:
            return f"it has served {requests} requests (max_requests)"
        if age >= self.age:
            return f"it has lived for {age:.0f} s (max_worker_age)"
        if memory > self.memory and age >= YOUNG_SECONDS:
            return f"it holds {memory >> 20} MiB (max_worker_memory)"
        return ""


class Member:
    """Writes the slot of a worker, and hears the supervisor; from `begin` on."""

    __slots__ = (
        *("_beaten", "_channel", "_ended", "_has_given_way", "_limits", "_look_at", "_slot", "_table"),
        *("_wants_to_go", "_watch", "_worker", "sessions"),
    )

    _watch: Watch
    _worker: Any  # Worker, which imports this module

    def __init__(
        self, table: Table, slot: Slot, channel: Channel, limits: Limits, sessions: Sessions | None = None
    ) -> None:
        self.sessions = sessions  # where they are sticky
        self._limits = limits
        self._look_at = 0  # when to, the next time
        self._wants_to_go = False
        self._table = table
        self._slot = slot
        self._channel = channel
        self._has_given_way = False
        self._beaten = 0  # when, the last time
        self._ended = 0  # when a connection has

    def begin(self, worker: Any) -> None:
        """The hub turns, and the supervisor is heard."""
        self._worker = worker
        hub = worker.hub
        self._watch = hub.on_readable(self._channel.fd, self._hear)
        self._beaten = monotonic_ns()
        self._beat()

    def become_ready(self) -> None:
        """The worker accepts from now on."""
        self._slot[Cell.STATE] = State.READY
        self._send({"ready": True})

    def count(self) -> None:
        """Show how much there is to do; at each change of the connections."""
        worker, cells = self._worker, self._slot.cells
        cells[Cell.CONNECTIONS] = len(worker.connections)
        cells[Cell.REQUESTS] = worker.pool.busy

    def count_end(self) -> None:
        """A connection has ended."""
        self._ended = monotonic_ns()
        self.count()

    def gives_way(self) -> bool:
        """Whether another worker should accept the next connection. Never twice in a row, unless this one is full."""
        worker = self._worker
        connections = len(worker.connections)
        if connections >= worker.admission.most:
            return self._another_has_less(worker.admission.most, 0)
        if self._has_given_way:
            self._has_given_way = False
            return False
        is_lively = monotonic_ns() - self._ended < LIVELY
        margin = max(LIVELY_MARGIN, connections // LIVELY_SHARE) if is_lively else MARGIN
        mine = connections + worker.pool.busy - margin
        self._has_given_way = mine > 0 and self._another_has_less(mine, 1)
        return self._has_given_way

    def _another_has_less(self, mine: int, weight: int) -> bool:
        """Whether the hub of another worker turns that has less than `mine`. weight: of a request in progress."""
        now = monotonic_ns()
        own = self._slot
        for slot in self._table.used():
            cells = slot.cells
            if (
                cells[Cell.CONNECTIONS] + weight * cells[Cell.REQUESTS] < mine
                and slot is not own
                and cells[Cell.STATE] == State.READY
                and now - cells[Cell.HEARTBEAT] < STALE
            ):
                return True
        return False

    def _hear(self) -> None:
        """The supervisor has said something, or has ended."""
        try:
            while (found := self._channel.receive()) is not None:
                self._obey(found[0])
        except Gone:
            logger.error("the supervisor has ended: stopping")
            self._worker.drain(restarting=True)
            self._watch.cancel()

    def _obey(self, order: dict[str, object]) -> None:
        if "drain" in order:
            self._slot[Cell.STATE] = State.DRAINING
            within = order.get("within")
            self._worker.drain(within, restarting=bool(order["drain"]), at_once=within is not None)
        elif "lame_duck" in order:
            self._worker.become_lame_duck()
        elif "force" in order:
            self._worker.force(str(order["force"]))

    def _beat(self) -> None:
        self._worker.hub.call_later(BEAT_SECONDS, self._beat)
        now = monotonic_ns()
        cells = self._slot.cells
        cells[Cell.HUB_LAG] = max(0, now - self._beaten - _BEAT)
        cells[Cell.HEARTBEAT] = self._beaten = now
        cells[Cell.WAITING] = len(self._worker.pool.waiting)
        cells[Cell.SERVED] = self._worker.served
        if now >= self._look_at:
            self._look_at = now + LOOK_PERIOD
            cells[Cell.MEMORY] = resident()
            cells[Cell.OLDEST] = int(self._worker.oldest() * 1e9)
        self.count()
        if not self._wants_to_go:
            age = (now - cells[Cell.STARTED]) / 1e9
            why = self._limits.exceeded(self._worker.served, age, cells[Cell.MEMORY])
            if why:
                self._wants_to_go = True
                self._send({"replace": why})

    def _send(self, message: dict[str, object]) -> None:
        try:
            self._channel.send(message)
        except Gone:  # which is about to be read
            pass


def resident() -> int:
    """Bytes of memory that this process holds; 0 where that is not known."""
    try:
        return int(_STATM.read_text().split()[1]) * _PAGE
    except OSError:  # no Linux
        return 0
