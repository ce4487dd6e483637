"""The table that the supervisor and all workers see: one slot of numbers for each worker.

Invariants. A slot is written by its worker alone, and each cell is eight aligned bytes, which a processor reads and
writes as one: no reader ever sees half a number, and no lock is needed. Before a worker begins, the supervisor clears
its slot. Times are of the system-wide monotonic clock (CLOCK_MONOTONIC), in nanoseconds, so that processes can compare
them.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from enum import IntEnum, auto
from time import monotonic_ns
from typing import Self

CELLS = 64  # of a slot; eight cache lines, which no other worker's slot shares
_SIZE = CELLS * 8
NAME = "greenserve-workers"  # of the memory


class Cell(IntEnum):
    """What stands where in a slot. COUNTER cells only grow."""

    PID = 0
    GENERATION = auto()  # of the code that it runs: how many times it was loaded
    STATE = auto()  # a State
    HEARTBEAT = auto()  # when its hub last turned
    STARTED = auto()
    CONNECTIONS = auto()
    REQUESTS = auto()  # in progress
    WAITING = auto()  # requests that wait for their turn
    OLDEST = auto()  # when the oldest of the requests in progress began; 0: there is none
    HUB_LAG = auto()  # nanoseconds that the last turn came too late
    ACCEPTED = auto()  # connections so far
    SERVED = auto()  # requests so far
    MEMORY = auto()  # bytes resident, as of a few seconds ago
    AGE = auto()  # how many workers had begun when it did; of slot 0: so far
    LAST = auto()  # of slot 0, the supervisor's: the highest slot that a worker has
    SLOTS = auto()  # of slot 0: how many there are; more may stand behind them, see server/sticky
    RELOADED = auto()  # of slot 0: reloads after which all workers ran the new code
    NOT_RELOADED = auto()  # of slot 0: those that have failed


class State(IntEnum):
    """How far a worker's life has come."""

    FREE = 0  # no worker has this slot
    STARTING = auto()
    READY = auto()
    DRAINING = auto()


class Slot:
    """One worker's numbers."""

    __slots__ = ("cells", "index")

    def __init__(self, index: int, cells: memoryview) -> None:
        self.index = index
        self.cells = cells  # of "Q": unsigned, 64 bits

    def __getitem__(self, cell: Cell) -> int:
        return int(self.cells[cell])

    def __setitem__(self, cell: Cell, value: int) -> None:
        self.cells[cell] = value

    def beat(self) -> None:
        """The hub has turned."""
        self.cells[Cell.HEARTBEAT] = monotonic_ns()

    def silence(self, now: int) -> int:
        """Nanoseconds since the last heartbeat."""
        return max(0, now - int(self.cells[Cell.HEARTBEAT]))

    @property
    def name(self) -> str:
        """The worker's, as log lines call it."""
        return f"worker {self.index} (pid {self[Cell.PID] or '?'})"

    def clear(self) -> None:
        """For another worker."""
        for cell in range(CELLS):
            self.cells[cell] = 0


class Table:
    """All slots. fd: of the memory, for processes that are started rather than forked."""

    def __init__(self, size: int, fd: int | None = None, *, read_only: bool = False) -> None:
        """size: how many slots. fd: of a table that is there; without it a new one is made. Raises OSError."""
        self.fd = _memory(size * _SIZE) if fd is None else fd
        self.memory = mmap.mmap(self.fd, size * _SIZE, access=mmap.ACCESS_READ if read_only else mmap.ACCESS_WRITE)
        numbers = memoryview(self.memory).cast("Q")
        self._slots = [Slot(index, numbers[index * CELLS : (index + 1) * CELLS]) for index in range(size)]
        if not read_only:
            self._slots[0][Cell.SLOTS] = size

    @classmethod
    def of_process(cls, pid: int) -> Self | None:
        """That of another process, to be read; None if it has none. Linux only. Raises OSError."""
        directory = f"/proc/{pid}/fd"
        for name in os.listdir(directory):
            try:
                if os.readlink(f"{directory}/{name}").startswith(f"/memfd:{NAME}"):
                    fd = os.open(f"{directory}/{name}", os.O_RDONLY | os.O_CLOEXEC)
                    return cls(cls(1, fd, read_only=True)[0][Cell.SLOTS], fd, read_only=True)
            except FileNotFoundError:  # closed meanwhile
                pass
        return None

    def __len__(self) -> int:
        return len(self._slots)

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._slots)

    def used(self) -> list[Slot]:
        """Those that workers may have."""
        return self._slots[1 : self._slots[0].cells[Cell.LAST] + 1]

    def __getitem__(self, index: int) -> Slot:
        return self._slots[index]


def _memory(size: int) -> int:
    """A descriptor of `size` bytes that are nowhere on a disk, or in a file without a name."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create(NAME)
    else:
        import tempfile  # noqa: PLC0415 - as large as all the rest of the supervisor

        fd, path = tempfile.mkstemp(prefix="greenserve-")
        os.unlink(path)
    os.ftruncate(fd, size)
    return fd
