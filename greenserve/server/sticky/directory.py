"""Whose a session is: hashes in memory that all workers share, behind the table of workers and in the same file.

Each slot has a region, which only its worker writes, and every other one reads: to find a session's worker takes no
message. A region is a hash table of sets: a session has its place in one set of WAYS cells, the one used last in front,
and a new one takes the place of the one used longest ago. So it is bounded, nothing is ever removed, and a reader finds
a cell whole, since it is aligned. A worker clears its region before it serves; a region whose worker has gone is not
looked at.

A byte for each slot says whether its region holds anything: a page that is only read takes memory, too.

The hash is keyed with a secret of the server's: no client can make sessions that share a set, and the memory shows
none.
"""

from __future__ import annotations

import mmap
import os
from hashlib import blake2b

from greenserve.supervisor.table import Cell, Slot, State, Table

WAYS = 16  # cells of a set: two cache lines
SETS = 2048
_CELLS = SETS * WAYS
_REGION = _CELLS * 8  # bytes; 256 KiB, of which the kernel gives those pages that are written to
_SECRET = 32  # bytes
_SERVING = frozenset({State.READY, State.DRAINING})
_EMPTY, _HELD, _LEFT = range(3)  # what the byte says; LEFT: the worker takes no more requests of its sessions


class Directory:
    """The memory, of all slots. Made by a template before it forks: the first one makes the secret."""

    def __init__(self, table: Table) -> None:
        page = mmap.ALLOCATIONGRANULARITY
        begin = -(-len(table) * len(table[0].cells) * 8 // page) * page
        self.table = table
        size = page + len(table) * _REGION
        if os.fstat(table.fd).st_size < begin + size:
            os.ftruncate(table.fd, begin + size)
        self._memory = mmap.mmap(table.fd, size, offset=begin)
        if not any(self._memory[:_SECRET]):
            self._memory[:_SECRET] = os.urandom(_SECRET)
        self.secret = self._memory[:_SECRET]
        self.states = memoryview(self._memory)[_SECRET : _SECRET + len(table)]
        cells = memoryview(self._memory)[page:].cast("Q")
        self.regions = [cells[index * _CELLS : (index + 1) * _CELLS] for index in range(len(table))]

    def hash_of(self, session: str) -> int:
        """Never 0, which is an empty cell."""
        digest = blake2b(session.encode("utf-8", "surrogatepass"), digest_size=8, key=self.secret).digest()
        return int.from_bytes(digest, "little") or 1


class Sessions:
    """The directory, as the worker of a slot uses it."""

    __slots__ = ("_directory", "_own", "slot")

    def __init__(self, directory: Directory, slot: Slot) -> None:
        self._directory = directory
        self.slot = slot
        self._own = directory.regions[slot.index]
        if directory.states[slot.index] != _EMPTY:
            self._own[:] = memoryview(bytes(_REGION)).cast("Q")
            directory.states[slot.index] = _EMPTY

    @property
    def secret(self) -> bytes:
        """Of the server, known to its workers."""
        return self._directory.secret

    def add(self, session: str) -> None:
        """It is this worker's."""
        self._put_in_front(self._directory.hash_of(session))
        self._directory.states[self.slot.index] = _HELD

    def owner(self, session: str) -> Slot | None:
        """The other worker that has it. None: this one, or none."""
        directory = self._directory
        wanted = directory.hash_of(session)
        first = _first_cell(wanted)
        if wanted in self._own[first : first + WAYS]:
            self._put_in_front(wanted)
            return None
        for slot in directory.table.used():
            index = slot.index
            if (
                directory.states[index] == _HELD
                and slot[Cell.STATE] in _SERVING
                and wanted in directory.regions[index][first : first + WAYS]
            ):
                return slot
        return None

    def leave(self) -> None:
        """No request of its sessions is to be passed to this worker any more."""
        self._directory.states[self.slot.index] = _LEFT

    def is_leaving(self, index: int) -> bool:
        """Whether the worker of a slot is about to end, or has ended."""
        return self._directory.table[index][Cell.STATE] != State.READY

    def _put_in_front(self, wanted: int) -> None:
        first = _first_cell(wanted)
        cells = self._own[first : first + WAYS]
        if cells[0] == wanted:
            return
        place = next((place for place in range(WAYS) if cells[place] == wanted), WAYS - 1)
        for each in range(place, 0, -1):  # from the end: at no moment is one of them nowhere
            cells[each] = cells[each - 1]
        cells[0] = wanted


def _first_cell(wanted: int) -> int:
    return wanted % SETS * WAYS
